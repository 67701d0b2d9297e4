//! Streaming into memory-mapped buffers.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use rustix::io::Errno;
use v4l::v4l_sys as sys;
use v4l::v4l2::vidioc;

use crate::Device;
use crate::device::CAPTURE;
use crate::raw::{Plain, ioctl};

const MMAP: u32 = sys::v4l2_memory_V4L2_MEMORY_MMAP;
/// A driver may give more buffers than asked for; these are taken at most.
const BUFFER_LIMIT: u32 = 32;
const PROT_READ_WRITE: c_int = 3;
const MAP_SHARED: c_int = 1;

/// A device that streams. Stops and lets go of everything when dropped, also of a device that is gone.
#[derive(Debug)]
pub struct Stream {
    // Dropped before the device: the kernel counts mappings as users of the buffers.
    mappings: Vec<Mapping>,
    device: Device,
}

/// What a buffer's timestamp is of, and on which clock (`V4L2_BUF_FLAG_TIMESTAMP_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampSource {
    /// The start of the exposure, by `CLOCK_MONOTONIC`.
    StartOfExposure,
    /// The end of the frame, by `CLOCK_MONOTONIC`.
    EndOfFrame,
    /// Not the monotonic clock, or not told.
    Unknown,
}

/// A filled buffer; back with the driver when dropped.
#[derive(Debug)]
pub struct Buffer<'a> {
    stream: &'a Stream,
    index: u32,
    /// Bytes that the driver filled, held to the buffer's length.
    used: usize,
    /// The driver's frame counter; wraps.
    pub sequence: u32,
    /// The driver's timestamp in ns.
    pub timestamp_ns: i64,
    /// What the timestamp is of.
    pub source: TimestampSource,
    /// Whether the driver says that the data is damaged.
    pub error: bool,
}

impl Stream {
    /// Gives `device` `count` buffers to stream into; format and rate must be set.
    ///
    /// # Errors
    /// The kernel's: `EBUSY` while someone else streams, `EINVAL` of a device that cannot stream this way.
    pub fn prepare(device: Device, count: u32) -> io::Result<Self> {
        let mut request = sys::v4l2_requestbuffers { count, type_: CAPTURE, memory: MMAP, ..Plain::zeroed() };
        ioctl(device.as_fd(), vidioc::VIDIOC_REQBUFS, &mut request)?;
        if request.count == 0 {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        }
        // From here on dropping the stream undoes everything.
        let mut stream = Self { mappings: Vec::new(), device };
        for index in 0..request.count.min(BUFFER_LIMIT) {
            let mut buffer = buffer(index);
            ioctl(stream.as_fd(), vidioc::VIDIOC_QUERYBUF, &mut buffer)?;
            // SAFETY: of a buffer of kind MMAP the union holds the offset.
            let offset = unsafe { buffer.m.offset };
            stream.mappings.push(Mapping::new(stream.as_fd(), buffer.length as usize, offset)?);
            stream.queue(index)?;
        }
        Ok(stream)
    }

    /// Starts a stream that was prepared or paused.
    ///
    /// # Errors
    /// The kernel's: `EBUSY` while someone else streams, `ENOSPC` where the USB bus has no bandwidth left.
    pub fn start(&mut self) -> io::Result<()> {
        let mut kind = CAPTURE.cast_signed();
        ioctl(self.as_fd(), vidioc::VIDIOC_STREAMON, &mut kind)
    }

    /// Stops the stream and prepares it to be started again. Frames that were not fetched are lost.
    ///
    /// # Errors
    /// The kernel's: `ENODEV` of a device that is gone.
    pub fn pause(&mut self) -> io::Result<()> {
        let mut kind = CAPTURE.cast_signed();
        ioctl(self.as_fd(), vidioc::VIDIOC_STREAMOFF, &mut kind)?;
        let count = u32::try_from(self.mappings.len()).unwrap_or(BUFFER_LIMIT);
        (0..count).try_for_each(|index| self.queue(index))
    }

