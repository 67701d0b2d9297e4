//! V4L2 capture, safely and with patience for drivers.
//!
//! The `v4l` crate's high-level types panic on values that they do not know (colorspaces, field
//! orders, control types) and when a camera is unplugged. This crate takes only its bindings and raw
//! `ioctl`, keeps every value as the number that the driver gave, bounds every enumeration, and ends
//! a stream quietly when its device is gone.
//!
//! Calls and structures are those of the kernel's `Documentation/userspace-api/media/v4l`. Choosing
//! formats, waiting, and what frames mean live in the sender.

mod controls;
mod device;
mod query;
mod raw;
mod stream;

pub use controls::{Control, ControlKind, VERTICAL_BLANKING, control_name};
pub use device::{Capability, Device, Event, PixelFormat};
pub use query::{FormatDescription, Fraction, Intervals, Sizes};
pub use stream::{Buffer, Stream, TimestampSource};

/// A four-character code of a pixel format, as `V4L2_PIX_FMT_*`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FourCc(pub u32);

impl FourCc {
    /// The code of four ASCII characters, such as `b"YUYV"`.
    #[must_use]
    pub const fn new(code: &[u8; 4]) -> Self {
        Self(u32::from_le_bytes(*code))
    }
}

impl std::fmt::Display for FourCc {
    /// The four characters, unprintable ones as dots and trailing spaces left out. Bit 31 is that of the big-endian
    /// variant (`v4l2_fourcc_be` of the kernel), which `v4l2-ctl` writes as here, `XR15-BE`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const BIG_ENDIAN: u32 = 1 << 31;
        let printable = |b: &u8| (32..127).contains(b);
        let base = (self.0 & !BIG_ENDIAN).to_le_bytes();
        if self.0 & BIG_ENDIAN != 0 && base.iter().all(printable) {
            return write!(f, "{}-BE", Self(u32::from_le_bytes(base)));
        }
        let bytes = self.0.to_le_bytes();
        let text: String = bytes.iter().map(|b| if printable(b) { char::from(*b) } else { '.' }).collect();
        f.write_str(text.trim_end())
    }
}

impl std::fmt::Debug for FourCc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_print_whatever_they_hold() {
        assert_eq!(FourCc::new(b"YUYV").to_string(), "YUYV");
        assert_eq!(FourCc::new(b"Y8  ").to_string(), "Y8");
        assert_eq!(FourCc(0xff00_0141).to_string(), "A...");
        assert_eq!(FourCc(FourCc::new(b"XR15").0 | 1 << 31).to_string(), "XR15-BE");
        assert_eq!(FourCc(FourCc::new(b"Y16 ").0 | 1 << 31).to_string(), "Y16-BE");
    }

    #[test]
    fn what_is_no_camera_is_an_error_and_not_a_crash() {
        assert!(Device::open("/dev/no-such-camera".as_ref()).is_err());
        let device = Device::open("/dev/null".as_ref()).expect("opens");
        assert!(device.capability().is_err());
        assert!(device.formats().is_empty());
        assert!(device.controls().is_empty());
        assert!(device.format().is_err());
        assert!(Stream::prepare(device, 4).is_err());
    }
}
