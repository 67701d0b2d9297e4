//! Counters: what every stage counts, the line in the log and the JSON file.
//!
//! Stages on different threads add to one [`Counters`]; a [`Snapshot`] is what people and programs see.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use framelock_common::time::Span;
use serde::Serialize;

use crate::capture::CaptureCounters;
use crate::phase::{PhaseState, PhaseStatus};

/// A number that one thread raises and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets the count to a total that is kept elsewhere.
    pub fn set(&self, total: u64) {
        self.0.store(total, Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A span that one thread sets and others read.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, span: Span) {
        self.0.store(span.as_nanos(), Ordering::Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> Span {
        Span::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// All counters of a sender, since its start.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "described at the fields of Snapshot")]
pub struct Counters {
    pub captured: Counter,
    pub capture_lost: Counter,
    pub capture_errors: Counter,
    pub capture_malformed: Counter,
    /// Frames whose driver's timestamp was of another clock; they carry the time they were fetched.
    pub capture_bad_timestamps: Counter,
    pub capture_restarts: Counter,
    pub capture_skipped: Counter,
    pub encoded: Counter,
    pub encode_failed: Counter,
    pub keyframes: Counter,
    pub keyframe_requests: Counter,
    pub frames: Counter,
    pub frame_bytes: Counter,
    pub datagrams: Counter,
    pub datagram_bytes: Counter,
    pub rtcp_sent: Counter,
    pub rtcp_received: Counter,
    pub rtcp_malformed: Counter,
    pub send_refused: Counter,
    pub remote_lost: Counter,
    pub remote_jitter: Gauge,
    pub round_trip: Gauge,
    pub encode_time: Gauge,
    pub capture_cpu: Gauge,
    pub encode_cpu: Gauge,
    pub encoder_cpu: Gauge,
    pub sending_cpu: Gauge,
    pub network_cpu: Gauge,
    pub phase: Mutex<Option<PhaseStatus>>,
}

impl Counters {
    /// Takes over the source's own counts.
    pub fn set_capture(&self, counts: CaptureCounters) {
        self.captured.set(counts.frames);
        self.capture_lost.set(counts.lost);
        self.capture_errors.set(counts.errors);
        self.capture_malformed.set(counts.malformed);
        self.capture_bad_timestamps.set(counts.bad_timestamps);
        self.capture_restarts.set(counts.restarts);
    }

    /// Takes over how it goes with the phase.
    pub fn set_phase(&self, status: PhaseStatus) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }
}

/// The counters at one instant, as `--stats` writes them. Times are in ns, sizes in bytes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Snapshot {
    /// The camera's name.
    pub camera: String,
    /// Time since the start.
    pub uptime_ns: i64,
    /// `synchronized` or `unsynchronized`.
    pub clock: &'static str,
    /// Bound on the clock's error now; absent while unsynchronized.
    pub clock_uncertainty_ns: Option<i64>,
    /// Frames that the source delivered.
    pub captured: u64,
    /// Frames that the camera took and lost.
    pub capture_lost: u64,
    /// Frames that the driver marked as damaged.
    pub capture_errors: u64,
    /// Frames that could not be decoded.
    pub capture_malformed: u64,
    /// Frames whose driver's timestamp was of another clock.
    pub capture_bad_timestamps: u64,
    /// Times that the camera was started again.
    pub capture_restarts: u64,
    /// Where the camera stands against its `phase`; absent where none is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<PhaseFigures>,
    /// Captured frames replaced by a newer one before the encoder came for them.
    pub capture_skipped: u64,
    /// Frames encoded here.
    pub encoded: u64,
    /// Frames that the encoder refused.
    pub encode_failed: u64,
    /// Key frames sent.
    pub keyframes: u64,
    /// Key frames that the receiver asked for.
    pub keyframe_requests: u64,
    /// Frames sent.
    pub frames: u64,
    /// Their size.
    pub frame_bytes: u64,
    /// Datagrams that the network took.
    pub datagrams: u64,
    /// Their size without IP and UDP headers.
    pub datagram_bytes: u64,
    /// Reports among them.
    pub rtcp_sent: u64,
    /// Reports that came from the receiver.
    pub rtcp_received: u64,
    /// Datagrams from the receiver that were no valid RTCP.
    pub rtcp_malformed: u64,
    /// Datagrams that the network refused.
    pub send_refused: u64,
    /// Packets that the receiver has lost, by its reports.
    pub remote_lost: u64,
    /// Jitter at the receiver, by its reports.
    pub remote_jitter_ns: i64,
    /// Round trip to the receiver, by its reports; zero if unknown.
    pub round_trip_ns: i64,
    /// Time from capture until the last frame was encoded.
    pub encode_time_ns: i64,
    /// CPU time of the whole process.
    pub cpu_ns: i64,
    /// Of that, the capturing thread.
    pub capture_cpu_ns: i64,
    /// Of that, the encoding thread, without threads that the encoder starts.
    pub encode_cpu_ns: i64,
    /// Of that, inside the encoder.
    pub encoder_cpu_ns: i64,
    /// Of the capturing or the encoding thread, whichever makes the frames: sending them.
    pub sending_cpu_ns: i64,
    /// Of that, the thread that receives, sends between the frames and keeps the clock.
    pub network_cpu_ns: i64,
    /// Memory in use.
    pub resident_bytes: Option<u64>,
    /// The most memory that was ever in use.
    pub resident_peak_bytes: Option<u64>,
}

/// The phase, as `--stats` writes it.
#[derive(Clone, Debug, Serialize)]
pub struct PhaseFigures {
    /// `waiting`, `seeking`, `holding` or `cannot-move`.
    pub state: &'static str,
    /// Why the camera cannot be moved, for people.
    pub obstacle: Option<String>,
    /// How much later than its place on the grid the camera exposes; absent while UTC is not known.
    pub error_ns: Option<i64>,
    /// Bound on the error of that.
    pub uncertainty_ns: Option<i64>,
    /// Moves made, restarts included.
    pub moves: u64,
    /// Restarts of the stream among them.
    pub restarts: u64,
    /// Frame periods without a frame because of them.
    pub lost: u64,
}

impl From<PhaseStatus> for PhaseFigures {
    fn from(status: PhaseStatus) -> Self {
        let obstacle = match status.state {
            PhaseState::CannotMove(obstacle) => Some(obstacle.to_string()),
            PhaseState::Waiting | PhaseState::Seeking | PhaseState::Holding => None,
        };
        Self {
            state: status.state.as_str(),
            obstacle,
            error_ns: status.error.map(Span::as_nanos),
            uncertainty_ns: status.uncertainty.map(Span::as_nanos),
            moves: status.moves,
            restarts: status.restarts,
            lost: status.lost,
        }
    }
}

impl Snapshot {
    /// The counters now; the caller fills in what it alone knows.
    #[must_use]
    pub fn of(counters: &Counters) -> Self {
        let (resident_bytes, resident_peak_bytes) = resident();
        Self {
            captured: counters.captured.get(),
            capture_lost: counters.capture_lost.get(),
            capture_errors: counters.capture_errors.get(),
            capture_malformed: counters.capture_malformed.get(),
            capture_bad_timestamps: counters.capture_bad_timestamps.get(),
            capture_restarts: counters.capture_restarts.get(),
            phase: counters.phase.lock().unwrap_or_else(PoisonError::into_inner).map(PhaseFigures::from),
            capture_skipped: counters.capture_skipped.get(),
            encoded: counters.encoded.get(),
            encode_failed: counters.encode_failed.get(),
            keyframes: counters.keyframes.get(),
            keyframe_requests: counters.keyframe_requests.get(),
            frames: counters.frames.get(),
            frame_bytes: counters.frame_bytes.get(),
            datagrams: counters.datagrams.get(),
            datagram_bytes: counters.datagram_bytes.get(),
            rtcp_sent: counters.rtcp_sent.get(),
            rtcp_received: counters.rtcp_received.get(),
            rtcp_malformed: counters.rtcp_malformed.get(),
            send_refused: counters.send_refused.get(),
            remote_lost: counters.remote_lost.get(),
            remote_jitter_ns: counters.remote_jitter.get().as_nanos(),
            round_trip_ns: counters.round_trip.get().as_nanos(),
            encode_time_ns: counters.encode_time.get().as_nanos(),
            capture_cpu_ns: counters.capture_cpu.get().as_nanos(),
            encode_cpu_ns: counters.encode_cpu.get().as_nanos(),
            encoder_cpu_ns: counters.encoder_cpu.get().as_nanos(),
            sending_cpu_ns: counters.sending_cpu.get().as_nanos(),
            network_cpu_ns: counters.network_cpu.get().as_nanos(),
            resident_bytes,
            resident_peak_bytes,
            ..Self::default()
        }
    }
}

/// What happened between two snapshots, for the log.
#[derive(Debug)]
pub struct Summary<'a> {
    /// The earlier one.
    pub before: &'a Snapshot,
    /// The later one.
    pub after: &'a Snapshot,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = (self.before, self.after);
        let millis = (after.uptime_ns - before.uptime_ns).max(1) / 1_000_000;
        let per_second = |count: u64| count.saturating_mul(1_000) / millis.max(1).unsigned_abs();
        let since = |count: fn(&Snapshot) -> u64| count(after).saturating_sub(count(before));
        let frames = since(|s| s.frames);
        write!(
            f,
            "{frames} frames ({} a second, {} key), {} kbit/s",
            per_second(frames),
            since(|s| s.keyframes),
            per_second(8 * since(|s| s.datagram_bytes)) / 1_000,
        )?;
        let counts = [
            ("lost by the camera", since(|s| s.capture_lost)),
            ("damaged", since(|s| s.capture_errors)),
            ("undecodable", since(|s| s.capture_malformed)),
            ("without a usable timestamp", since(|s| s.capture_bad_timestamps)),
            ("camera restarts", since(|s| s.capture_restarts)),
            ("skipped before encoding", since(|s| s.capture_skipped)),
            ("not encoded", since(|s| s.encode_failed)),
            ("datagrams refused", since(|s| s.send_refused)),
            ("packets lost on the way", since(|s| s.remote_lost)),
        ];
        for (what, count) in counts.into_iter().filter(|&(_, count)| count > 0) {
            write!(f, ", {what}: {count}")?;
        }
        match after.clock_uncertainty_ns {
            Some(ns) => write!(f, ", clock {} within {}", after.clock, Span::from_nanos(ns))?,
            None => write!(f, ", clock {}", after.clock)?,
        }
        let Some(phase) = &after.phase else { return Ok(()) };
        write!(f, ", phase {}", phase.state)?;
        phase.error_ns.map_or(Ok(()), |ns| write!(f, " off by {}", Span::from_nanos(ns)))
    }
}

