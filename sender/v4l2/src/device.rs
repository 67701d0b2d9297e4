//! A device node: what it is, its format and rate, its events.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use v4l::v4l_sys as sys;
use v4l::v4l2::vidioc;

use crate::raw::{self, Plain, ioctl, text};
use crate::{FourCc, Fraction};

pub(crate) const CAPTURE: u32 = sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE;

/// An open V4L2 device, in non-blocking mode.
#[derive(Debug)]
pub struct Device {
    file: File,
}

/// What a device says it is (`VIDIOC_QUERYCAP`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// The driver, such as `uvcvideo`.
    pub driver: String,
    /// The camera's name.
    pub card: String,
    /// Where it is plugged in, such as `usb-0000:01:00.0-1.2`.
    pub bus_info: String,
    /// Whether it captures video into single-plane buffers.
    pub captures: bool,
    /// Whether it captures only into multi-plane buffers, which this crate does not stream from.
    pub multi_planar: bool,
    /// Whether it can stream.
    pub streams: bool,
}

/// A picture format (`struct v4l2_pix_format`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelFormat {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The pixel format.
    pub fourcc: FourCc,
    /// Bytes from one row to the next; 0 where there are no rows.
    pub bytes_per_line: u32,
    /// The largest frame in bytes.
    pub size_image: u32,
    /// Whether the fields come one by one or interleaved: anything but progressive.
    pub interlaced: bool,
    /// Whether samples use 0 to 255: where the driver says so, or the format is JPEG.
    pub full_range: bool,
}

/// What a device has to tell beside frames (`VIDIOC_DQEVENT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// No more frames will come.
    EndOfStream,
    /// What feeds the device changed its size or went away; format and stream must be set up anew.
    SourceChange,
    /// Anything else, by number.
    Other(u32),
}

