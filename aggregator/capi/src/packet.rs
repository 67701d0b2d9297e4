//! Packets and their frames.

use std::ffi::{CStr, c_char};
use std::ptr::null;
use std::sync::{Arc, OnceLock};

use framelock_aggregator as core;

use crate::subscription::Wants;
use crate::{
    Failure, FramelockCodec, FramelockFrameStatus, FramelockFrameType, FramelockMotionVector,
    FramelockResult, FramelockTimeSource, args, quietly,
};

/// One frame of every camera that has one for an instant. It does not change, may be used from any thread, and lives
/// until framelock_packet_release() has been called as often as it was handed out.
#[derive(Debug)]
pub struct FramelockPacket {
    info: FramelockPacketInfo,
    frames: Box<[FramelockFrame]>,
}

/// What is known of a packet.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FramelockPacketInfo {
    /// Counts packets, from 0. A gap: packets that this consumer was too slow for.
    pub number: u64,
    /// The instant the set stands for, the median of its frames' times: ns since the Unix epoch, UTC.
    pub time_ns: i64,
    /// Latest minus earliest capture time of its frames, in ns.
    pub spread_ns: i64,
    /// The most that the true spread can be, in ns: `spread_ns` as the frames' uncertainties allow it.
    pub spread_bound_ns: i64,
    /// Whether every camera has a frame.
    pub complete: bool,
}

/// One camera's part of a packet, whether or not it has a frame. It is the packet's, and lives as long.
#[derive(Debug)]
pub struct FramelockFrame {
    info: FramelockFrameInfo,
    /// What `info.camera` points to.
    camera: Arc<CStr>,
    /// Of the packet.
    number: u64,
    /// Holds what `info.data` points to.
    frame: Option<core::Frame>,
    wants: Wants,
    /// See the module `image`.
    pub(crate) pixels: OnceLock<Result<Box<[u8]>, String>>,
    pub(crate) vectors: OnceLock<Box<[FramelockMotionVector]>>,
}

/// What is known of a camera's part of a packet. Where the status is not #FRAMELOCK_FRAME_STATUS_OKAY, all but
/// `camera` and `status` is 0 and NULL.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FramelockFrameInfo {
    /// The camera's name.
    pub camera: *const c_char,
    /// Whether it has a frame, and why not.
    pub status: FramelockFrameStatus,
    /// Where `time_ns` comes from.
    pub time_source: FramelockTimeSource,
    /// When it was captured: ns since the Unix epoch, UTC.
    pub time_ns: i64,
    /// The true capture instant lies within this many ns of `time_ns`, before or after.
    pub uncertainty_ns: i64,
    /// How it is predicted.
    pub frame_type: FramelockFrameType,
    /// What `data` is.
    pub codec: FramelockCodec,
    /// Pixels in a row; 0 while the stream has not said so.
    pub width: u32,
    /// Rows; 0 while the stream has not said so.
    pub height: u32,
    /// Counts the camera's frames as received, from 0.
    pub sequence: u64,
    /// The compressed picture as received, `size` bytes.
    pub data: *const u8,
    /// Bytes of `data`.
    pub size: usize,
    /// Whether decoding can begin here.
    pub key: bool,
}

// SAFETY: what it points to is its `FramelockFrame`'s, and nobody changes that.
unsafe impl Send for FramelockFrameInfo {}
// SAFETY: as for `Send`.
unsafe impl Sync for FramelockFrameInfo {}

/// Packets are used from any thread.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<FramelockPacket>();
};

impl FramelockPacket {
    /// `packet`, whose frames give what its consumer wants, for C: [`framelock_packet_release`] frees it.
    pub(crate) fn hand_over(packet: core::Packet, wants: Wants) -> *mut Self {
        let info = FramelockPacketInfo {
            number: packet.number,
            time_ns: packet.time.as_unix_nanos(),
            spread_ns: packet.spread.as_nanos(),
            spread_bound_ns: packet.spread_bound.as_nanos(),
            complete: packet.complete,
        };
        let frame = |entry| FramelockFrame::new(entry, packet.number, wants);
        let frames = packet.entries.into_iter().map(frame).collect();
        Arc::into_raw(Arc::new(Self { info, frames })).cast_mut()
    }
}

impl FramelockFrame {
    fn new(entry: core::Entry, number: u64, wants: Wants) -> Self {
        let camera = args::owned(entry.camera.as_str());
        let frame = entry.frame.filter(|_| entry.status == core::FrameStatus::Okay);
        // Both are pointers to memory that stays where it is when the handles move below.
        let info = FramelockFrameInfo::new(camera.as_ptr(), entry.status, frame.as_ref());
        Self { info, camera, number, frame, wants, pixels: OnceLock::new(), vectors: OnceLock::new() }
    }

