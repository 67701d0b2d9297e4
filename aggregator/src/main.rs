//! Framelock aggregator.
fn main() {}
