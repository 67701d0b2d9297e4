//! What a receiver must know of an access unit without decoding it.

use h264_reader::nal::sps::SeqParameterSet;
use h264_reader::nal::{Nal, RefNal};
use h264_reader::rbsp::BitRead;

use super::nal::{NalType, nal_units};
use super::sei::{self, SeiTime};

/// Largest width or height believed (ITU-T H.264 table A-1 allows 16,880 at level 6.2).
const MAX_DIMENSION: u32 = 16_880;
/// A frame waits for at most 16 others (ITU-T H.264 section A.3.1: `MaxDpbFrames`).
const MAX_REORDER: u32 = 16;
/// Frame rates above this are nonsense in `timing_info`.
const MAX_FRAME_RATE: u32 = 1_000;

/// How a picture is predicted: the most general of its slice types (ITU-T H.264 table 7-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrameType {
    /// Intra only (also SI).
    I,
    /// From one earlier picture a block (also SP).
    P,
    /// From up to two pictures a block, which may be later ones.
    B,
}

impl FrameType {
    /// `"I"`, `"P"` or `"B"`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::I => "I",
            Self::P => "P",
            Self::B => "B",
        }
    }
}

impl std::fmt::Display for FrameType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A frame rate as a fraction, in frames per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRate {
    /// Numerator, at least 1.
    pub num: u32,
    /// Denominator, at least 1.
    pub den: u32,
}

/// What a sequence parameter set says, bounded to what is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpsInfo {
    /// Width in pixels after cropping, 1 to 16,880.
    pub width: u32,
    /// Height in pixels after cropping, 1 to 16,880.
    pub height: u32,
    /// Size in macroblocks of 16x16 pixels as coded, before cropping: what a decoder has to hold.
    pub macroblocks: u32,
    /// Frames that may precede one in decoding order and follow it in output order (0 to 16);
    /// `None` where the stream does not say, and a decoder must then assume the worst.
    pub reorder_frames: Option<u32>,
    /// The frame rate of `timing_info`, where given and at most 1000/s. Cameras often lie here.
    pub frame_rate: Option<FrameRate>,
}

/// What [`Inspector::inspect`] finds in an access unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessUnitInfo {
    /// An IDR picture: decoding can start here if the parameter sets are known.
    pub key: bool,
    /// Whether a sequence and a picture parameter set are inside.
    pub parameter_sets: bool,
    /// Whether the unit begins with an access unit delimiter.
    pub delimiter: bool,
    /// `None` if there is no readable slice.
    pub frame_type: Option<FrameType>,
    /// The sequence parameter set the picture uses, from this unit or an earlier one.
    pub sps: Option<SpsInfo>,
    /// Capture time carried in SEI.
    pub sei_time: Option<SeiTime>,
    /// Number of base-layer slices, of all pictures in the unit.
    pub slices: u32,
}

/// Inspects a stream's access units in order, remembering its parameter sets: a P frame has its size
/// from the key frame before it.
///
/// Memory is bounded by the number of parameter set ids (32 and 256).
#[derive(Clone, Debug)]
pub struct Inspector {
    sps: [Option<SpsInfo>; 32],
    /// Sequence parameter set id of each picture parameter set.
    pps: [Option<u8>; 256],
    bad_parameter_sets: u64,
}

impl Default for Inspector {
    fn default() -> Self {
        Self { sps: [None; 32], pps: [None; 256], bad_parameter_sets: 0 }
    }
}

impl Inspector {
    /// An inspector that knows no parameter sets yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Parameter sets so far that could not be parsed; the ones known before stay in force.
    #[must_use]
    pub const fn bad_parameter_sets(&self) -> u64 {
        self.bad_parameter_sets
    }

    /// Inspects one access unit. Unreadable parts are passed over: any bytes may be given.
    pub fn inspect(&mut self, annex_b: &[u8]) -> AccessUnitInfo {
        let mut info = AccessUnitInfo::default();
        let (mut sps_seen, mut pps_seen) = (false, false);
        let mut settled = false;
        for (index, nal) in nal_units(annex_b).enumerate() {
            match NalType::from_header(nal[0]) {
                NalType::AccessUnitDelimiter => info.delimiter |= index == 0,
                NalType::Sps => {
                    sps_seen = true;
                    self.learn_sps(nal);
                }
                NalType::Pps => {
                    pps_seen = true;
                    self.learn_pps(nal);
                }
                NalType::Sei => info.sei_time = sei::capture_time(nal, info.sei_time),
                unit @ (NalType::Slice | NalType::Idr | NalType::Partition(2)) => {
                    info.slices = info.slices.saturating_add(1);
                    info.key |= unit == NalType::Idr;
                    if !settled {
                        settled = self.note_slice(nal, &mut info);
                    }
                }
                _ => {}
            }
        }
        info.parameter_sets = sps_seen && pps_seen;
        info
    }

