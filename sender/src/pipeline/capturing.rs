//! The capture thread.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::outlet::{Origin, Outlet};
use super::slot::Slot;
use super::{RunError, Shared};
use crate::capture::{Capture, CaptureError, Captured, I420, Picture};
use crate::clock::BoardClock;

/// How long a call to the source may take; so soon the thread sees that it has to end.
const TIMEOUT: Duration = Duration::from_millis(200);

/// A raw picture on its way to the encoder.
pub(super) struct Raw {
    pub(super) picture: I420,
    pub(super) origin: Origin,
}

/// Feeds the encoder: what it does not come for in time is replaced by a newer picture.
pub(super) fn fill_slot(
    mut source: Box<dyn Capture>,
    slot: &Slot<Raw>,
    shared: &Shared,
) -> Result<(), RunError> {
    let outcome = capture(source.as_mut(), shared, |captured, origin| match captured {
        Picture::Raw(picture) => {
            let left_over = slot.put(Raw { picture, origin }).is_some();
            let open = !slot.is_closed();
            // What comes after the end has not been skipped.
            shared.counters.capture_skipped.add(u64::from(left_over && open));
            Ok(open)
        }
        Picture::H264 { .. } => Err(RunError::Changed),
    });
    slot.close();
    outcome
}

/// Feeds the network with frames that come encoded.
pub(super) fn pass_through(
    mut source: Box<dyn Capture>,
    mut outlet: Outlet,
    shared: &Shared,
) -> Result<(), RunError> {
    capture(source.as_mut(), shared, |captured, origin| match captured {
        Picture::H264 { data, key, dts } => Ok(outlet.put(data, key, Origin { dts, ..origin })),
        Picture::Raw(_) => Err(RunError::Changed),
    })
}

/// Gives each frame to `take` until that says false, the source ends, or everything has to.
fn capture(
    source: &mut dyn Capture,
    shared: &Shared,
    mut take: impl FnMut(Picture, Origin) -> Result<bool, RunError>,
) -> Result<(), RunError> {
    let mut complained = Complaint::default();
    while !shared.stop.load(Ordering::Relaxed) {
        let next = source.next(TIMEOUT);
        shared.counters.set_capture(source.counters());
        shared.counters.capture_cpu.set(BoardClock::thread_cpu());
        match next {
            Ok(Captured { mono, kind, jitter, picture, .. }) => {
                complained.clear();
                if !take(picture, Origin { mono, dts: None, kind, jitter })? {
                    break;
                }
            }
            Err(error) if error.is_recoverable() => complained.about(&error),
            Err(CaptureError::EndOfFile { path }) => {
                tracing::info!("end of {}", path.display());
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Logs a trouble once when it begins or changes, and once when it is over.
#[derive(Default)]
struct Complaint {
    kind: Option<std::mem::Discriminant<CaptureError>>,
}

impl Complaint {
    fn about(&mut self, error: &CaptureError) {
        let kind = std::mem::discriminant(error);
        // That nothing comes meanwhile is no news when the reason is known.
        let known = self.kind.is_some() && matches!(error, CaptureError::Timeout { .. });
        if !known && self.kind.replace(kind) != Some(kind) {
            tracing::warn!("{error}");
        }
    }

    fn clear(&mut self) {
        if self.kind.take().is_some() {
            tracing::info!("frames are coming again");
        }
    }
}
