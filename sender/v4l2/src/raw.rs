//! The one `ioctl`, typed, and text out of C arrays.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use v4l::v4l_sys;
pub(crate) use v4l::v4l2::vidioc::_IOC_TYPE as Request;

/// Marks the plain C structures of the kernel's interface: any bytes, also all zeros, are a value.
///
/// # Safety
/// Only for `#[repr(C)]` structures of integers, floats, raw pointers, and arrays and unions of such.
pub(crate) unsafe trait Plain: Sized {
    /// All zeros, as the kernel wants of what is not set.
    fn zeroed() -> Self {
        // SAFETY: the trait's promise.
        unsafe { std::mem::zeroed() }
    }
}

macro_rules! plain {
    ($($name:ty),* $(,)?) => {
        // SAFETY: generated from the kernel's header: integers, pointers, and arrays and unions of them.
        $(unsafe impl Plain for $name {})*
    };
}

plain!(
    v4l_sys::v4l2_capability,
    v4l_sys::v4l2_fmtdesc,
    v4l_sys::v4l2_frmsizeenum,
    v4l_sys::v4l2_frmivalenum,
    v4l_sys::v4l2_format,
    v4l_sys::v4l2_streamparm,
    v4l_sys::v4l2_query_ext_ctrl,
    v4l_sys::v4l2_querymenu,
    v4l_sys::v4l2_control,
    v4l_sys::v4l2_ext_control,
    v4l_sys::v4l2_ext_controls,
    v4l_sys::v4l2_requestbuffers,
    v4l_sys::v4l2_buffer,
    v4l_sys::v4l2_event,
    v4l_sys::v4l2_event_subscription,
    std::ffi::c_int,
);

/// Requests that the `v4l` crate does not name (`include/uapi/linux/videodev2.h`).
pub(crate) const VIDIOC_DQEVENT: Request = request::<v4l_sys::v4l2_event>(READ, 89);
pub(crate) const VIDIOC_SUBSCRIBE_EVENT: Request = request::<v4l_sys::v4l2_event_subscription>(WRITE, 90);

const WRITE: Request = 1;
const READ: Request = 2;

/// `_IOC(direction, 'V', number, sizeof(T))` of `asm-generic/ioctl.h`.
const fn request<T>(direction: Request, number: Request) -> Request {
    direction << 30 | (size_of::<T>() as Request) << 16 | (b'V' as Request) << 8 | number
}

/// Calls `ioctl`, again when a signal interrupts it. `argument` must be of the type that `request`
/// names, which is checked against the size that every request number carries.
pub(crate) fn ioctl<T: Plain>(fd: BorrowedFd<'_>, request: Request, argument: &mut T) -> io::Result<()> {
    let size = (request >> 16) & 0x3fff;
    if size != size_of::<T>() as Request {
        return Err(io::Error::other("ioctl argument of the wrong size"));
    }
    loop {
        // SAFETY: the kernel reads and writes no more than the size in the request, which is that of
        // `argument`; pointers inside it are set by the callers, to what lives through the call.
        let result =
            unsafe { v4l::v4l2::ioctl(fd.as_raw_fd(), request, std::ptr::from_mut(argument).cast()) };
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The text in a C array, up to its first zero; what is not UTF-8 or not printable is replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end]);
    text.trim().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_the_header_s() {
        // From the kernel's header on 64-bit machines, where struct v4l2_event has 136 bytes.
        #[cfg(target_pointer_width = "64")]
        assert_eq!(VIDIOC_DQEVENT, 0x8088_5659);
        assert_eq!(VIDIOC_SUBSCRIBE_EVENT, 0x4020_565a);
    }

    #[test]
    fn text_ends_at_zero_and_is_printable() {
        assert_eq!(text(b"UVC Camera \0rubbish"), "UVC Camera");
        assert_eq!(text(b"a\nb\x1b\xff"), "a?b?\u{fffd}");
        assert_eq!(text(b""), "");
    }
}
