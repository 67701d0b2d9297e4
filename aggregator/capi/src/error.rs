//! Results and messages. Every function that can fail runs its body in [`run`], past which no panic gets.

use std::any::Any;
use std::ffi::c_char;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use framelock_aggregator::config::SettingsError;
use framelock_aggregator::{AggregatorError, ConsumerError};

use crate::args;

/// What came of a call.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramelockResult {
    /// Done.
    Ok = 0,
    /// No packet came in time.
    Timeout = 1,
    /// No packet will come any more: every source has come to its end, as files do.
    Ended = 2,
    /// The aggregator or the subscription has been closed.
    Closed = 3,
    /// An argument that cannot be: NULL, a text that is not UTF-8, a value out of range.
    Argument = 4,
    /// A setting, a camera or a source that cannot be; the message says what would be right.
    Config = 5,
    /// The system does not give what is needed: a port, a thread, a decoder.
    Start = 6,
    /// The camera has no frame in this packet; its status says why.
    NoFrame = 7,
    /// The subscription did not ask for this: pixels or motion vectors.
    NotRequested = 8,
    /// Anything else, as the message says.
    Failed = 9,
    /// A bug in this library. It can be used on, but what was called may have done half of its work.
    Internal = 10,
}

/// Bytes of a message, the NUL at its end included; longer messages are cut.
pub const FRAMELOCK_MESSAGE_SIZE: usize = 512;

/// What went wrong, in the caller's own memory: nothing has to be freed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FramelockError {
    /// As the function returned it; #FRAMELOCK_RESULT_OK after a call that did not fail.
    pub result: FramelockResult,
    /// What is wrong, where and what to do, in a line or two of UTF-8 for people; empty after a call that did not
    /// fail.
    pub message: [c_char; FRAMELOCK_MESSAGE_SIZE],
}

impl fmt::Debug for FramelockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FramelockError").field("result", &self.result).finish_non_exhaustive()
    }
}

/// Why a call fails.
#[derive(Debug)]
pub(crate) struct Failure {
    result: FramelockResult,
    message: String,
}

impl Failure {
    pub(crate) fn new(result: FramelockResult, message: impl Into<String>) -> Self {
        Self { result, message: message.into() }
    }

    fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text =
            text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        Self::new(FramelockResult::Internal, format!("a bug in libframelock: {text}"))
    }
}

impl From<AggregatorError> for Failure {
    fn from(error: AggregatorError) -> Self {
        let result = match &error {
            AggregatorError::Settings(_) | AggregatorError::Remove(_) => FramelockResult::Config,
            AggregatorError::Consumer(error) => return (*error).into(),
            _ => FramelockResult::Start,
        };
        Self::new(result, error.to_string())
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::new(FramelockResult::Config, error.to_string())
    }
}

impl From<ConsumerError> for Failure {
    fn from(error: ConsumerError) -> Self {
        let result = match error {
            ConsumerError::Closed => FramelockResult::Closed,
            ConsumerError::Ended => FramelockResult::Ended,
            ConsumerError::Stopped => FramelockResult::Failed,
        };
        Self::new(result, error.to_string())
    }
}

/// Does what `body` does, and tells the caller what came of it, in `error` too unless that is null.
///
/// # Safety
/// `error` is null or points to memory for a [`FramelockError`].
pub(crate) unsafe fn run(
    error: *mut FramelockError,
    body: impl FnOnce() -> Result<(), Failure>,
) -> FramelockResult {
    // What a panic leaves half done is behind locks, whose poison nobody minds: see `FramelockResult::Internal`.
    let outcome = catch_unwind(AssertUnwindSafe(body));
    let outcome = outcome.unwrap_or_else(|panic| Err(Failure::panicked(&*panic)));
    let (result, message) = match &outcome {
        Ok(()) => (FramelockResult::Ok, ""),
        Err(failure) => (failure.result, failure.message.as_str()),
    };
    if !error.is_null() && error.is_aligned() {
        // SAFETY: neither null nor misaligned, and memory for the value, as the caller vouches.
        unsafe { error.write(FramelockError { result, message: text(message) }) };
    }
    result
}

