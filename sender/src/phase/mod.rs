//! Phase, or software genlock: moves a camera's instants of exposure onto a grid of UTC and keeps them there,
//! so that cameras on different boards expose together.
//!
//! The [`Supervisor`] is told the times of frames and says what to do; a [`Keeper`] lets a source do it
//! and counts. By what means a source can move is the source's matter: see
//! [`PhaseMeans`](crate::capture::PhaseMeans).
//!
//! All cameras of a group that have the same rate and the same target share one [`Grid`], without
//! talking to each other. That is all there is to [`PhaseTarget::Auto`]: the grid of UTC itself, phase 0.

mod estimator;
mod grid;
mod keeper;
mod starts;
mod supervisor;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use framelock_common::config::{ValueError, parse_duration};
use framelock_common::time::Span;

pub use grid::Grid;
pub use keeper::Keeper;
pub use supervisor::{Obstacle, PhaseConfig, PhaseState, PhaseStatus, Supervisor};

/// Where a camera shall be on the grid of UTC that its frame period spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseTarget {
    /// Where every camera of its group is: phase 0.
    Auto,
    /// So much after the multiples of the frame period.
    At(Span),
}

impl PhaseTarget {
    /// The time after the multiples of the frame period.
    #[must_use]
    pub const fn span(self) -> Span {
        match self {
            Self::Auto => Span::ZERO,
            Self::At(span) => span,
        }
    }
}

impl FromStr for PhaseTarget {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "auto" { Ok(Self::Auto) } else { parse_duration(text).map(Self::At) }
    }
}

impl fmt::Display for PhaseTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::At(span) => span.fmt(f),
        }
    }
}
