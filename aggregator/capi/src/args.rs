//! Arguments from C, checked as far as they can be: not null, aligned, UTF-8. That a pointer points to what it
//! says it does is what the caller vouches for.

use std::ffi::{CStr, CString, c_char};
use std::sync::Arc;

use crate::{Failure, FramelockResult};

/// An argument called `name` cannot be, for `reason`.
pub(crate) fn wrong(name: &str, reason: &str) -> Failure {
    Failure::new(FramelockResult::Argument, format!("argument {name}: {reason}"))
}

/// That it is a pointer which can be followed, as far as that can be seen.
pub(crate) fn not_null<T>(pointer: *const T, name: &str) -> Result<(), Failure> {
    match pointer {
        _ if pointer.is_null() => Err(wrong(name, "is NULL")),
        _ if !pointer.is_aligned() => Err(wrong(name, "is not aligned: not a pointer of its type")),
        _ => Ok(()),
    }
}

/// What `pointer` points to.
///
/// # Safety
/// It is null or points to a `T` that lives, and that nobody writes to, for as long as `'a`.
pub(crate) unsafe fn object<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Failure> {
    not_null(pointer, name)?;
    // SAFETY: neither null nor misaligned, and for the rest the caller vouches.
    Ok(unsafe { &*pointer })
}

/// Where the caller wants a result, which is `T::default()` until there is one.
///
/// # Safety
/// It is null or points to memory for a `T` that nobody else uses for as long as `'a`.
pub(crate) unsafe fn result<'a, T: Default>(pointer: *mut T, name: &str) -> Result<&'a mut T, Failure> {
    not_null(pointer, name)?;
    // SAFETY: neither null nor misaligned, and for the rest the caller vouches; written before it is a reference.
    Ok(unsafe {
        pointer.write(T::default());
        &mut *pointer
    })
}

/// Where the caller wants a pointer, which is null until there is one.
///
/// # Safety
/// As for [`result`].
pub(crate) unsafe fn pointer<'a, T>(pointer: *mut *mut T, name: &str) -> Result<&'a mut *mut T, Failure> {
    not_null(pointer, name)?;
    // SAFETY: as in `result`.
    Ok(unsafe {
        pointer.write(std::ptr::null_mut());
        &mut *pointer
    })
}

/// `size` bytes to write to.
///
/// # Safety
/// `pointer` is null or points to that many bytes, which nobody else uses for as long as `'a`.
pub(crate) unsafe fn bytes<'a>(pointer: *mut u8, size: usize, name: &str) -> Result<&'a mut [u8], Failure> {
    not_null(pointer, name)?;
    if isize::try_from(size).is_err() {
        return Err(wrong(name, "is said to have more bytes than there can be"));
    }
    // SAFETY: not null and not too long, and for the rest the caller vouches. What comes from C has some value.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, size) })
}

/// A string.
///
/// # Safety
/// It is null or points to a string that ends with a NUL and stays as it is for as long as `'a`.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str, Failure> {
    not_null(pointer, name)?;
    // SAFETY: not null, and for the rest the caller vouches.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| wrong(name, "is not UTF-8"))
}

/// Hands `value` over to C, which gives it back to [`take_back`].
pub(crate) fn hand_over<T>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

/// Frees what [`hand_over`] handed over; nothing for null.
///
/// # Safety
/// It is null or came from [`hand_over`], was not given back before, and is used by nobody any more.
pub(crate) unsafe fn take_back<T>(pointer: *mut T) {
    if !pointer.is_null() {
        // SAFETY: it came from a box of that type and is freed once, as the caller vouches.
        crate::quietly(|| drop(unsafe { Box::from_raw(pointer) }));
    }
}

/// A string of ours for C, whose pointer stays the same wherever the handle goes; a NUL within it is shown as `?`.
pub(crate) fn owned(text: &str) -> Arc<CStr> {
    CString::new(text.bytes().map(without_nul).collect::<Vec<_>>()).unwrap_or_default().into()
}

pub(crate) const fn without_nul(byte: u8) -> u8 {
    if byte == 0 { b'?' } else { byte }
}

#[cfg(test)]
mod tests {
    use std::ptr::{null, null_mut};

    use super::*;

    #[test]
    fn what_can_be_seen_to_be_wrong_is_refused() {
        let refused = |failure: Failure| format!("{failure:?}");
        // SAFETY: null is allowed, and so is a pointer that is not aligned; the strings end with a NUL.
        unsafe {
            assert!(
                refused(object::<u64>(null(), "config").unwrap_err()).contains("argument config: is NULL")
            );
            assert!(refused(result::<u64>(null_mut(), "image").unwrap_err()).contains("image: is NULL"));
            assert!(refused(pointer::<u64>(null_mut(), "packet").unwrap_err()).contains("packet: is NULL"));
            let words = [0_u64; 2];
            let between = words.as_ptr().cast::<u8>().wrapping_add(1).cast::<u64>();
            assert!(refused(object(between, "config").unwrap_err()).contains("not aligned"));
            assert!(refused(text(null(), "name").unwrap_err()).contains("name: is NULL"));
            assert!(refused(text(c"\xff".as_ptr(), "name").unwrap_err()).contains("name: is not UTF-8"));
            assert_eq!(text(c"left".as_ptr(), "name").unwrap(), "left");
        }
    }

    #[test]
    fn results_are_empty_until_there_is_one() {
        let (mut number, mut handle) = (7_u64, std::ptr::dangling_mut::<u64>());
        // SAFETY: both live for as long as they are used.
        unsafe {
            result(&raw mut number, "number").unwrap();
            pointer(&raw mut handle, "handle").unwrap();
        }
        assert_eq!((number, handle), (0, null_mut()));
        assert_eq!(owned("a\0b").to_bytes(), b"a?b");
    }
}
