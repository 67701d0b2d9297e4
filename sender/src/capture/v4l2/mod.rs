//! V4L2 cameras.
//!
//! A [`V4l2Source`] keeps a camera going: it opens a [`session`](Session), and when that fails, the
//! stream stalls or the camera is unplugged, closes it and looks for *the same* camera until it is
//! back, wherever its device node is by then. Calls to the kernel live in `framelock-v4l2`.

mod controls;
mod identity;
mod modes;
mod phase;
mod session;
mod stamp;

use std::path::{Path, PathBuf};
use std::time::Duration;

use framelock_common::time::{BoardTime, Span};
use rustix::io::Errno;

pub(crate) use self::identity::{Identity, nodes};
pub(crate) use self::modes::format_of;
use self::session::{Session, SessionError};
use super::pace::sleep_until;
use super::{
    Capture, CaptureConfig, CaptureCounters, CaptureError, Captured, Format, PhaseMeans, PhaseMove,
    StreamInfo,
};

/// A stream without a frame for this long, and for ten periods, is started again.
const STALL: Span = Span::from_secs(2);
const STALL_FRAMES: i64 = 10;
/// Pause between looking for a camera that is gone.
const SEARCH_PAUSE: Duration = Duration::from_millis(250);
/// Tries at first, for cameras that fail to start once in a while.
const START_TRIES: u32 = 3;

/// A V4L2 camera that is captured from.
pub(crate) struct V4l2Source {
    path: PathBuf,
    config: CaptureConfig,
    identity: Identity,
    info: StreamInfo,
    counters: CaptureCounters,
    session: Option<Session>,
    /// When the last frame came, or the session began.
    alive: BoardTime,
    /// The number of the next frame of a new session.
    next_number: u64,
}

impl V4l2Source {
    /// Opens the camera at `path`, sets it up and starts it.
    pub(crate) fn open(path: &Path, config: &CaptureConfig) -> Result<Self, CaptureError> {
        let session = start(path, config)?;
        if session.stamps_payloads() && config.latency_spread.is_none() {
            tracing::info!(
                "camera {} is stamped by USB, up to a frame period after the exposure, and its times are said to be \
                 known no better; capture.latency and capture.latency-spread narrow that",
                path.display()
            );
        }
        Ok(Self {
            path: path.to_owned(),
            config: config.clone(),
            identity: session.identity.clone(),
            info: session.info.clone(),
            counters: CaptureCounters::default(),
            session: Some(session),
            alive: config.clock.now(),
            next_number: 0,
        })
    }

    /// Ends a session that failed, and says how.
    fn fail(&mut self, error: SessionError) -> CaptureError {
        self.session = None;
        self.counters.restarts += 1;
        if is_gone(&error.source) {
            return self.unplugged();
        }
        CaptureError::Stream { path: self.path.clone(), what: error.what, source: error.source }
    }

    fn unplugged(&self) -> CaptureError {
        CaptureError::Unplugged { path: self.path.clone(), card: self.identity.card.clone() }
    }

    /// Starts the camera again, wherever it is now.
    fn restart(&mut self) -> Result<(), CaptureError> {
        let path = self.identity.locate(&self.path).ok_or_else(|| self.unplugged())?;
        let mut session = Session::open(&path, &as_before(&self.config, &self.info))?;
        if session.info != self.info {
            tracing::warn!("camera {} came back as {}; it was {}", path.display(), session.info, self.info);
            self.info = session.info.clone();
        }
        if path != self.path {
            tracing::info!("camera {} is at {} now", self.identity.card, path.display());
        }
        session.number_from(self.next_number);
        self.path = path;
        self.alive = self.config.clock.now();
        self.session = Some(session);
        Ok(())
    }

    /// Waits for the camera to come back, until `deadline`.
    fn search(&mut self, deadline: BoardTime) -> Result<(), CaptureError> {
        loop {
            let Err(error) = self.restart() else { return Ok(()) };
            let clock = self.config.clock;
            if clock.now() + Span::from(SEARCH_PAUSE) >= deadline {
                sleep_until(&clock, deadline, SEARCH_PAUSE);
                return Err(match error {
                    error if error.is_recoverable() => error,
                    // A camera that is just coming back may be busy or half there.
                    error => CaptureError::Stream {
                        path: self.path.clone(),
                        what: "starting again",
                        source: std::io::Error::other(error),
                    },
                });
            }
            sleep_until(&clock, deadline, SEARCH_PAUSE);
        }
    }
}

