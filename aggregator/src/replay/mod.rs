//! Replays recorded timing through the synchronizer, offline and deterministic: the same input gives the
//! same bytes every time, because nothing here reads a clock.
//!
//! CSV timestamps live here. Captured traffic (pcap) and the command line do not.

mod csv;
mod decimal;

pub use csv::{ReplayError, csv, csv_from};
