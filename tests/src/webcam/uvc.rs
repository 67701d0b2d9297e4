//! A USB video class camera by its descriptors and control requests (USB Video Class 1.1): one camera, one
//! bulk endpoint, Motion JPEG and YUY2. It is told what the host asks and says what to answer.

/// Picture size of both formats.
pub(super) const WIDTH: u16 = 320;
pub(super) const HEIGHT: u16 = 240;
/// The bulk endpoint that pictures come from.
pub(super) const ENDPOINT: u32 = 1;
/// The most bytes in one payload, header included. A payload ends with a transfer that is not full.
pub(super) const MAX_PAYLOAD: usize = 16 * 1024;

/// Frame intervals in 100 ns: Motion JPEG 15 and 10 fps, YUY2 5 fps, as a camera on a full bus.
const MJPEG_INTERVALS: [u32; 2] = [666_666, 1_000_000];
const YUY2_INTERVALS: [u32; 1] = [2_000_000];
const FRAME_BYTES: u32 = WIDTH as u32 * HEIGHT as u32 * 2;

/// USB device descriptor: interface association class, strings 1 to 3.
pub(super) const DEVICE: [u8; 18] =
    [18, 1, 0x00, 0x02, 0xef, 0x02, 0x01, 64, 0x09, 0x12, 0x01, 0x00, 0x00, 0x01, 1, 2, 3, 1];
const STRINGS: [&str; 3] = ["Framelock", "Framelock test webcam", "FL-0001"];

// bRequest of the standard requests that a camera gets, and of the class's.
const CLEAR_FEATURE: u8 = 1;
const GET_STATUS: u8 = 0;
const GET_DESCRIPTOR: u8 = 6;
const SET_CONFIGURATION: u8 = 9;
const SET_INTERFACE: u8 = 11;
const SET_CUR: u8 = 0x01;
const GET_CUR: u8 = 0x81;
const GET_MIN: u8 = 0x82;
const GET_MAX: u8 = 0x83;
const GET_LEN: u8 = 0x85;
const GET_INFO: u8 = 0x86;
const GET_DEF: u8 = 0x87;
const PROBE_BYTES: usize = 34;

/// The pictures that the host has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Motion JPEG rather than YUY2.
    pub jpeg: bool,
    /// From picture to picture, in 100 ns.
    pub interval: u32,
}

impl Mode {
    const DEFAULT: Self = Self { jpeg: true, interval: MJPEG_INTERVALS[0] };

    /// The nearest mode that there is to what `probe` asks for.
    fn negotiate(probe: &[u8]) -> Self {
        let jpeg = probe.get(2) != Some(&2);
        let asked = probe.get(4..8).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let intervals = if jpeg { &MJPEG_INTERVALS[..] } else { &YUY2_INTERVALS[..] };
        let interval = intervals.iter().copied().min_by_key(|interval| interval.abs_diff(asked));
        Self { jpeg, interval: interval.unwrap_or(YUY2_INTERVALS[0]) }
    }

    /// Probe and commit controls, UVC 1.1 section 4.3.1.1.
    fn probe(self) -> [u8; PROBE_BYTES] {
        let mut probe = [0; PROBE_BYTES];
        probe[0] = 1;
        probe[2] = if self.jpeg { 1 } else { 2 };
        probe[3] = 1;
        probe[4..8].copy_from_slice(&self.interval.to_le_bytes());
        probe[18..22].copy_from_slice(&FRAME_BYTES.to_le_bytes());
        probe[22..26].copy_from_slice(&(MAX_PAYLOAD as u32).to_le_bytes());
        probe[26..30].copy_from_slice(&48_000_000_u32.to_le_bytes());
        // Frame identifier and end of frame are used.
        probe[30] = 3;
        probe
    }
}

/// What a camera answers; `None` is a stall.
pub(super) type Answer = Option<Vec<u8>>;

/// The camera's state.
#[derive(Debug)]
pub(super) struct Camera {
    probe: Mode,
    commit: Mode,
    streaming: bool,
}

