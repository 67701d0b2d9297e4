//! The capture thread.

use std::sync::atomic::Ordering;
use std::time::Duration;

use framelock_common::time::Span;

use super::outlet::{Origin, Outlet};
use super::slot::Slot;
use super::{RunError, Shared};
use crate::capture::{Capture, CaptureError, Captured, I420, Picture, StreamInfo};
use crate::clock::BoardClock;
use crate::phase::Keeper;

/// How long a call to the source may take; so soon the thread sees that it has to end.
const TIMEOUT: Duration = Duration::from_millis(200);

/// No frame for this long, and for so many periods, is told.
const SILENCE: Duration = Duration::from_secs(1);
const SILENT_PERIODS: i64 = 3;

/// A raw picture on its way to the encoder.
pub(super) struct Raw {
    pub(super) picture: I420,
    /// As the source says now: a camera may come back as another one.
    pub(super) full_range: bool,
    pub(super) origin: Origin,
}

/// Feeds the encoder: what it does not come for in time is replaced by a newer picture.
pub(super) fn fill_slot(
    mut source: Box<dyn Capture>,
    slot: &Slot<Raw>,
    shared: &Shared,
) -> Result<(), RunError> {
    let _closing = slot.closing();
    capture(source.as_mut(), shared, |captured, origin, info| match captured {
        Picture::Raw(picture) => {
            let left_over = slot.put(Raw { picture, full_range: info.full_range, origin }).is_some();
            let open = !slot.is_closed();
            // What comes after the end has not been skipped.
            shared.counters.capture_skipped.add(u64::from(left_over && open));
            Ok(open)
        }
        Picture::H264 { .. } => Err(RunError::Changed),
    })
}

/// Feeds the network with frames that come encoded.
pub(super) fn pass_through(
    mut source: Box<dyn Capture>,
    mut outlet: Outlet,
    shared: &Shared,
) -> Result<(), RunError> {
    capture(source.as_mut(), shared, |captured, origin, _| match captured {
        Picture::H264 { data, key, dts } => Ok(outlet.put(data, key, Origin { dts, ..origin })),
        Picture::Raw(_) => Err(RunError::Changed),
    })
}