impl Capture for V4l2Source {
    fn next(&mut self, timeout: Duration) -> Result<Captured, CaptureError> {
        let deadline = self.config.clock.now() + Span::from(timeout);
        if self.session.is_none() {
            self.search(deadline)?;
        }
        let Some(session) = &mut self.session else { return Err(self.unplugged()) };
        match session.next(deadline, &mut self.counters) {
            Ok(Some(captured)) => {
                self.alive = self.config.clock.now();
                self.next_number = captured.sequence + 1;
                Ok(captured)
            }
            Ok(None) => {
                let limit = STALL.max(self.info.rate.time_of(STALL_FRAMES));
                if self.config.clock.now() - self.alive < limit {
                    return Err(CaptureError::Timeout {
                        source_name: format!("camera {}", self.path.display()),
                        waited: timeout,
                    });
                }
                Err(self.fail(SessionError { what: "waiting for a frame", source: Errno::TIMEDOUT.into() }))
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    fn info(&self) -> &StreamInfo {
        &self.info
    }

    fn counters(&self) -> CaptureCounters {
        self.counters
    }

    fn started(&self) -> Option<BoardTime> {
        self.session.as_ref().map(|session| session.started)
    }

    fn phase_means(&self) -> PhaseMeans {
        self.session.as_ref().map(Session::phase_means).unwrap_or_default()
    }

    fn move_phase(&mut self, order: PhaseMove) -> Result<(), CaptureError> {
        // Without a session there is no frame that could have led to an order.
        let Some(session) = &mut self.session else { return Err(self.unplugged()) };
        session.move_phase(order).map_err(|source| CaptureError::Device {
            path: self.path.clone(),
            what: "moving the phase",
            source,
        })
    }
}

/// Opens a camera for the first time: what cannot be is final, what merely failed is tried again.
fn start(path: &Path, config: &CaptureConfig) -> Result<Session, CaptureError> {
    let mut tries = 1;
    loop {
        match Session::open(path, config) {
            Err(CaptureError::Device { what, source, .. }) if tries < START_TRIES => {
                tracing::warn!("camera {}: {what}: {source}; trying again", path.display());
                let clock = config.clock;
                sleep_until(&clock, clock.now() + Span::from(SEARCH_PAUSE), SEARCH_PAUSE);
                tries += 1;
            }
            result => return result,
        }
    }
}

/// What to ask of a camera that comes back: what `config` asks for, and pixels if it delivered pixels,
/// H.264 if it delivered that. Its size and rate may be others, as another firmware's or USB port's.
fn as_before(config: &CaptureConfig, info: &StreamInfo) -> CaptureConfig {
    let format = if info.is_encoded() { Some(Format::H264) } else { config.format };
    CaptureConfig { format, pixels: !info.is_encoded(), ..config.clone() }
}

/// Whether an error means that the device is not there any more.
fn is_gone(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NODEV | Errno::NXIO | Errno::NOENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_device_is_one_clear_line() {
        let Err(error) = V4l2Source::open("/dev/video-none".as_ref(), &CaptureConfig::default()) else {
            panic!("there is no such device");
        };
        let text = error.to_string();
        assert!(text.starts_with("no camera at /dev/video-none; "), "{text}");
        assert!(!text.contains('\n') && !error.is_recoverable());
    }

    #[test]
    fn a_camera_that_comes_back_stays_with_pixels_or_h264() {
        let config = CaptureConfig::default();
        let info = |format| StreamInfo {
            size: crate::capture::Size::new(640, 480),
            rate: crate::capture::FrameRate::from_hz(30),
            format,
            full_range: false,
            description: "camera".to_owned(),
        };
        let after_pixels = as_before(&config, &info(Format::Yuyv));
        assert_eq!((after_pixels.format, after_pixels.pixels), (None, true));
        assert_eq!(as_before(&config, &info(Format::H264)).format, Some(Format::H264));
    }

    #[test]
    fn what_is_no_camera_is_said_so() {
        let Err(error) = V4l2Source::open("/dev/null".as_ref(), &CaptureConfig::default()) else {
            panic!("/dev/null is no camera");
        };
        assert!(matches!(error, CaptureError::NotACamera { .. }), "{error}");
    }
}
