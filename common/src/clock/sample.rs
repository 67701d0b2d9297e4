//! One exchange with a server, reduced to what estimation needs.

use crate::time::{BoardTime, Span, Utc};

/// One four-timestamp exchange (RFC 5905 section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The middle of the exchange on the board's monotonic clock.
    pub mono: BoardTime,
    /// UTC at `mono` if the path is symmetric.
    pub utc: Utc,
    /// Round-trip delay without the server's own time.
    pub delay: Span,
    /// Bound on the timestamps' own errors: the server's precision and our clock's drift meanwhile.
    pub residual: Span,
    /// Root dispersion plus half the root delay of the server.
    pub root: Span,
}

impl Sample {
    /// Bound on the error of `utc` against the server's clock, whatever the asymmetry of the path.
    #[must_use]
    pub fn path_bound(&self) -> Span {
        // Half the delay, rounded up.
        (self.delay + Span::from_nanos(1)) / 2 + self.residual
    }

    /// Bound on the error of `utc` against true UTC.
    #[must_use]
    pub fn bound(&self) -> Span {
        self.path_bound() + self.root
    }
}
