//! Framelock sender.
fn main() {}
