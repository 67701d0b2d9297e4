//! Asking for a frame's time again: what a sender reports after a frame has arrived may tell more of it.

use std::sync::Arc;

use super::{FrameTiming, HostClock, Mapper, Timestamped};

/// One life of a mapper, from one reset to the next: only in this one its words hold for a frame.
#[derive(Clone, Debug, Default)]
pub(super) struct Life(Arc<()>);

/// How a frame got its time.
#[derive(Clone, Debug)]
pub struct Trace {
    timing: FrameTiming,
    life: Life,
    stamped: Timestamped,
}

impl Trace {
    /// The frame appeared at `timing`, and `mapper` gave it the time `stamped`.
    #[must_use]
    pub fn new(timing: FrameTiming, stamped: Timestamped, mapper: &Mapper) -> Self {
        Self { timing, life: mapper.life.clone(), stamped }
    }

    /// The time that the frame has.
    #[must_use]
    pub const fn stamped(&self) -> &Timestamped {
        &self.stamped
    }

    /// The frame's time by what `mapper`, the one that stamped it or a copy of that, knows now; `None` where that is
    /// no better than what it has: from a better source, or from the same with a smaller bound.
    pub fn improve(&mut self, mapper: &Mapper, host: &HostClock) -> Option<Timestamped> {
        if !Arc::ptr_eq(&self.life.0, &mapper.life.0) {
            return None;
        }
        let now = mapper.told(&self.timing, host.utc_at(self.timing.arrival).utc)?;
        let rank = |stamped: &Timestamped| (stamped.source, stamped.time.uncertainty);
        if rank(&now) >= rank(&self.stamped) {
            return None;
        }
        self.stamped = now;
        Some(now)
    }
}
