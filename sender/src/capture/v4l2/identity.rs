//! Which camera it is, whatever its device node is called today.

use std::path::{Path, PathBuf};

use framelock_v4l2::{Capability, Device};

/// Device nodes looked at, at most.
const NODE_LIMIT: usize = 128;

/// What stays the same when a camera is plugged in again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) card: String,
    /// The USB port or the platform device.
    bus_info: String,
    /// The USB serial number, where the camera has one.
    serial: Option<String>,
    /// Which of the device's nodes it is.
    index: Option<u32>,
}

impl Identity {
    /// The identity of the device node at `path`, which said `capability`.
    pub(crate) fn new(path: &Path, capability: &Capability) -> Self {
        // Links such as those in /dev/v4l/by-id name a node.
        let node = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let class = node.file_name().map(|name| Path::new("/sys/class/video4linux").join(name));
        let attribute = |name: &str| {
            let text = std::fs::read_to_string(class.as_ref()?.join(name)).ok()?;
            Some(text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        Self {
            card: capability.card.clone(),
            bus_info: capability.bus_info.clone(),
            // The node's parent is the USB interface, and that one's the device.
            serial: attribute("device/../serial"),
            index: attribute("index").and_then(|index| index.parse().ok()),
        }
    }

    /// Whether `other` is the same camera at the same place.
    fn is_same(&self, other: &Self) -> bool {
        self.card == other.card && self.bus_info == other.bus_info && self.index == other.index
    }

    /// Whether `other` is the same camera by its serial number, at another place maybe.
    fn is_moved(&self, other: &Self) -> bool {
        self.serial.is_some()
            && self.serial == other.serial
            && self.card == other.card
            && self.index == other.index
    }

    /// Where this camera is now, if it is there: best at its old place, else where its serial number is.
    /// `preferred` is looked at first.
    pub(crate) fn locate(&self, preferred: &Path) -> Option<PathBuf> {
        let paths = std::iter::once(preferred.to_owned()).chain(nodes());
        let present = paths.filter_map(|path| {
            let capability = Device::open(&path).ok()?.capability().ok()?;
            let identity = Self::new(&path, &capability);
            Some((path, identity))
        });
        self.pick(present)
    }

    fn pick(&self, present: impl Iterator<Item = (PathBuf, Self)>) -> Option<PathBuf> {
        let mut moved = None;
        for (path, identity) in present {
            if self.is_same(&identity) {
                return Some(path);
            }
            if moved.is_none() && self.is_moved(&identity) {
                moved = Some(path);
            }
        }
        moved
    }
}

/// The video device nodes, by number.
pub(crate) fn nodes() -> Vec<PathBuf> {
    let Ok(directory) = std::fs::read_dir("/dev") else { return Vec::new() };
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix("video")?.parse::<u32>().ok();
    let mut nodes: Vec<_> = directory
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter_map(|path| number(&path).map(|number| (number, path)))
        .collect();
    nodes.sort();
    nodes.into_iter().take(NODE_LIMIT).map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(card: &str, port: &str, serial: Option<&str>) -> Identity {
        Identity {
            card: card.into(),
            bus_info: format!("usb-0000:01:00.0-{port}"),
            serial: serial.map(Into::into),
            index: Some(0),
        }
    }

    fn pick(wanted: &Identity, present: &[Identity]) -> Option<PathBuf> {
        let numbered = present.iter().enumerate();
        wanted.pick(numbered.map(|(i, identity)| (PathBuf::from(format!("/dev/video{i}")), identity.clone())))
    }

    #[test]
    fn a_camera_is_found_at_its_port_under_any_number() {
        let (left, right) = (identity("C270", "1", None), identity("C270", "2", None));
        assert_eq!(pick(&right, &[left.clone(), right.clone()]), Some("/dev/video1".into()));
        assert_eq!(pick(&right, &[right.clone(), left.clone()]), Some("/dev/video0".into()));
        // Its twin in the other port is another camera.
        assert_eq!(pick(&right, &[left]), None);
    }

    #[test]
    fn a_camera_with_a_serial_number_is_found_in_another_port() {
        let wanted = identity("BRIO", "1", Some("A1"));
        let moved = identity("BRIO", "4", Some("A1"));
        let twin = identity("BRIO", "1.2", Some("B2"));
        assert_eq!(pick(&wanted, &[twin.clone(), moved.clone()]), Some("/dev/video1".into()));
        assert_eq!(pick(&wanted, &[moved, twin, wanted.clone()]), Some("/dev/video2".into()));
        // The camera's metadata node is not the camera.
        let metadata = Identity { index: Some(1), ..wanted.clone() };
        assert_eq!(pick(&wanted, &[metadata]), None);
    }
}