    /// Takes type and parameter set from a slice header; true if no other slice can change them.
    fn note_slice(&self, nal: &[u8], info: &mut AccessUnitInfo) -> bool {
        let Some(slice) = SliceStart::parse(nal) else { return false };
        info.frame_type = info.frame_type.max(Some(slice.frame_type));
        let sps = self.pps[usize::from(slice.pps)].and_then(|id| self.sps[usize::from(id)]);
        info.sps = info.sps.or(sps);
        slice.all_alike || slice.frame_type == FrameType::B
    }

    fn learn_sps(&mut self, nal: &[u8]) {
        match parse_sps(nal) {
            Some((id, info)) => self.sps[usize::from(id)] = Some(info),
            None => self.bad_parameter_sets += 1,
        }
    }

    fn learn_pps(&mut self, nal: &[u8]) {
        match parse_pps_ids(nal) {
            Some((pps, sps)) => self.pps[usize::from(pps)] = Some(sps),
            None => self.bad_parameter_sets += 1,
        }
    }
}

/// Inspects one access unit that brings its own parameter sets, as a key frame does.
#[must_use]
pub fn inspect(annex_b: &[u8]) -> AccessUnitInfo {
    Inspector::new().inspect(annex_b)
}

/// What the first three elements of a slice header say (ITU-T H.264 section 7.3.3), all that can be
/// read without the parameter sets.
struct SliceStart {
    frame_type: FrameType,
    /// The slice type was 5 to 9: every slice of the picture has it.
    all_alike: bool,
    pps: u8,
}

impl SliceStart {
    fn parse(nal: &[u8]) -> Option<Self> {
        // Three Exp-Golomb codes take at most 24 bytes; the rest of the slice is never touched.
        let head = &nal[..nal.len().min(32)];
        let mut bits = unit(head)?.rbsp_bits();
        bits.read_ue("first_mb_in_slice").ok()?;
        let slice_type = bits.read_ue("slice_type").ok()?;
        let pps = u8::try_from(bits.read_ue("pic_parameter_set_id").ok()?).ok()?;
        let frame_type = match slice_type % 5 {
            0 | 3 => FrameType::P,
            1 => FrameType::B,
            _ => FrameType::I,
        };
        (slice_type < 10).then_some(Self { frame_type, all_alike: slice_type >= 5, pps })
    }
}

fn unit(nal: &[u8]) -> Option<RefNal<'_>> {
    (!nal.is_empty()).then(|| RefNal::new(nal, &[], true))
}

fn parse_sps(nal: &[u8]) -> Option<(u8, SpsInfo)> {
    let sps = SeqParameterSet::from_bits(unit(nal)?.rbsp_bits()).ok()?;
    let (width, height) = sps.pixel_dimensions().ok()?;
    let possible = 1..=MAX_DIMENSION;
    if !possible.contains(&width) || !possible.contains(&height) {
        return None;
    }
    let fields = if sps.frame_mbs_flags == h264_reader::nal::sps::FrameMbsFlags::Frames { 1 } else { 2 };
    let map_units = sps.pic_width_in_mbs().checked_mul(sps.pic_height_in_map_units())?;
    let macroblocks = map_units.checked_mul(fields)?;
    let vui = sps.vui_parameters.as_ref();
    let reorder_frames = vui
        .and_then(|vui| vui.bitstream_restrictions.as_ref())
        .map(|restrictions| restrictions.max_num_reorder_frames)
        // Baseline has no B slices, and picture order type 2 has output in decoding order.
        .or_else(|| {
            let in_order = sps.profile_idc == 66.into()
                || sps.pic_order_cnt == h264_reader::nal::sps::PicOrderCntType::TypeTwo;
            in_order.then_some(0)
        })
        .map(|frames| frames.min(MAX_REORDER));
    let frame_rate = vui.and_then(|vui| vui.timing_info.as_ref()).and_then(|timing| {
        // A tick is a field: two of them make a frame (ITU-T H.264 section E.2.1).
        let den = timing.num_units_in_tick.checked_mul(2)?;
        let num = timing.time_scale;
        let sane = num > 0 && den > 0 && num / den <= MAX_FRAME_RATE;
        sane.then(|| FrameRate::reduced(num, den))
    });
    Some((sps.seq_parameter_set_id.id(), SpsInfo { width, height, macroblocks, reorder_frames, frame_rate }))
}

