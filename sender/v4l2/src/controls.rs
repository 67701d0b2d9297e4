//! Camera controls: exposure, gain, focus and whatever else a driver has.

use std::io;
use std::os::fd::AsFd;

use v4l::v4l_sys as sys;
use v4l::v4l2::vidioc;

use crate::Device;
use crate::raw::{Plain, ioctl, text};

/// How many controls, and entries of a menu, are asked for.
const CONTROL_LIMIT: usize = 512;
const MENU_LIMIT: i64 = 128;

/// The control that adds empty lines to a sensor's frames (`V4L2_CID_VBLANK`).
pub const VERTICAL_BLANKING: u32 = sys::V4L2_CID_VBLANK;

/// What values a control takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlKind {
    /// A number.
    Integer,
    /// A number that may take more than 32 bits.
    Integer64,
    /// On or off.
    Boolean,
    /// One of a list of names.
    Menu,
    /// One of a list of numbers.
    IntegerMenu,
    /// Something to trigger; it has no value.
    Button,
    /// A set of bits.
    Bitmask,
    /// A kind that cannot be set from a number, or that is not known yet, by its number.
    Other(u32),
}

/// A control and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// `V4L2_CID_*`.
    pub id: u32,
    /// The driver's words, such as `Exposure Time, Absolute`.
    pub label: String,
    /// The name to set it by, such as `exposure_time_absolute`.
    pub name: String,
    /// What values it takes.
    pub kind: ControlKind,
    /// Smallest value.
    pub minimum: i64,
    /// Largest value.
    pub maximum: i64,
    /// Step between values.
    pub step: u64,
    /// Value after a reset.
    pub default: i64,
    /// Value now, where it can be read.
    pub value: Option<i64>,
    /// The entries of a menu: value and name.
    pub menu: Vec<(i64, String)>,
    /// Whether it can only be read.
    pub read_only: bool,
    /// Whether it has no effect now, such as an exposure time while exposure is automatic.
    pub inactive: bool,
}

/// The name by which a control is set: lower case, other characters as single underscores, the way
/// `v4l2-ctl` does it.
#[must_use]
pub fn control_name(label: &str) -> String {
    let mut name = String::with_capacity(label.len());
    for c in label.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_lowercase());
        } else if !name.ends_with('_') {
            name.push('_');
        }
    }
    name.trim_matches('_').to_owned()
}

impl Device {
    /// All controls that hold a single number, in the driver's order.
    #[must_use]
    pub fn controls(&self) -> Vec<Control> {
        let mut controls = Vec::new();
        let mut id = 0;
        for _ in 0..CONTROL_LIMIT {
            let next = id | sys::V4L2_CTRL_FLAG_NEXT_CTRL;
            let mut query = sys::v4l2_query_ext_ctrl { id: next, ..Plain::zeroed() };
            // A driver that does not count upward would never end.
            if ioctl(self.as_fd(), vidioc::VIDIOC_QUERY_EXT_CTRL, &mut query).is_err() || query.id <= id {
                break;
            }
            id = query.id;
            controls.extend(self.describe(&query));
        }
        controls
    }

    /// The control with this number, if the device has it.
    #[must_use]
    pub fn control(&self, id: u32) -> Option<Control> {
        let mut query = sys::v4l2_query_ext_ctrl { id, ..Plain::zeroed() };
        ioctl(self.as_fd(), vidioc::VIDIOC_QUERY_EXT_CTRL, &mut query).ok()?;
        self.describe(&query)
    }

    /// Sets `control` to `value`; of one of 32 bits the low 32 are taken.
    ///
    /// # Errors
    /// The kernel's: `ERANGE`, `EINVAL` of a value that it does not take, `EBUSY` while grabbed,
    /// `EACCES` of a read-only one.
    pub fn set_control(&self, control: &Control, value: i64) -> io::Result<()> {
        let mut setting = sys::v4l2_ext_control { id: control.id, ..Plain::zeroed() };
        if control.kind == ControlKind::Integer64 {
            setting.__bindgen_anon_1.value64 = value;
        } else {
            setting.__bindgen_anon_1.value = value as i32;
        }
        self.ext_control(vidioc::VIDIOC_S_EXT_CTRLS, &mut setting)
    }