    /// The device.
    #[must_use]
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// The oldest filled buffer; `None` where there is none yet. Does not wait: see
    /// [`std::os::fd::AsFd`] for polling.
    ///
    /// # Errors
    /// The kernel's: `ENODEV` of a device that is gone, `EIO` and `EPIPE` of a stream that failed and
    /// must be started again.
    pub fn dequeue(&self) -> io::Result<Option<Buffer<'_>>> {
        let mut filled = buffer(0);
        match ioctl(self.as_fd(), vidioc::VIDIOC_DQBUF, &mut filled) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) => return Ok(None),
            Err(error) => return Err(error),
        }
        let Some(mapping) = self.mappings.get(filled.index as usize) else {
            return Err(io::Error::other(format!(
                "the driver filled buffer {}, which it does not have",
                filled.index
            )));
        };
        let monotonic =
            filled.flags & sys::V4L2_BUF_FLAG_TIMESTAMP_MASK == sys::V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
        let source = match filled.flags & sys::V4L2_BUF_FLAG_TSTAMP_SRC_MASK {
            sys::V4L2_BUF_FLAG_TSTAMP_SRC_SOE if monotonic => TimestampSource::StartOfExposure,
            sys::V4L2_BUF_FLAG_TSTAMP_SRC_EOF if monotonic => TimestampSource::EndOfFrame,
            _ => TimestampSource::Unknown,
        };
        Ok(Some(Buffer {
            stream: self,
            index: filled.index,
            used: (filled.bytesused as usize).min(mapping.length),
            sequence: filled.sequence,
            timestamp_ns: nanoseconds(&filled.timestamp),
            source,
            error: filled.flags & sys::V4L2_BUF_FLAG_ERROR != 0,
        }))
    }

    fn queue(&self, index: u32) -> io::Result<()> {
        ioctl(self.as_fd(), vidioc::VIDIOC_QBUF, &mut buffer(index))
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut kind = CAPTURE.cast_signed();
        // Of a device that is gone both fail, and closing the file does their work.
        let _ = ioctl(self.as_fd(), vidioc::VIDIOC_STREAMOFF, &mut kind);
        self.mappings.clear();
        let mut release = sys::v4l2_requestbuffers { type_: CAPTURE, memory: MMAP, ..Plain::zeroed() };
        let _ = ioctl(self.as_fd(), vidioc::VIDIOC_REQBUFS, &mut release);
    }
}

impl Buffer<'_> {
    /// What the driver filled, and no more.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.stream.mappings.get(self.index as usize).map_or(&[], |mapping| mapping.bytes(self.used))
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        // Where this fails the device is gone or the stream broken; the next dequeue tells.
        let _ = self.stream.queue(self.index);
    }
}

fn buffer(index: u32) -> sys::v4l2_buffer {
    sys::v4l2_buffer { index, type_: CAPTURE, memory: MMAP, ..Plain::zeroed() }
}

fn nanoseconds(time: &sys::timeval) -> i64 {
    let (seconds, microseconds) = (wide(time.tv_sec), wide(time.tv_usec));
    seconds.saturating_mul(1_000_000_000).saturating_add(microseconds.saturating_mul(1_000))
}

/// As 64 bits: the C library's times are that on 64-bit machines, and 32 on ARMv7.
fn wide(value: impl Into<i64>) -> i64 {
    value.into()
}

/// A buffer of the driver's, mapped into this process.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory belongs to the mapping alone, and is only read through it.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, length: usize, offset: u32) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours. Offsets
        // are a cookie of the driver's, small enough for 32 bits with a sign.
        let start = unsafe {
            v4l::v4l2::mmap(
                std::ptr::null_mut(),
                length,
                PROT_READ_WRITE,
                MAP_SHARED,
                fd.as_raw_fd(),
                offset as _,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Self { start, length })
    }

    /// The first `used` bytes. Only for a buffer that is dequeued: else the driver writes to it.
    fn bytes(&self, used: usize) -> &[u8] {
        // SAFETY: mapped for `length` bytes until `self` is dropped; the driver does not write to a
        // buffer that is dequeued, and only a `Buffer`, which is one, asks.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), used.min(self.length)) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and no slice of it outlives `self`.
        let _ = unsafe { v4l::v4l2::munmap(self.start.as_ptr().cast::<c_void>(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_nanoseconds_and_do_not_overflow() {
        assert_eq!(nanoseconds(&sys::timeval { tv_sec: 3, tv_usec: 5 }), 3_000_005_000);
        let last = sys::timeval { tv_sec: sys::__time_t::MAX, tv_usec: 999_999 };
        assert!(nanoseconds(&last) > 0);
    }
}