impl Default for Camera {
    fn default() -> Self {
        Self { probe: Mode::DEFAULT, commit: Mode::DEFAULT, streaming: false }
    }
}

impl Camera {
    /// The mode in which pictures are wanted; none while they are not.
    pub(super) fn mode(&self) -> Option<Mode> {
        self.streaming.then_some(self.commit)
    }

    /// A control transfer; `data` is what came with one from the host.
    pub(super) fn control(&mut self, setup: [u8; 8], data: &[u8]) -> Answer {
        let [kind, request, value_low, value_high, ..] = setup;
        // Bits 5 and 6: standard or class request.
        match (kind & 0x60, request) {
            (0x00, GET_STATUS) => Some(vec![0, 0]),
            (0x00, GET_DESCRIPTOR) => descriptor(value_high, value_low),
            (0x00, SET_CONFIGURATION) => Some(Vec::new()),
            // How the host stops a bulk stream: by alternate setting or by resetting the endpoint.
            (0x00, SET_INTERFACE | CLEAR_FEATURE) => {
                self.streaming = false;
                Some(Vec::new())
            }
            (0x20, _) if setup[4] == 1 => self.video_streaming(request, value_high, data),
            _ => None,
        }
    }

    /// VS_PROBE_CONTROL (1) and VS_COMMIT_CONTROL (2).
    fn video_streaming(&mut self, request: u8, selector: u8, data: &[u8]) -> Answer {
        match (selector, request) {
            (1, SET_CUR) => {
                self.probe = Mode::negotiate(data);
                Some(Vec::new())
            }
            (2, SET_CUR) => {
                self.commit = Mode::negotiate(data);
                self.streaming = true;
                Some(Vec::new())
            }
            (1, GET_DEF) => Some(Mode::DEFAULT.probe().to_vec()),
            (1, GET_CUR | GET_MIN | GET_MAX) => Some(self.probe.probe().to_vec()),
            (2, GET_CUR) => Some(self.commit.probe().to_vec()),
            (1 | 2, GET_LEN) => Some(vec![PROBE_BYTES as u8, 0]),
            (1 | 2, GET_INFO) => Some(vec![3]),
            _ => None,
        }
    }
}

fn descriptor(kind: u8, index: u8) -> Answer {
    match (kind, index) {
        (1, 0) => Some(DEVICE.to_vec()),
        (2, 0) => Some(configuration()),
        // The languages that there are: English.
        (3, 0) => Some(vec![4, 3, 0x09, 0x04]),
        (3, index) => {
            let text = STRINGS.get(usize::from(index) - 1)?;
            let mut descriptor = vec![2 + 2 * text.len() as u8, 3];
            descriptor.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
            Some(descriptor)
        }
        _ => None,
    }
}

fn configuration() -> Vec<u8> {
    let mut all = vec![9, 2, 0, 0, 2, 1, 0, 0x80, 250];
    // Interface association: two interfaces from 0 on are one video function.
    all.extend([8, 11, 0, 2, 0x0e, 3, 0, 0]);
    // VideoControl, without an interrupt endpoint.
    all.extend([9, 4, 0, 0, 0, 0x0e, 1, 0, 0]);
    // Its header: UVC 1.1, 40 bytes in all, 48 MHz, one streaming interface: 1.
    all.extend([13, 0x24, 1, 0x10, 0x01, 40, 0, 0x00, 0x6c, 0xdc, 0x02, 1, 1]);
    // Terminal 1, a camera without controls; terminal 2 gives its pictures to USB.
    all.extend([18, 0x24, 2, 1, 0x01, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0]);
    all.extend([9, 0x24, 3, 2, 0x01, 0x01, 0, 1, 0]);
    // VideoStreaming with one bulk endpoint.
    all.extend([9, 4, 1, 0, 1, 0x0e, 2, 0, 0]);
    let (formats, count) = (formats(), 2);
    let length = (15 + formats.len()) as u16;
    all.extend([15, 0x24, 1, count]);
    all.extend(length.to_le_bytes());
    all.extend([0x80 | ENDPOINT as u8, 0, 2, 0, 0, 0, 1, 0, 0]);
    all.extend(formats);
    // Endpoint 1 to the host: bulk, 512 bytes a packet.
    all.extend([7, 5, 0x80 | ENDPOINT as u8, 2, 0x00, 0x02, 0]);
    let total = (all.len() as u16).to_le_bytes();
    all[2..4].copy_from_slice(&total);
    all
}

