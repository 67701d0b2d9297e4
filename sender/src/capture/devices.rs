//! The cameras on this machine and what they can do, for people and programs.

use std::fmt;
use std::path::PathBuf;

use framelock_v4l2::{Control, ControlKind, Device, Fraction, Intervals, Sizes};
use serde::Serialize;

use super::v4l2::{format_of, nodes};

/// A camera.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceInfo {
    /// Its device node.
    pub path: PathBuf,
    /// Its name.
    pub card: String,
    /// Its driver.
    pub driver: String,
    /// Where it is plugged in.
    pub bus_info: String,
    /// Its formats, also those that the sender cannot take.
    pub formats: Vec<FormatInfo>,
    /// Its controls, by the names that the configuration takes.
    pub controls: Vec<ControlInfo>,
}

/// A format of a camera.
#[derive(Clone, Debug, Serialize)]
pub struct FormatInfo {
    /// The four-character code.
    pub fourcc: String,
    /// The sender's name for it, where it can take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The driver's words for it.
    pub description: String,
    /// Sizes; of a stepwise range its smallest and largest.
    pub sizes: Vec<SizeInfo>,
    /// Whether `sizes` are the ends of a range.
    pub stepwise: bool,
}

/// A size of a format.
#[derive(Clone, Debug, Serialize)]
pub struct SizeInfo {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames per second, as the driver lists them; the ends where it has a range.
    pub fps: Vec<f64>,
}

/// A control of a camera.
#[derive(Clone, Debug, Serialize)]
pub struct ControlInfo {
    /// The name that the configuration takes.
    pub name: String,
    /// `integer`, `boolean`, `menu`, `button`, `bitmask` or `other`.
    pub kind: &'static str,
    /// Smallest value.
    pub minimum: i64,
    /// Largest value.
    pub maximum: i64,
    /// Step between values.
    pub step: u64,
    /// Value after a reset.
    pub default: i64,
    /// Value now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<i64>,
    /// Names of a menu's entries with their values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub menu: Vec<MenuEntry>,
    /// Whether it can only be read.
    pub read_only: bool,
    /// Whether it has no effect now.
    pub inactive: bool,
}

/// An entry of a menu control.
#[derive(Clone, Debug, Serialize)]
pub struct MenuEntry {
    /// Its value.
    pub value: i64,
    /// Its name.
    pub name: String,
}

/// The V4L2 capture devices of this machine. Nodes that do not capture, or may not be opened, are
/// left out.
#[must_use]
pub fn list() -> Vec<DeviceInfo> {
    nodes().into_iter().filter_map(describe).collect()
}

fn describe(path: PathBuf) -> Option<DeviceInfo> {
    let device = Device::open(&path).ok()?;
    let capability = device.capability().ok()?;
    if !capability.captures && !capability.multi_planar {
        return None;
    }
    let formats = device.formats().into_iter().map(|format| {
        let (sizes, stepwise) = sizes(&device, format.fourcc);
        FormatInfo {
            fourcc: format.fourcc.to_string(),
            format: format_of(format.fourcc).map(|format| format.to_string()),
            description: format.description,
            sizes,
            stepwise,
        }
    });
    let formats = formats.collect();
    let controls = device.controls().into_iter().map(ControlInfo::from).collect();
    let (card, driver, bus_info) = (capability.card, capability.driver, capability.bus_info);
    Some(DeviceInfo { path, card, driver, bus_info, formats, controls })
}

fn sizes(device: &Device, fourcc: framelock_v4l2::FourCc) -> (Vec<SizeInfo>, bool) {
    let info =
        |(width, height)| SizeInfo { width, height, fps: rates(device.intervals(fourcc, width, height)) };
    match device.sizes(fourcc) {
        Sizes::Unknown => (Vec::new(), false),
        Sizes::Discrete(sizes) => (sizes.into_iter().map(info).collect(), false),
        // Nothing is listed between the ends: they say enough.
        Sizes::Stepwise { min, max, .. } => ([min, max].map(info).into(), true),
    }
}

fn rates(intervals: Intervals) -> Vec<f64> {
    let rate = |interval: Fraction| {
        let hz = f64::from(interval.denominator) / f64::from(interval.numerator);
        (hz * 1_000.0).round() / 1_000.0
    };
    match intervals {
        Intervals::Unknown => Vec::new(),
        Intervals::Discrete(intervals) => intervals.into_iter().map(rate).collect(),
        Intervals::Range { min, max } => vec![rate(max), rate(min)],
    }
}