/// Resident memory of this process now and at most, where the kernel tells (proc(5), `status`).
fn resident() -> (Option<u64>, Option<u64>) {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return (None, None) };
    let value = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1_024)
    };
    (value("VmRSS:"), value("VmHWM:"))
}

/// Replaces `path` by `snapshot` as one line of JSON. Readers see the old or the new file, never half
/// of one.
///
/// # Errors
/// When the directory cannot be written to, or `path` is something else than a file.
pub fn write_file(path: &Path, snapshot: &Snapshot) -> std::io::Result<()> {
    // A device or a pipe, such as /dev/stdout, must not be replaced by a file.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(std::io::Error::other("it is there and no ordinary file"));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new: PathBuf = path.with_file_name(name);
    let mut json = serde_json::to_vec(snapshot)?;
    json.push(b'\n');
    let written = std::fs::File::create(&new).and_then(|mut file| file.write_all(&json));
    let replaced = written.and_then(|()| std::fs::rename(&new, path));
    if replaced.is_err() {
        // Whatever is left of the new file is of no use; the error that matters is the first.
        let _ = std::fs::remove_file(&new);
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_replaced_as_a_whole_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stats.json");
        let counters = Counters::default();
        for frames in [1, 12_345] {
            counters.frames.set(frames);
            write_file(&path, &Snapshot::of(&counters)).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(json["frames"], frames);
            assert!(json["resident_peak_bytes"].as_u64().unwrap() > 100_000);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(write_file(&pipe, &Snapshot::default()).is_err());
        assert!(!std::fs::metadata(&pipe).unwrap().is_file());
        assert!(write_file(&dir.path().join("no/such/stats.json"), &Snapshot::default()).is_err());
    }

    #[test]
    fn the_log_line_has_rates_and_only_the_faults_that_happened() {
        let before = Snapshot { uptime_ns: 10_000_000_000, frames: 300, ..Snapshot::default() };
        let after = Snapshot {
            uptime_ns: 20_000_000_000,
            frames: 600,
            keyframes: 5,
            datagram_bytes: 1_875_000,
            send_refused: 3,
            clock: "synchronized",
            clock_uncertainty_ns: Some(250_000),
            ..Snapshot::default()
        };
        let line = Summary { before: &before, after: &after }.to_string();
        assert_eq!(
            line,
            "300 frames (30 a second, 5 key), 1500 kbit/s, datagrams refused: 3, clock synchronized within 250.0us"
        );
    }
}
