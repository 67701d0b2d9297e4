//! Errors and bounds, collected and printed.

use framelock_common::time::Span;

/// A clock against the truth.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    /// How far it is off; reading it took `slack`, within which this may be wrong.
    pub(crate) error: Span,
    pub(crate) bound: Span,
    pub(crate) slack: Span,
}

#[derive(Clone, Default)]
pub(crate) struct Figures {
    errors: Vec<Span>,
    bounds: Vec<Span>,
    inside: usize,
    pub(crate) requests: u64,
}

impl Figures {
    pub(crate) const HEADING: &str = "\
        network                  client         median        p95        p99      bound  coverage  requests";

    pub(crate) fn add(&mut self, reading: Reading) {
        self.inside += usize::from(reading.error.abs() <= reading.bound + reading.slack);
        self.errors.push(reading.error.abs());
        self.bounds.push(reading.bound);
        self.errors.sort_unstable();
        self.bounds.sort_unstable();
    }

    /// Both together.
    pub(crate) fn join(mut self, other: Self) -> Self {
        self.errors.extend(other.errors);
        self.bounds.extend(other.bounds);
        self.errors.sort_unstable();
        self.bounds.sort_unstable();
        self.inside += other.inside;
        self.requests += other.requests;
        self
    }

    pub(crate) fn coverage(&self) -> f64 {
        self.inside as f64 / self.errors.len() as f64
    }

    pub(crate) fn percentile(&self, percent: usize) -> Span {
        self.errors[(self.errors.len() * percent / 100).min(self.errors.len() - 1)]
    }

    pub(crate) fn line(&self, network: &str, client: &str) -> String {
        let [median, p95, p99] = [50, 95, 99].map(|percent| self.percentile(percent).to_string());
        let bound = self.bounds[self.bounds.len() / 2].to_string();
        let coverage = self.coverage() * 100.0;
        format!(
            "{network:24} {client:10} {median:>10} {p95:>10} {p99:>10} {bound:>10} {coverage:>8.2}% {:>9}",
            self.requests
        )
    }
}
