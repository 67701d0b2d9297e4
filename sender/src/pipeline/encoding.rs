//! The encode thread.

use std::sync::atomic::Ordering;

use super::capturing::Raw;
use super::outlet::Outlet;
use super::slot::Slot;
use super::{RunError, Shared};
use crate::clock::BoardClock;
use crate::encode::{EncodeError, Encoder};
use crate::overlay;

/// Pictures in a row that may fail before the encoder is given up.
const PATIENCE: u32 = 30;

/// Encodes what comes through `slot` until it is closed or `outlet` wants no more.
pub(super) fn run(
    mut encoder: Encoder,
    slot: &Slot<Raw>,
    mut outlet: Outlet,
    shared: &Shared,
    overlay_time: bool,
) -> Result<(), RunError> {
    let _closing = slot.closing();
    let mut failures = 0;
    while let Some(mut raw) = slot.take() {
        if overlay_time {
            draw_time(&mut raw, shared);
        }
        match encode(&mut encoder, &raw, shared) {
            Ok(frame) => {
                failures = 0;
                if !outlet.put(frame.data, frame.key, raw.origin) {
                    break;
                }
            }
            Err(error) => {
                failures += 1;
                shared.counters.encode_failed.add(1);
                if failures == 1 {
                    tracing::warn!("{error}");
                }
                if failures == PATIENCE {
                    return Err(error.into());
                }
            }
        }
    }
    Ok(())
}

fn encode(
    encoder: &mut Encoder,
    raw: &Raw,
    shared: &Shared,
) -> Result<crate::encode::EncodedFrame, EncodeError> {
    let counters = &shared.counters;
    let force_key = shared.force_key.swap(false, Ordering::Relaxed);
    let before = BoardClock::thread_cpu();
    let fits = encoder.fit(raw.picture.size(), raw.full_range);
    let frame = fits.and_then(|()| encoder.encode(&raw.picture, raw.origin.mono, force_key));
    let after = BoardClock::thread_cpu();
    counters.encoder_cpu.set(counters.encoder_cpu.get() + (after - before));
    counters.encode_cpu.set(after);
    if frame.is_err() && force_key {
        // The wish is still to be granted.
        shared.force_key.store(true, Ordering::Relaxed);
    }
    let frame = frame?;
    counters.encoded.add(1);
    counters.encode_time.set(shared.clock.now() - raw.origin.mono);
    Ok(frame)
}

/// Burns UTC in, where it is known.
fn draw_time(raw: &mut Raw, shared: &Shared) {
    let Some(mapping) = *shared.utc.borrow() else { return };
    let utc = mapping.utc_at(raw.origin.mono).utc;
    let picture = &mut raw.picture;
    let (stride, width, height) = (picture.stride(), picture.width(), picture.height());
    overlay::draw_time(picture.y_mut(), stride, width, height, utc);
}

#[cfg(test)]
mod tests {
    use framelock_common::h264::inspect;
    use framelock_common::rtcp::CaptureKind;
    use framelock_common::time::{BoardTime, Span};
    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::capture::{FrameRate, PicturePool, Size};
    use crate::encode::EncodeConfig;
    use crate::pipeline::outlet::Origin;

    #[test]
    fn a_camera_that_comes_back_with_another_size_is_encoded_on() {
        let sizes = [Size::new(320, 240), Size::new(640, 480), Size::new(160, 120)];
        let rate = FrameRate::from_hz(30);
        let encoder = Encoder::new(EncodeConfig {
            size: sizes[0],
            rate,
            bitrate: 500_000,
            keyframe_interval: Span::from_secs(2),
            threads: 1,
            full_range: false,
        })
        .unwrap();
        let (_, utc) = watch::channel(None);
        let clock = BoardClock::real();
        let shared = Shared {
            phase: None,
            clock,
            utc,
            counters: std::sync::Arc::default(),
            force_key: std::sync::Arc::default(),
            stop: std::sync::Arc::default(),
        };
        let (sender, mut frames) = mpsc::channel(1);
        let outlet =
            Outlet::new(Box::new(move |frame| sender.blocking_send(frame).is_ok()), shared.clone(), None);
        let slot = Slot::default();
        std::thread::scope(|threads| {
            let encoding = threads.spawn(|| run(encoder, &slot, outlet, &shared, false));
            for size in sizes {
                let origin = Origin {
                    mono: BoardTime::from_nanos(0),
                    dts: None,
                    kind: CaptureKind::Unknown,
                    uncertainty: Span::ZERO,
                    period: rate.period(),
                };
                let picture = PicturePool::new().take(size);
                let _ = slot.put(Raw { picture, full_range: false, origin });
                if size == sizes[2] {
                    slot.close();
                }
                let frame = frames.blocking_recv().expect("a frame");
                let sps = inspect(&frame.data).sps.expect("parameter sets");
                assert_eq!((sps.width, sps.height, frame.key), (size.width, size.height, true));
            }
            assert!(encoding.join().unwrap().is_ok());
        });
    }
}