    /// The frame, and what its consumer asked for.
    pub(crate) fn get(&self) -> Result<(&core::Frame, Wants), Failure> {
        Ok((self.frame.as_ref().ok_or_else(|| self.missing())?, self.wants))
    }

    /// There is no frame, or no picture of it.
    pub(crate) fn missing(&self) -> Failure {
        let (camera, number) = (self.camera.to_string_lossy(), self.number);
        let status = FramelockFrameStatus::word(self.info.status as u32).to_string_lossy();
        let message = format!("camera \"{camera}\" has no frame in packet {number}: {status}");
        Failure::new(FramelockResult::NoFrame, message)
    }
}

impl FramelockFrameInfo {
    fn new(camera: *const c_char, status: core::FrameStatus, frame: Option<&core::Frame>) -> Self {
        Self {
            camera,
            status: status.into(),
            time_source: frame.map_or(FramelockTimeSource::None, |frame| frame.time_source.into()),
            time_ns: frame.map_or(0, |frame| frame.time.utc.as_unix_nanos()),
            uncertainty_ns: frame.map_or(0, |frame| frame.time.uncertainty.as_nanos()),
            frame_type: frame
                .and_then(|frame| frame.frame_type)
                .map_or(FramelockFrameType::Unknown, Into::into),
            codec: frame.map_or(FramelockCodec::None, |frame| frame.codec.into()),
            width: frame.and_then(|frame| frame.width).unwrap_or(0),
            height: frame.and_then(|frame| frame.height).unwrap_or(0),
            sequence: frame.map_or(0, |frame| frame.sequence),
            data: frame.map_or(null(), |frame| frame.data.as_ptr()),
            size: frame.map_or(0, |frame| frame.data.len()),
            key: frame.is_some_and(|frame| frame.key),
        }
    }
}

/// What is known of a packet; NULL for NULL. It is the packet's, and lives as long.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_packet_info(packet: *const FramelockPacket) -> *const FramelockPacketInfo {
    // SAFETY: the argument is as the preface of the header wants it.
    unsafe { args::object(packet, "packet") }.map_or(null(), |packet| &raw const packet.info)
}

/// How many cameras there are, with and without a frame; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_packet_count(packet: *const FramelockPacket) -> usize {
    // SAFETY: the argument is as the preface of the header wants it.
    unsafe { args::object(packet, "packet") }.map_or(0, |packet| packet.frames.len())
}

/// The part of the camera at `index`, in configured order; NULL where there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_packet_frame(
    packet: *const FramelockPacket,
    index: usize,
) -> *const FramelockFrame {
    // SAFETY: the argument is as the preface of the header wants it.
    let packet = unsafe { args::object(packet, "packet") };
    packet.ok().and_then(|packet| packet.frames.get(index)).map_or(null(), std::ptr::from_ref)
}

/// The part of the camera called `camera`; NULL where there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_packet_find(
    packet: *const FramelockPacket,
    camera: *const c_char,
) -> *const FramelockFrame {
    // SAFETY: the arguments are as the preface of the header wants them.
    let (packet, camera) = unsafe { (args::object(packet, "packet"), args::text(camera, "camera")) };
    let (Ok(packet), Ok(camera)) = (packet, camera) else { return null() };
    let found = packet.frames.iter().find(|frame| frame.camera.to_bytes() == camera.as_bytes());
    found.map_or(null(), std::ptr::from_ref)
}

/// Hands the packet out once more, for another part of the program: it is to be released once more. Returns `packet`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_packet_retain(packet: *mut FramelockPacket) -> *mut FramelockPacket {
    if !packet.is_null() {
        // SAFETY: the preface of the header: a packet of ours, which somebody still holds.
        unsafe { Arc::increment_strong_count(packet) };
    }
    packet
}

/// Gives a packet back; nothing happens for NULL. When it was given back as often as it was handed out, it and all that
/// is its own are freed: frames, images, motion vectors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_packet_release(packet: *mut FramelockPacket) {
    if !packet.is_null() {
        // SAFETY: the preface of the header: a packet of ours, handed out and not yet given back.
        quietly(|| drop(unsafe { Arc::from_raw(packet) }));
    }
}

/// What is known of a camera's part of a packet; NULL for NULL. It is the packet's, and lives as long.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framelock_frame_info(frame: *const FramelockFrame) -> *const FramelockFrameInfo {
    // SAFETY: the argument is as the preface of the header wants it.
    unsafe { args::object(frame, "frame") }.map_or(null(), |frame| &raw const frame.info)
}