    fn describe(&self, query: &sys::v4l2_query_ext_ctrl) -> Option<Control> {
        let kind = match query.type_ {
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER => ControlKind::Integer,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER64 => ControlKind::Integer64,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BOOLEAN => ControlKind::Boolean,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_MENU => ControlKind::Menu,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER_MENU => ControlKind::IntegerMenu,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BUTTON => ControlKind::Button,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BITMASK => ControlKind::Bitmask,
            // A heading, not a control.
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_CTRL_CLASS => return None,
            other => ControlKind::Other(other),
        };
        if query.flags & sys::V4L2_CTRL_FLAG_DISABLED != 0 {
            return None;
        }
        let label = text(&query.name.map(c_byte));
        let mut control = Control {
            id: query.id,
            name: control_name(&label),
            label,
            kind,
            minimum: query.minimum,
            maximum: query.maximum,
            step: query.step,
            default: query.default_value,
            value: None,
            menu: Vec::new(),
            read_only: query.flags & sys::V4L2_CTRL_FLAG_READ_ONLY != 0,
            inactive: query.flags & sys::V4L2_CTRL_FLAG_INACTIVE != 0,
        };
        let readable = query.flags & (sys::V4L2_CTRL_FLAG_WRITE_ONLY | sys::V4L2_CTRL_FLAG_HAS_PAYLOAD) == 0;
        if readable && !matches!(kind, ControlKind::Button | ControlKind::Other(_)) {
            control.value = self.control_value(&control);
        }
        if matches!(kind, ControlKind::Menu | ControlKind::IntegerMenu) {
            control.menu = self.menu(&control);
        }
        Some(control)
    }

    fn control_value(&self, control: &Control) -> Option<i64> {
        let mut setting = sys::v4l2_ext_control { id: control.id, ..Plain::zeroed() };
        self.ext_control(vidioc::VIDIOC_G_EXT_CTRLS, &mut setting).ok()?;
        // SAFETY: any bytes are a value of the integer members of this union.
        let (value, value64) = unsafe { (setting.__bindgen_anon_1.value, setting.__bindgen_anon_1.value64) };
        Some(match control.kind {
            ControlKind::Integer64 => value64,
            // Bits have no sign.
            ControlKind::Bitmask => i64::from(value.cast_unsigned()),
            _ => i64::from(value),
        })
    }

    fn menu(&self, control: &Control) -> Vec<(i64, String)> {
        let last = control.maximum.min(control.minimum.saturating_add(MENU_LIMIT));
        let entry = |value: i64| {
            let index = u32::try_from(value).ok()?;
            let mut item = sys::v4l2_querymenu { id: control.id, index, ..Plain::zeroed() };
            // Menus have holes: entries that this device does not offer.
            ioctl(self.as_fd(), vidioc::VIDIOC_QUERYMENU, &mut item).ok()?;
            // SAFETY: the structure is packed; copied out, any bytes are a value of both members.
            let (name, number) = unsafe { (item.__bindgen_anon_1.name, item.__bindgen_anon_1.value) };
            Some((value, if control.kind == ControlKind::Menu { text(&name) } else { number.to_string() }))
        };
        (control.minimum..=last).filter_map(entry).collect()
    }

    /// Gets or sets one control by the extended call, which newer drivers want.
    fn ext_control(
        &self,
        request: crate::raw::Request,
        control: &mut sys::v4l2_ext_control,
    ) -> io::Result<()> {
        let mut list = sys::v4l2_ext_controls { count: 1, controls: control, ..Plain::zeroed() };
        ioctl(self.as_fd(), request, &mut list)
    }
}

/// The byte in a C `char`, whatever its sign is here.
const fn c_byte(c: std::ffi::c_char) -> u8 {
    u8::from_ne_bytes(c.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::control_name;

    #[test]
    fn names_are_those_of_v4l2_ctl() {
        for (label, name) in [
            ("Exposure Time, Absolute", "exposure_time_absolute"),
            ("White Balance, Automatic", "white_balance_automatic"),
            ("Gain", "gain"),
            ("(odd)  Name!", "odd_name"),
            ("", ""),
        ] {
            assert_eq!(control_name(label), name);
        }
    }
}
