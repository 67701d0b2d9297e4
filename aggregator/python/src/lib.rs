//! The native half of the Python package `framelock`.
//!
//! Here live the parts that hold Rust objects: the running aggregator, its consumers, packets and frames,
//! and how a decoded picture becomes a numpy array. What a Python program meets first, the classes
//! `Aggregator` and `Subscription` with their iteration and `asyncio` forms, is Python and lives in
//! `python/framelock`; so do the exceptions and enumerations, which are looked up there by name.
//!
//! Every wait lets other Python threads run, in slices short enough for Ctrl-C to work at once. No thread of the
//! aggregator ever waits for Python.

mod aggregator;
mod enums;
mod errors;
mod image;
mod packet;
mod pool;
mod status;
mod subscription;

/// The module `framelock._native`; its Python signatures are in `python/framelock/_native.pyi`.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use super::aggregator::{Aggregator, log_to_stderr};
    #[pymodule_export]
    use super::packet::{Frame, Packet};
    #[pymodule_export]
    use super::subscription::Subscription;
}
