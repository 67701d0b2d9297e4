//! The clock filter.

use crate::time::{BoardTime, Span, Utc};

/// One four-timestamp exchange, reduced to what the filter needs.
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