/// Does what `body` does, and nothing more where it panics: for functions that cannot fail.
pub(crate) fn quietly(body: impl FnOnce()) {
    // The panic has been told of where it came up.
    let _told = catch_unwind(AssertUnwindSafe(body));
}

/// `message` as C has it, cut where it is too long, but never within a character.
fn text(message: &str) -> [c_char; FRAMELOCK_MESSAGE_SIZE] {
    const MORE: &str = "...";
    let room = FRAMELOCK_MESSAGE_SIZE - 1;
    let (message, more) = if message.len() <= room {
        (message, "")
    } else {
        let end = (0..=room - MORE.len()).rev().find(|end| message.is_char_boundary(*end));
        (&message[..end.unwrap_or(0)], MORE)
    };
    let mut to = [0; FRAMELOCK_MESSAGE_SIZE];
    let bytes = message.bytes().chain(more.bytes()).map(args::without_nul);
    to.iter_mut().zip(bytes).for_each(|(to, byte)| *to = c_char::from_ne_bytes([byte]));
    to
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;
    use std::mem::MaybeUninit;

    use super::*;

    fn run_one(body: impl FnOnce() -> Result<(), Failure>) -> (FramelockResult, String) {
        let mut error = MaybeUninit::<FramelockError>::uninit();
        // SAFETY: memory for the value, which `run` writes.
        let error = unsafe {
            run(error.as_mut_ptr(), body);
            error.assume_init()
        };
        // SAFETY: a message ends with a NUL.
        let message = unsafe { CStr::from_ptr(error.message.as_ptr()) };
        (error.result, message.to_str().unwrap().to_owned())
    }

    #[test]
    fn an_error_says_what_went_wrong_and_is_empty_where_nothing_did() {
        let failure = || Err(Failure::new(FramelockResult::Config, "no"));
        assert_eq!(run_one(failure), (FramelockResult::Config, "no".to_owned()));
        assert_eq!(run_one(|| Ok(())), (FramelockResult::Ok, String::new()));
        // SAFETY: null is allowed.
        assert_eq!(unsafe { run(std::ptr::null_mut(), failure) }, FramelockResult::Config);
    }

    #[test]
    fn the_aggregators_errors_have_their_results() {
        let result = |failure: Failure| failure.result;
        assert_eq!(result(ConsumerError::Ended.into()), FramelockResult::Ended);
        assert_eq!(result(ConsumerError::Stopped.into()), FramelockResult::Failed);
        assert_eq!(result(AggregatorError::from(ConsumerError::Closed).into()), FramelockResult::Closed);
        assert_eq!(result(SettingsError::NoCamera.into()), FramelockResult::Config);
        let thread = AggregatorError::Thread(std::io::ErrorKind::OutOfMemory.into());
        assert_eq!(result(thread.into()), FramelockResult::Start);
    }

    #[test]
    fn a_panic_is_an_error() {
        let (result, message) = run_one(|| panic!("of {}", 3));
        assert_eq!((result, message.as_str()), (FramelockResult::Internal, "a bug in libframelock: of 3"));
        let (_, message) = run_one(|| std::panic::panic_any(5));
        assert_eq!(message, "a bug in libframelock: no message");
        quietly(|| panic!("nobody is told"));
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        for lead in 0..4 {
            let long = format!("{}{}", "x".repeat(lead), "\u{1d11e}".repeat(300));
            let (_, message) = run_one(|| Err(Failure::new(FramelockResult::Failed, long.clone())));
            let kept = message.strip_suffix("...").unwrap();
            assert!(
                long.starts_with(kept) && message.len() > FRAMELOCK_MESSAGE_SIZE - 5,
                "{}",
                message.len()
            );
        }
        let fits = "x".repeat(FRAMELOCK_MESSAGE_SIZE - 1);
        assert_eq!(run_one(|| Err(Failure::new(FramelockResult::Failed, fits.clone()))).1, fits);
        assert_eq!(run_one(|| Err(Failure::new(FramelockResult::Failed, "a\0b"))).1, "a?b");
    }
}