fn formats() -> Vec<u8> {
    // BT.601.
    const COLOURS: [u8; 6] = [6, 0x24, 13, 1, 1, 4];
    let mut all = vec![11, 0x24, 6, 1, 1, 1, 1, 0, 0, 0, 0];
    all.extend(frame(7, &MJPEG_INTERVALS));
    all.extend(COLOURS);
    all.extend([27, 0x24, 4, 2, 1]);
    all.extend(*b"YUY2\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71");
    all.extend([16, 1, 0, 0, 0, 0]);
    all.extend(frame(5, &YUY2_INTERVALS));
    all.extend(COLOURS);
    all
}

/// A frame descriptor of `kind` with discrete intervals, the first the default.
fn frame(kind: u8, intervals: &[u32]) -> Vec<u8> {
    let rate = |interval: &u32| (FRAME_BYTES * 8 * (10_000_000 / interval)).to_le_bytes();
    let mut all = vec![26 + 4 * intervals.len() as u8, 0x24, kind, 1, 0];
    all.extend([WIDTH, HEIGHT].map(u16::to_le_bytes).concat());
    all.extend(intervals.last().map_or([0; 4], rate));
    all.extend(intervals.first().map_or([0; 4], rate));
    all.extend(FRAME_BYTES.to_le_bytes());
    all.extend(intervals.first().map_or([0; 4], |interval| interval.to_le_bytes()));
    all.push(intervals.len() as u8);
    all.extend(intervals.iter().flat_map(|interval| interval.to_le_bytes()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_as_long_as_they_say() {
        let all = configuration();
        assert_eq!(usize::from(u16::from_le_bytes([all[2], all[3]])), all.len());
        let mut at = 0;
        let mut seen = Vec::new();
        while at < all.len() {
            let length = usize::from(all[at]);
            assert!(length >= 2 && at + length <= all.len(), "at {at}");
            seen.push((all[at + 1], all[at + 2]));
            at += length;
        }
        assert_eq!(seen.len(), 15, "{seen:?}");
    }

    #[test]
    fn pictures_come_from_commit_until_the_endpoint_is_reset() {
        let mut camera = Camera::default();
        assert_eq!(camera.mode(), None);
        let mut probe = Mode::DEFAULT.probe();
        probe[4..8].copy_from_slice(&990_000_u32.to_le_bytes());
        let set = |selector| [0x21, SET_CUR, 0, selector, 1, 0, 34, 0];
        assert_eq!(camera.control(set(1), &probe), Some(Vec::new()));
        let answer = camera.control([0xa1, GET_CUR, 0, 1, 1, 0, 34, 0], &[]).expect("an answer");
        assert_eq!(answer[4..8], 1_000_000_u32.to_le_bytes());
        assert_eq!(camera.mode(), None);
        assert_eq!(camera.control(set(2), &answer), Some(Vec::new()));
        assert_eq!(camera.mode(), Some(Mode { jpeg: true, interval: 1_000_000 }));
        assert_eq!(camera.control([0x02, CLEAR_FEATURE, 0, 0, 0x81, 0, 0, 0], &[]), Some(Vec::new()));
        assert_eq!(camera.mode(), None);
        // An unknown control stalls.
        assert_eq!(camera.control([0xa1, GET_CUR, 0, 9, 1, 0, 1, 0], &[]), None);
    }
}
