//! Monotonic instants, one type per machine.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::{Add, AddAssign, Sub};

use super::Span;

/// The domain of a board's `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug)]
pub enum Board {}

/// The domain of the aggregator's `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug)]
pub enum Host {}

/// An instant of a board's `CLOCK_MONOTONIC`.
pub type BoardTime = Mono<Board>;

/// An instant of the aggregator's `CLOCK_MONOTONIC`.
pub type HostTime = Mono<Host>;

/// An instant of the monotonic clock of machine `D`, in ns since an arbitrary start.
///
/// Instants of different machines cannot be mixed:
///
/// ```compile_fail
/// use framelock_common::time::{BoardTime, HostTime};
/// let _ = BoardTime::from_nanos(5) - HostTime::from_nanos(3);
/// ```
///
/// ```
/// use framelock_common::time::{BoardTime, Span};
/// assert_eq!(BoardTime::from_nanos(5) - BoardTime::from_nanos(3), Span::from_nanos(2));
/// ```
pub struct Mono<D> {
    ns: i64,
    domain: PhantomData<fn() -> D>,
}

impl<D> Mono<D> {
    /// The instant `ns` nanoseconds after the clock's start.
    #[must_use]
    pub const fn from_nanos(ns: i64) -> Self {
        Self { ns, domain: PhantomData }
    }

    /// Nanoseconds since the clock's start.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.ns
    }
}

impl<D> Clone for Mono<D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D> Copy for Mono<D> {}

impl<D> PartialEq for Mono<D> {
    fn eq(&self, other: &Self) -> bool {
        self.ns == other.ns
    }
}

impl<D> Eq for Mono<D> {}

impl<D> PartialOrd for Mono<D> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<D> Ord for Mono<D> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.ns.cmp(&other.ns)
    }
}

impl<D> Hash for Mono<D> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ns.hash(state);
    }
}

impl<D> fmt::Debug for Mono<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mono({}ns)", self.ns)
    }
}

impl<D> Add<Span> for Mono<D> {
    type Output = Self;
    fn add(self, rhs: Span) -> Self {
        Self::from_nanos(self.ns.saturating_add(rhs.as_nanos()))
    }
}

impl<D> AddAssign<Span> for Mono<D> {
    fn add_assign(&mut self, rhs: Span) {
        *self = *self + rhs;
    }
}

impl<D> Sub<Span> for Mono<D> {
    type Output = Self;
    fn sub(self, rhs: Span) -> Self {
        Self::from_nanos(self.ns.saturating_sub(rhs.as_nanos()))
    }
}

impl<D> Sub for Mono<D> {
    type Output = Span;
    fn sub(self, rhs: Self) -> Span {
        Span::from_nanos(self.ns.saturating_sub(rhs.ns))
    }
}