/// Gives each frame to `take` until that says false, the source ends, or everything has to.
fn capture(
    source: &mut dyn Capture,
    shared: &Shared,
    mut take: impl FnMut(Picture, Origin, &StreamInfo) -> Result<bool, RunError>,
) -> Result<(), RunError> {
    let mut complained = Complaint::default();
    let mut keeper = shared.phase.map(|config| Keeper::new(config, source));
    while !shared.stop.load(Ordering::Relaxed) {
        let next = source.next(TIMEOUT);
        shared.counters.set_capture(source.counters());
        shared.counters.capture_cpu.set(BoardClock::thread_cpu());
        match next {
            Ok(captured) => {
                if complained.clear() {
                    tracing::info!("frames are coming again");
                }
                if let Some(keeper) = &mut keeper {
                    let mapping = *shared.utc.borrow();
                    shared.counters.set_phase(keeper.handle(source, &captured, mapping.as_ref()));
                }
                let Captured { mono, kind, jitter, latency_spread, picture, .. } = captured;
                let period = source.info().rate.period();
                let origin = Origin { mono, dts: None, kind, uncertainty: jitter + latency_spread, period };
                if !take(picture, origin, source.info())? {
                    break;
                }
            }
            Err(error) if error.is_recoverable() => {
                if let Some(line) = complained.about(error, source.info().rate.period()) {
                    tracing::warn!("{line}");
                }
            }
            Err(CaptureError::EndOfFile { path }) => {
                tracing::info!("end of {}", path.display());
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Says a trouble once when it begins or changes, and once when it is over.
#[derive(Default)]
struct Complaint {
    kind: Option<std::mem::Discriminant<CaptureError>>,
    /// How long nothing has come.
    silence: Duration,
}

impl Complaint {
    /// What to say of `error`, if it is news; frames should come every `period`.
    fn about(&mut self, error: CaptureError, period: Span) -> Option<String> {
        let kind = std::mem::discriminant(&error);
        if let CaptureError::Timeout { source_name, waited } = error {
            self.silence += waited;
            // A slow camera is no trouble, and that nothing comes is no news when the reason is known.
            let is_news = self.silence >= SILENCE.max((period * SILENT_PERIODS).to_duration());
            if !is_news || self.kind.is_some() {
                return None;
            }
            self.kind = Some(kind);
            return Some(CaptureError::Timeout { source_name, waited: self.silence }.to_string());
        }
        (self.kind.replace(kind) != Some(kind)).then(|| error.to_string())
    }

    /// A frame came; tells whether there was a trouble, which is over.
    fn clear(&mut self) -> bool {
        self.silence = Duration::ZERO;
        self.kind.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::path::PathBuf;

    use framelock_common::clock::ClockMapping;
    use framelock_common::h264::inspect;
    use framelock_common::rtcp::CaptureKind;
    use framelock_common::time::{BoardTime, Utc};
    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::capture::{CaptureCounters, Format, FrameRate, Size};
    use crate::net::stream::Frame;

    /// A mock of a source, for what no real one does on demand: it does what is written down, then ends.
    struct ScriptedSource {
        script: VecDeque<Result<Captured, CaptureError>>,
        info: StreamInfo,
    }

    impl Capture for ScriptedSource {
        fn next(&mut self, _timeout: Duration) -> Result<Captured, CaptureError> {
            self.script
                .pop_front()
                .unwrap_or_else(|| Err(CaptureError::EndOfFile { path: PathBuf::from("script") }))
        }

        fn info(&self) -> &StreamInfo {
            &self.info
        }

        fn counters(&self) -> CaptureCounters {
            CaptureCounters::default()
        }
    }

    fn scripted(script: Vec<Result<Captured, CaptureError>>) -> Box<dyn Capture> {
        let info = StreamInfo {
            size: Size::new(320, 240),
            rate: FrameRate::from_hz(30),
            format: Format::H264,
            full_range: false,
            description: "script".to_owned(),
        };
        Box::new(ScriptedSource { script: script.into(), info })
    }

    fn encoded(ms: i64, key: bool) -> Result<Captured, CaptureError> {
        let mono = BoardTime::from_nanos(ms * 1_000_000);
        let data = vec![0, 0, 0, 1, if key { 0x65 } else { 0x41 }, 0x88, 0x80];
        let picture = Picture::H264 { data, key, dts: Some(mono - Span::from_millis(5)) };
        Ok(Captured {
            mono,
            kind: CaptureKind::File,
            jitter: Span::from_millis(1),
            latency_spread: Span::from_millis(2),
            sequence: 0,
            picture,
        })
    }

    fn unplugged() -> Result<Captured, CaptureError> {
        Err(CaptureError::Unplugged { path: "/dev/video0".into(), card: "camera".to_owned() })
    }

    fn shared(mapping: Option<ClockMapping>) -> Shared {
        // Its value outlives the sending side.
        let (_, utc) = watch::channel(mapping);
        Shared {
            clock: BoardClock::real(),
            utc,
            counters: std::sync::Arc::default(),
            force_key: std::sync::Arc::default(),
            stop: std::sync::Arc::default(),
            phase: None,
        }
    }

    /// What comes out of a source that delivers H.264.
    fn passed(
        script: Vec<Result<Captured, CaptureError>>,
        mapping: Option<ClockMapping>,
        limit: Option<u64>,
    ) -> (Vec<Frame>, Result<(), RunError>) {
        let shared = shared(mapping);
        let (sender, mut frames) = mpsc::channel(100);
        let outlet =
            Outlet::new(Box::new(move |frame| sender.blocking_send(frame).is_ok()), shared.clone(), limit);
        let outcome = pass_through(scripted(script), outlet, &shared);
        (std::iter::from_fn(|| frames.try_recv().ok()).collect(), outcome)
    }

    #[test]
    fn frames_that_come_encoded_get_their_capture_time_and_nothing_else() {
        let mapping = ClockMapping {
            mono0: BoardTime::from_nanos(0),
            utc0: Utc::from_unix_nanos(1_790_000_000_000_000_000),
            rate_ppb: 0,
            uncertainty: Span::from_micros(200),
            drift_ppb: 0,
            epoch: 0,
        };
        let (frames, outcome) = passed(vec![encoded(100, true), encoded(133, false)], Some(mapping), None);
        assert!(outcome.is_ok());
        assert_eq!(frames.len(), 2);
        for (frame, ms) in frames.iter().zip([100, 133]) {
            let time = inspect(&frame.data).sei_time.expect("a capture time");
            assert_eq!(time.utc, mapping.utc0 + Span::from_millis(ms));
            assert_eq!(time.uncertainty, Some(Span::from_micros(3_200)));
            assert_eq!(frame.uncertainty, Span::from_millis(3));
            assert_eq!(frame.mono - frame.dts.expect("kept"), Span::from_millis(5));
            assert_eq!(frame.period, FrameRate::from_hz(30).period());
        }
        assert!(frames[0].key && !frames[1].key);
        // Without UTC none is claimed.
        let (frames, _) = passed(vec![encoded(100, true)], None, None);
        assert_eq!(inspect(&frames[0].data).sei_time, None);
    }

    #[test]
    fn an_unplugged_camera_is_waited_for_and_a_broken_one_ends_the_sender() {
        let timeout = || Err(CaptureError::Timeout { source_name: "camera".to_owned(), waited: TIMEOUT });
        let script = vec![encoded(0, true), unplugged(), timeout(), unplugged(), encoded(33, true)];
        let (frames, outcome) = passed(script, None, None);
        assert_eq!((frames.len(), outcome.is_ok()), (2, true));
        let broken = Err(CaptureError::Busy { path: "/dev/video0".into() });
        let (frames, outcome) = passed(vec![encoded(0, true), broken, encoded(33, false)], None, None);
        assert_eq!(frames.len(), 1);
        assert!(matches!(outcome, Err(RunError::Capture(CaptureError::Busy { .. }))));
    }

    #[test]
    fn only_a_real_silence_is_told_and_only_once() {
        let timeout = || CaptureError::Timeout { source_name: "camera".to_owned(), waited: TIMEOUT };
        let mut complaint = Complaint::default();
        // A camera at 4 fps lets every call but one in two time out.
        for _ in 0..100 {
            assert_eq!(complaint.about(timeout(), Span::from_millis(250)), None);
            assert!(!complaint.clear());
        }
        let told: Vec<_> =
            (0..20).filter_map(|_| complaint.about(timeout(), Span::from_millis(250))).collect();
        assert_eq!(told, ["no frame from camera within 1000 ms"]);
        assert!(complaint.clear());
        // One frame in two seconds is what this one declares.
        assert!((0..29).all(|_| complaint.about(timeout(), Span::from_secs(2)).is_none()));
        assert!(complaint.about(timeout(), Span::from_secs(2)).is_some());
        // Another trouble is news, silence after it is not.
        let gone = || unplugged().expect_err("it is unplugged");
        assert!(complaint.about(gone(), Span::from_secs(2)).is_some());
        assert_eq!(complaint.about(gone(), Span::from_secs(2)), None);
        assert_eq!(complaint.about(timeout(), Span::from_secs(2)), None);
    }

    #[test]
    fn a_limit_ends_the_stream_after_exactly_so_many_frames() {
        let script = (0..10).map(|n| encoded(n * 33, n == 0)).collect();
        assert_eq!(passed(script, None, Some(4)).0.len(), 4);
    }
}