impl Device {
    /// Opens the device node at `path`.
    ///
    /// # Errors
    /// The kernel's: `ENOENT`, `EACCES`, `ENODEV` of a device that is going away, `EBUSY`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open(path)?;
        Ok(Self { file })
    }

    /// What the device says it is.
    ///
    /// # Errors
    /// `ENOTTY` of what is no V4L2 device, `ENODEV` of one that is gone.
    pub fn capability(&self) -> io::Result<Capability> {
        let mut caps = sys::v4l2_capability::zeroed();
        ioctl(self.as_fd(), vidioc::VIDIOC_QUERYCAP, &mut caps)?;
        // Of the node itself where the driver tells, else of the whole device.
        let flags = match caps.capabilities & sys::V4L2_CAP_DEVICE_CAPS {
            0 => caps.capabilities,
            _ => caps.device_caps,
        };
        let captures = flags & sys::V4L2_CAP_VIDEO_CAPTURE != 0;
        Ok(Capability {
            driver: text(&caps.driver),
            card: text(&caps.card),
            bus_info: text(&caps.bus_info),
            captures,
            multi_planar: !captures && flags & sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE != 0,
            streams: flags & sys::V4L2_CAP_STREAMING != 0,
        })
    }

    /// The format in force.
    ///
    /// # Errors
    /// The kernel's.
    pub fn format(&self) -> io::Result<PixelFormat> {
        let mut format = sys::v4l2_format { type_: CAPTURE, ..Plain::zeroed() };
        ioctl(self.as_fd(), vidioc::VIDIOC_G_FMT, &mut format)?;
        Ok(read_format(&format))
    }

    /// Asks for a progressive format of this size, and returns the one that the driver chose instead:
    /// it need not be the same.
    ///
    /// # Errors
    /// The kernel's: `EBUSY` while someone streams.
    pub fn set_format(&self, width: u32, height: u32, fourcc: FourCc) -> io::Result<PixelFormat> {
        let mut format = sys::v4l2_format { type_: CAPTURE, ..Plain::zeroed() };
        format.fmt.pix = sys::v4l2_pix_format {
            width,
            height,
            pixelformat: fourcc.0,
            field: sys::v4l2_field_V4L2_FIELD_NONE,
            ..zeroed_pix()
        };
        ioctl(self.as_fd(), vidioc::VIDIOC_S_FMT, &mut format)?;
        Ok(read_format(&format))
    }

    /// The time between frames; `None` where the driver does not tell.
    ///
    /// # Errors
    /// The kernel's: `ENOTTY` of drivers without frame intervals.
    pub fn interval(&self) -> io::Result<Option<Fraction>> {
        let mut parameters = sys::v4l2_streamparm { type_: CAPTURE, ..Plain::zeroed() };
        ioctl(self.as_fd(), vidioc::VIDIOC_G_PARM, &mut parameters)?;
        Ok(read_interval(&parameters))
    }

    /// Asks for a time between frames, and returns the one that the driver chose instead.
    ///
    /// # Errors
    /// The kernel's: `ENOTTY` of drivers without frame intervals, `EBUSY` while streaming.
    pub fn set_interval(&self, interval: Fraction) -> io::Result<Option<Fraction>> {
        let mut parameters = sys::v4l2_streamparm { type_: CAPTURE, ..Plain::zeroed() };
        parameters.parm.capture = sys::v4l2_captureparm {
            capability: 0,
            capturemode: 0,
            timeperframe: sys::v4l2_fract {
                numerator: interval.numerator,
                denominator: interval.denominator,
            },
            extendedmode: 0,
            readbuffers: 0,
            reserved: [0; 4],
        };
        ioctl(self.as_fd(), vidioc::VIDIOC_S_PARM, &mut parameters)?;
        Ok(read_interval(&parameters))
    }

    /// Asks to be told of the end of the stream and of changes of the source. Drivers without events
    /// refuse; that is no reason not to capture.
    ///
    /// # Errors
    /// The kernel's: `ENOTTY`, `EINVAL` of drivers without these events.
    pub fn subscribe_events(&self) -> io::Result<()> {
        let subscribe = |type_| {
            let mut subscription = sys::v4l2_event_subscription { type_, ..Plain::zeroed() };
            ioctl(self.as_fd(), raw::VIDIOC_SUBSCRIBE_EVENT, &mut subscription)
        };
        let (end, change) = (subscribe(sys::V4L2_EVENT_EOS), subscribe(sys::V4L2_EVENT_SOURCE_CHANGE));
        if end.is_ok() { Ok(()) } else { change }
    }

    /// The next pending event, if there is one.
    ///
    /// # Errors
    /// The kernel's: `ENODEV` of a device that is gone.
    pub fn next_event(&self) -> io::Result<Option<Event>> {
        let mut event = sys::v4l2_event::zeroed();
        match ioctl(self.as_fd(), raw::VIDIOC_DQEVENT, &mut event) {
            Ok(()) => Ok(Some(match event.type_ {
                sys::V4L2_EVENT_EOS => Event::EndOfStream,
                sys::V4L2_EVENT_SOURCE_CHANGE => Event::SourceChange,
                other => Event::Other(other),
            })),
            Err(error) => match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
                // None pending, or none subscribed to.
                Some(rustix::io::Errno::NOENT | rustix::io::Errno::AGAIN | rustix::io::Errno::NOTTY) => {
                    Ok(None)
                }
                _ => Err(error),
            },
        }
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn zeroed_pix() -> sys::v4l2_pix_format {
    // SAFETY: any bytes are a value of every member of this union.
    unsafe { sys::v4l2_format::zeroed().fmt.pix }
}

fn read_format(format: &sys::v4l2_format) -> PixelFormat {
    // SAFETY: any bytes are a value of every member of this union.
    let pix = unsafe { format.fmt.pix };
    let progressive = [sys::v4l2_field_V4L2_FIELD_NONE, sys::v4l2_field_V4L2_FIELD_ANY];
    PixelFormat {
        width: pix.width,
        height: pix.height,
        fourcc: FourCc(pix.pixelformat),
        bytes_per_line: pix.bytesperline,
        size_image: pix.sizeimage,
        interlaced: !progressive.contains(&pix.field),
        full_range: pix.quantization == sys::v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE
            || (pix.quantization == sys::v4l2_quantization_V4L2_QUANTIZATION_DEFAULT
                && pix.colorspace == sys::v4l2_colorspace_V4L2_COLORSPACE_JPEG),
    }
}

fn read_interval(parameters: &sys::v4l2_streamparm) -> Option<Fraction> {
    // SAFETY: any bytes are a value of every member of this union.
    let capture = unsafe { parameters.parm.capture };
    let told = capture.capability & sys::V4L2_CAP_TIMEPERFRAME != 0;
    let interval =
        Fraction { numerator: capture.timeperframe.numerator, denominator: capture.timeperframe.denominator };
    (told && interval.numerator > 0 && interval.denominator > 0).then_some(interval)
}
