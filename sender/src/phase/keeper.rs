//! Lets a source do what the supervisor says, and logs it.

use framelock_common::clock::ClockMapping;
use framelock_common::time::BoardTime;

use super::supervisor::{PhaseConfig, PhaseState, PhaseStatus, Supervisor};
use crate::capture::{Capture, Captured, FrameRate, PhaseMove};

/// Keeps a source's phase: call [`Self::handle`] with each of its frames.
#[derive(Debug)]
pub struct Keeper {
    supervisor: Supervisor,
    /// The rate that the supervisor knows of.
    rate: FrameRate,
    /// The start of the stream that the supervisor knows of.
    started: Option<BoardTime>,
    logged: PhaseState,
}

impl Keeper {
    /// For a source that has just been opened.
    #[must_use]
    pub fn new(config: PhaseConfig, source: &dyn Capture) -> Self {
        let (rate, means) = (source.info().rate, source.phase_means());
        tracing::debug!(?means, "what this source can do about its phase");
        let supervisor = Supervisor::new(config, rate, means);
        Self { supervisor, rate, started: None, logged: PhaseState::Waiting }
    }

    /// Takes a frame of `source`, and has it moved where that is due.
    pub fn handle(
        &mut self,
        source: &mut dyn Capture,
        frame: &Captured,
        mapping: Option<&ClockMapping>,
    ) -> PhaseStatus {
        let started = source.started();
        if started != self.started {
            self.started = started;
            let rate = source.info().rate;
            if rate != self.rate {
                // A camera that came back at another rate has another grid.
                self.rate = rate;
                self.supervisor = self.supervisor.replaced(rate, source.phase_means());
            }
            if let Some(at) = started {
                self.supervisor.handle_start(at);
            }
        }
        // Of the latency's spread nothing is known frame by frame and no move changes it: the grid is kept by the
        // stamps, and what they leave open is told.
        self.supervisor.handle_frame(frame.mono, frame.jitter, mapping);
        let status = self.supervisor.status();
        self.log_state(status);
        if let Some(order) = self.supervisor.poll_move() {
            self.carry_out(source, order, status);
        }
        let status = self.supervisor.status();
        PhaseStatus { uncertainty: status.uncertainty.map(|bound| bound + frame.latency_spread), ..status }
    }

    fn carry_out(&mut self, source: &mut dyn Capture, order: PhaseMove, status: PhaseStatus) {
        let error = status.error.unwrap_or_default();
        match order {
            PhaseMove::Stretch(by) => tracing::debug!(%error, %by, "phase: one frame is stretched"),
            PhaseMove::Restart { .. } => tracing::info!(%error, "phase: the stream is started again"),
            PhaseMove::Nudge { interval, frames } => {
                tracing::info!(%error, %interval, frames, "phase: another frame interval for a while");
            }
        }
        if let Err(refusal) = source.move_phase(order) {
            tracing::warn!("phase: {refusal}; this is not tried again");
            self.supervisor.handle_refusal(order);
        }
    }

    fn log_state(&mut self, status: PhaseStatus) {
        if status.state == self.logged {
            return;
        }
        // Small moves of a camera that stretches its frames are no news.
        let routine = |state| matches!(state, PhaseState::Seeking | PhaseState::Holding);
        let quiet = routine(status.state) && routine(self.logged) && status.moves > 1;
        self.logged = status.state;
        let error = status.error.unwrap_or_default();
        match status.state {
            PhaseState::CannotMove(obstacle) => {
                tracing::warn!(%error, "phase: cannot move the camera: {obstacle}")
            }
            PhaseState::Waiting => tracing::info!("phase: waiting for a clock that is good enough"),
            state if quiet => tracing::debug!(%error, "phase: {}", state.as_str()),
            state => tracing::info!(%error, "phase: {}", state.as_str()),
        }
    }
}