impl FrameRate {
    fn reduced(num: u32, den: u32) -> Self {
        let (mut a, mut b) = (num, den);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Self { num: num / a, den: den / a }
    }
}

/// Ids of a picture parameter set and of the sequence parameter set it refers to.
fn parse_pps_ids(nal: &[u8]) -> Option<(u8, u8)> {
    let mut bits = unit(&nal[..nal.len().min(32)])?.rbsp_bits();
    let pps = u8::try_from(bits.read_ue("pic_parameter_set_id").ok()?).ok()?;
    let sps = u8::try_from(bits.read_ue("seq_parameter_set_id").ok()?).ok()?;
    (sps < 32).then_some((pps, sps))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Key frame of x264 at 640x480 with `timing_info` 30/1, up to its slice header.
    const KEY: [u8; 47] = [
        0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x3d, 0xa1, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00,
        0x00, 0x03, 0x00, 0x3c, 0x0f, 0x16, 0x2e, 0x48, 0, 0, 0, 1, 0x68, 0xcb, 0x83, 0xcb, 0x20, 0, 0, 1,
        0x65, 0x88, 0x84, 0x0a, 0xf2, 0x62, 0x80, 0x0b,
    ];

    #[test]
    fn a_key_frame_tells_size_rate_and_type() {
        let info = inspect(&KEY);
        assert!(info.key && info.parameter_sets && !info.delimiter);
        assert_eq!(info.frame_type, Some(FrameType::I));
        let sps = info.sps.expect("the SPS is readable");
        assert_eq!((sps.width, sps.height, sps.macroblocks), (640, 480, 40 * 30));
        assert_eq!(sps.frame_rate, Some(FrameRate { num: 30, den: 1 }));
        assert_eq!(sps.reorder_frames, Some(0));
    }

    #[test]
    fn a_later_frame_has_its_size_from_the_key_frame() {
        let mut inspector = Inspector::new();
        // first_mb 0, slice_type 5 (all P), parameter set 0.
        let p = [0, 0, 1, 0x41, 0b1001_1010, 0x11];
        assert_eq!(inspector.inspect(&p).sps, None);
        let sps = inspector.inspect(&KEY).sps;
        let info = inspector.inspect(&p);
        assert_eq!((info.frame_type, info.key, info.sps), (Some(FrameType::P), false, sps));
        assert!(sps.is_some());
    }

    #[test]
    fn the_most_general_slice_names_the_frame() {
        // Types 2 (I), 0 (P) and 1 (B), which allow other types beside them.
        let (i, p, b) =
            ([0, 0, 1, 0x41, 0b1011_1000], [0, 0, 1, 0x41, 0b1110_0000], [0, 0, 1, 0x01, 0b1010_1000]);
        for (slices, expected) in
            [(vec![i, i], FrameType::I), (vec![i, p], FrameType::P), (vec![p, b, i], FrameType::B)]
        {
            let info = inspect(&slices.concat());
            assert_eq!((info.frame_type, info.slices), (Some(expected), slices.len() as u32));
        }
    }

    #[test]
    fn an_unreadable_parameter_set_is_counted_and_changes_nothing() {
        let mut inspector = Inspector::new();
        let sps = inspector.inspect(&KEY).sps;
        inspector.inspect(&[0, 0, 1, 0x67, 0x42, 0xc0, 0x1e]);
        assert_eq!(inspector.bad_parameter_sets(), 1);
        assert_eq!(inspector.inspect(&[0, 0, 1, 0x41, 0b1001_1010, 0x11]).sps, sps);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn hostile_parameter_sets_never_panic_and_stay_bounded(
            changes in proptest::collection::vec((4_usize..KEY.len(), any::<u8>()), 0..12),
            tail in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut data = KEY.to_vec();
            for (at, value) in changes {
                data[at] = value;
            }
            data.extend(tail);
            if let Some(sps) = inspect(&data).sps {
                prop_assert!((1..=MAX_DIMENSION).contains(&sps.width) && (1..=MAX_DIMENSION).contains(&sps.height));
                prop_assert!(sps.reorder_frames.is_none_or(|frames| frames <= MAX_REORDER));
                prop_assert!(sps.frame_rate.is_none_or(|rate| rate.num >= 1 && rate.den >= 1));
            }
        }

        #[test]
        fn arbitrary_units_never_panic(kind in 0_u8..32, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let info = inspect(&[&[0, 0, 1, kind | 0x60][..], &body].concat());
            prop_assert_eq!(info.sps, None);
        }
    }
}