impl From<Control> for ControlInfo {
    fn from(control: Control) -> Self {
        Self {
            name: control.name,
            kind: match control.kind {
                ControlKind::Integer | ControlKind::Integer64 => "integer",
                ControlKind::Boolean => "boolean",
                ControlKind::Menu | ControlKind::IntegerMenu => "menu",
                ControlKind::Button => "button",
                ControlKind::Bitmask => "bitmask",
                ControlKind::Other(_) => "other",
            },
            minimum: control.minimum,
            maximum: control.maximum,
            step: control.step,
            default: control.default,
            value: control.value,
            menu: control.menu.into_iter().map(|(value, name)| MenuEntry { value, name }).collect(),
            read_only: control.read_only,
            inactive: control.inactive,
        }
    }
}

impl fmt::Display for DeviceInfo {
    /// Several lines: the camera, then its formats, then its controls, indented.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {} ({}, {})", self.path.display(), self.card, self.driver, self.bus_info)?;
        let (usable, other): (Vec<_>, Vec<_>) =
            self.formats.iter().partition(|format| format.format.is_some());
        for format in usable {
            write!(f, "\n  {format}")?;
        }
        if !other.is_empty() {
            let codes: Vec<_> = other.iter().map(|format| format.fourcc.as_str()).collect();
            write!(f, "\n  cannot be taken: {}", codes.join(", "))?;
        }
        if !self.controls.is_empty() {
            write!(f, "\n  controls:")?;
        }
        for control in &self.controls {
            write!(f, "\n    {control}")?;
        }
        Ok(())
    }
}

impl fmt::Display for FormatInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.format.as_deref().unwrap_or(&self.fourcc))?;
        for (index, size) in self.sizes.iter().enumerate() {
            let before = if index > 0 && self.stepwise { " to " } else { " " };
            write!(f, "{before}{}x{}", size.width, size.height)?;
            if !size.fps.is_empty() {
                let rates: Vec<_> = size.fps.iter().map(|hz| format!("{hz}")).collect();
                write!(f, " ({} fps)", rates.join(", "))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for ControlInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = ", self.name)?;
        match self.value {
            Some(value) => write!(f, "{value}")?,
            None => write!(f, "?")?,
        }
        if self.menu.is_empty() {
            write!(f, " ({} {} to {}, default {}", self.kind, self.minimum, self.maximum, self.default)?;
        } else {
            let entries: Vec<_> =
                self.menu.iter().map(|entry| format!("{} \"{}\"", entry.value, entry.name)).collect();
            write!(f, " ({}, default {}", entries.join(", "), self.default)?;
        }
        write!(
            f,
            "{}{})",
            if self.read_only { ", read-only" } else { "" },
            if self.inactive { ", inactive" } else { "" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_prints_and_serializes() {
        let device = DeviceInfo {
            path: "/dev/video0".into(),
            card: "HD Webcam".into(),
            driver: "uvcvideo".into(),
            bus_info: "usb-1".into(),
            formats: vec![
                FormatInfo {
                    fourcc: "YUYV".into(),
                    format: Some("yuyv".into()),
                    description: "YUYV 4:2:2".into(),
                    sizes: vec![SizeInfo { width: 640, height: 480, fps: vec![30.0, 29.97] }],
                    stepwise: false,
                },
                FormatInfo {
                    fourcc: "UYVY".into(),
                    format: None,
                    description: "UYVY 4:2:2".into(),
                    sizes: Vec::new(),
                    stepwise: false,
                },
            ],
            controls: vec![ControlInfo {
                name: "gain".into(),
                kind: "integer",
                minimum: 0,
                maximum: 255,
                step: 1,
                default: 64,
                value: Some(12),
                menu: Vec::new(),
                read_only: false,
                inactive: true,
            }],
        };
        let text = device.to_string();
        let expected = "/dev/video0  HD Webcam (uvcvideo, usb-1)\n  yuyv: 640x480 (30, 29.97 fps)\n  cannot be taken: UYVY\n  controls:\n    \
                        gain = 12 (integer 0 to 255, default 64, inactive)";
        assert_eq!(text, expected);
        let json: serde_json::Value = serde_json::to_value(&device).unwrap();
        assert_eq!(json["formats"][0]["sizes"][0]["fps"][1], 29.97);
        assert_eq!(json["controls"][0]["value"], 12);
    }

    #[test]
    fn listing_never_fails() {
        for device in list() {
            assert!(!device.to_string().is_empty());
        }
    }
}
