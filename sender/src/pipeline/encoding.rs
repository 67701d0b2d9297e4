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
    let mut failures = 0;
    let outcome = loop {
        let Some(mut raw) = slot.take() else { break Ok(()) };
        if overlay_time {
            draw_time(&mut raw, shared);
        }
        match encode(&mut encoder, &raw, shared) {
            Ok(frame) => {
                failures = 0;
                if !outlet.put(frame.data, frame.key, raw.origin) {
                    break Ok(());
                }
            }
            Err(error) => {
                failures += 1;
                shared.counters.encode_failed.add(1);
                if failures == 1 {
                    tracing::warn!("{error}");
                }
                if failures == PATIENCE {
                    break Err(error.into());
                }
            }
        }
    };
    slot.close();
    outcome
}

fn encode(
    encoder: &mut Encoder,
    raw: &Raw,
    shared: &Shared,
) -> Result<crate::encode::EncodedFrame, EncodeError> {
    let counters = &shared.counters;
    let force_key = shared.force_key.swap(false, Ordering::Relaxed);
    let before = BoardClock::thread_cpu();
    let frame = encoder.encode(&raw.picture, raw.origin.mono, force_key);
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
    let (width, height) = (raw.picture.width(), raw.picture.height());
    overlay::draw_time(raw.picture.y_mut(), width, width, height, utc);
}
