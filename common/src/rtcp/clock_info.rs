//! The APP packet `FLCK`: what a Framelock sender says of its clock, beside each sender report.
//!
//! Subtype 1 is the version. Application data, big endian:
//!
//! | byte | meaning |
//! |---|---|
//! | 0 | flags: bit 0 PTS is on the RTP clock, bit 1 synchronized; others zero |
//! | 1 | capture-timestamp kind, see [`CaptureKind`] |
//! | 2, 3 | zero |
//! | 4 to 11 | uncertainty in ns, unsigned; all ones: unknown |
//!
//! Later versions with the same subtype may append; readers ignore what they do not know.

use crate::clock::ClockState;
use crate::time::Span;

pub(super) const NAME: &str = "FLCK";
pub(super) const VERSION: u8 = 1;
pub(super) const DATA_LEN: usize = 12;

const PTS_ON_RTP_CLOCK: u8 = 1;
const SYNCHRONIZED: u8 = 2;

/// What the timestamp of a captured frame stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CaptureKind {
    /// Not known.
    #[default]
    Unknown,
    /// The sensor began to expose.
    StartOfExposure,
    /// The frame's last line was read out.
    EndOfFrame,
    /// The frame's first USB payload reached the host.
    FirstPayload,
    /// Made by a program that knows the instant exactly.
    Synthetic,
    /// Read from a file; the instant is that of playing it.
    File,
}

impl CaptureKind {
    const fn to_code(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::StartOfExposure => 1,
            Self::EndOfFrame => 2,
            Self::FirstPayload => 3,
            Self::Synthetic => 4,
            Self::File => 5,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::StartOfExposure,
            2 => Self::EndOfFrame,
            3 => Self::FirstPayload,
            4 => Self::Synthetic,
            5 => Self::File,
            _ => Self::Unknown,
        }
    }
}

/// What a sender knows of its clock at the instant of the report it comes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockInfo {
    /// Whether PES timestamps are on the same clock as RTP timestamps, so that a sender report maps them.
    pub pts_on_rtp_clock: bool,
    /// Whether the sender's clock is synchronized to UTC.
    pub state: ClockState,
    /// Half-width of the interval around the reported UTC that contains the true capture instant of a frame
    /// captured then; [`Span::MAX`] if unknown. Never negative.
    pub uncertainty: Span,
    /// What capture timestamps stand for.
    pub capture_kind: CaptureKind,
}

impl ClockInfo {
    pub(super) fn to_bytes(self) -> [u8; DATA_LEN] {
        let mut data = [0; DATA_LEN];
        data[0] = if self.pts_on_rtp_clock { PTS_ON_RTP_CLOCK } else { 0 };
        if self.state == ClockState::Synchronized {
            data[0] |= SYNCHRONIZED;
        }
        data[1] = self.capture_kind.to_code();
        let uncertainty = match self.uncertainty {
            Span::MAX => u64::MAX,
            span => span.as_nanos().max(0).unsigned_abs(),
        };
        data[4..].copy_from_slice(&uncertainty.to_be_bytes());
        data
    }

    /// None if `data` is too short for this version.
    pub(super) fn from_bytes(data: &[u8]) -> Option<Self> {
        let [flags, kind, _, _, rest @ ..] = data else { return None };
        let uncertainty = u64::from_be_bytes(*rest.first_chunk()?);
        Some(Self {
            pts_on_rtp_clock: flags & PTS_ON_RTP_CLOCK != 0,
            state: if flags & SYNCHRONIZED == 0 {
                ClockState::Unsynchronized
            } else {
                ClockState::Synchronized
            },
            uncertainty: i64::try_from(uncertainty).map_or(Span::MAX, Span::from_nanos),
            capture_kind: CaptureKind::from_code(*kind),
        })
    }
}
