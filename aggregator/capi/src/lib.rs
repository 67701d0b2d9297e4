//! The aggregator as a C library, `libframelock`.
//!
//! Here live the exported functions and how C's pointers become Rust's references. What C programs read is
//! `include/framelock.h`, which cbindgen makes from this crate: the doc comments of exported items are written for
//! them, and its preface, with the rules that hold for every function, is in `cbindgen.toml`. The C++ classes in
//! `include/framelock.hpp` are written by hand on top of that header. What packets are and how they come about
//! does not live here: see `framelock_aggregator`.
//!
//! | module | what |
//! |---|---|
//! | `abi` | the number of the binary interface |
//! | `error` | results and messages; no panic gets past it |
//! | `args` | arguments, checked as far as they can be |
//! | `enums` | enumerations and their words |
//! | `config`, `aggregator`, `status` | setting up, running, and what is known of the cameras |
//! | `subscription`, `word` | a consumer, and what wakes those who wait for it |
//! | `packet`, `image` | packets, their frames, pictures and motion vectors |
#![expect(clippy::missing_safety_doc, reason = "the preface of the C header says what callers vouch for")]

mod abi;
mod args;
mod error;
mod word;

// What these export is in this order in the header, hence the lines between them: rustfmt sorts what has none.
mod config;

mod aggregator;

mod subscription;

mod packet;

mod image;

mod status;

mod enums;

use std::ffi::c_char;

use framelock_common::logging::{self, LogFormat};

pub use abi::*;
pub use aggregator::*;
pub use config::*;
pub use enums::*;
pub use error::*;
pub use image::*;
pub use packet::*;
pub use status::*;
pub use subscription::*;

/// The version of the library in use, such as "0.1.0". A constant string.
#[unsafe(no_mangle)]
pub extern "C" fn framelock_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// The binary interface of the library in use: compare it to #FRAMELOCK_ABI where the library is loaded by hand.
/// The system's loader does so by the library's name.
#[unsafe(no_mangle)]
pub extern "C" fn framelock_abi() -> u32 {
    FRAMELOCK_ABI
}

/// Writes the log to standard error from now on, as lines for people or, if `json`, as JSON objects; without this
/// there is none. The environment variable RUST_LOG chooses what is logged, "info" if it is not set.
///
/// Fails with #FRAMELOCK_RESULT_FAILED when it has been called before, or RUST_LOG is no filter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_log_to_stderr(json: bool, error: *mut FramelockError) -> FramelockResult {
    let format = if json { LogFormat::Json } else { LogFormat::Text };
    let body =
        || logging::init(format).map_err(|error| Failure::new(FramelockResult::Failed, error.to_string()));
    // SAFETY: `error` is as the preface of the header wants it.
    unsafe { run(error, body) }
}
