//! Files made by ffmpeg, against what ffprobe says of them; and what hostile ones do.

use std::process::Command;

use super::*;
use crate::clock::BoardClock;

/// Makes a clip with `ffmpeg ARGS NAME` in a folder of its own.
struct Clip {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Clip {
    fn make(name: &str, seconds: &str, rate: &str, args: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let source = format!("testsrc2=size=320x180:rate={rate}:duration={seconds}");
        let output = Command::new("ffmpeg")
            .args(["-v", "error", "-f", "lavfi", "-i", &source, "-c:v", "libx264", "-preset", "ultrafast"])
            .args(args.split_whitespace())
            .arg(&path)
            .output()
            .expect("ffmpeg runs (Debian: apt install ffmpeg)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { _folder: folder, path }
    }

    /// Showing and decoding times of all packets in us, and which are key frames, as ffprobe sees them.
    fn packets(&self) -> Vec<(i64, i64, bool)> {
        let output = Command::new("ffprobe")
            .args(["-v", "error", "-select_streams", "v", "-of", "csv=p=0"])
            .args(["-show_entries", "packet=pts_time,dts_time,flags"])
            .arg(&self.path)
            .output()
            .expect("ffprobe runs");
        let text = String::from_utf8(output.stdout).unwrap();
        let microseconds = |text: &str| (text.parse::<f64>().unwrap() * 1e6).round() as i64;
        text.lines()
            .filter(|line| !line.is_empty())
            .map(|line| {
                let fields: Vec<_> = line.split(',').collect();
                (microseconds(fields[0]), microseconds(fields[1]), fields[2].starts_with('K'))
            })
            .collect()
    }
}

/// Showing and decoding time in us, key, Annex B.
type Frame = (i64, i64, bool, Vec<u8>);

fn read_all(path: &Path) -> Result<Vec<Frame>, ReadError> {
    let mut units = container::open_file(path)?;
    let mut sets = ParameterSets::default();
    sets.learn(units.parameter_sets());
    let mut all = Vec::new();
    while let Some(unit) = units.next()? {
        assert!(!unit.damaged);
        let micros = |ticks: i64| (ticks as f64 / f64::from(units.timescale()) * 1e6).round() as i64;
        let (pts, dts) = (micros(unit.pts), micros(unit.dts));
        let complete = sets.complete(unit.data).unwrap();
        all.push((pts, dts, complete.key, complete.data));
    }
    Ok(all)
}

const CLIPS: [(&str, &str, &str); 7] = [
    ("plain.mp4", "30", "-bf 0 -g 20"),
    ("b-frames.mp4", "25", "-bf 3 -g 30 -x264-params b-adapt=0"),
    ("ntsc.mp4", "30000/1001", "-bf 2 -g 15 -movflags +faststart"),
    ("negative.mp4", "25", "-bf 2 -movflags +negative_cts_offsets"),
    ("fragmented.mp4", "30", "-bf 2 -g 15 -movflags +frag_keyframe+empty_moov+default_base_moof"),
    ("plain.ts", "30", "-bf 0 -g 20"),
    ("b-frames.ts", "25", "-bf 3 -g 30 -x264-params b-adapt=0"),
];

#[test]
fn every_frame_comes_at_the_times_that_ffprobe_sees() {
    for (name, rate, args) in CLIPS {
        let clip = Clip::make(name, "3", rate, args);
        let (expected, got) = (clip.packets(), read_all(&clip.path).unwrap());
        assert_eq!(got.len(), expected.len(), "{name}");
        for (index, (got, expected)) in got.iter().zip(&expected).enumerate() {
            assert_eq!(got.2, expected.2, "{name} frame {index}: key");
            assert!(got.0 >= got.1, "{name} frame {index} is shown before it is decoded");
        }
        // Where a file's zero lies is a matter of taste; times between frames are not.
        let steps = |times: Vec<(i64, i64)>| -> Vec<(i64, i64)> {
            times.windows(2).map(|pair| (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1)).collect()
        };
        let mine = steps(got.iter().map(|frame| (frame.0, frame.1)).collect());
        let theirs = steps(expected.iter().map(|frame| (frame.0, frame.1)).collect());
        for (index, (mine, theirs)) in mine.iter().zip(&theirs).enumerate() {
            let close = (mine.0 - theirs.0).abs() <= 2 && (mine.1 - theirs.1).abs() <= 2;
            assert!(close, "{name} after frame {index}: {mine:?}, {theirs:?}");
        }
    }
}

#[test]
fn what_comes_out_decodes_to_the_same_number_of_pictures() {
    for (name, rate, args) in CLIPS {
        let clip = Clip::make(name, "2", rate, args);
        let frames = read_all(&clip.path).unwrap();
        let stream = clip.path.with_extension("h264");
        std::fs::write(&stream, frames.iter().flat_map(|frame| frame.3.iter().copied()).collect::<Vec<_>>())
            .unwrap();
        let output = Command::new("ffprobe")
            .args([
                "-v",
                "error",
                "-count_frames",
                "-of",
                "csv=p=0",
                "-show_entries",
                "stream=nb_read_frames",
            ])
            .arg(&stream)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{name}");
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), frames.len().to_string(), "{name}");
    }
}

fn open(clip: &Clip, looped: bool) -> FileSource {
    FileSource::open(&clip.path, looped, &CaptureConfig::default()).unwrap()
}

#[test]
fn the_file_says_what_it_is() {
    for (name, rate, args) in CLIPS {
        let clip = Clip::make(name, "1", rate, args);
        let info = open(&clip, false).info().clone();
        assert_eq!((info.size, info.format), (Size::new(320, 180), Format::H264), "{name}");
        let expected: FrameRate = rate.parse().unwrap();
        assert!((info.rate.as_hz() - expected.as_hz()).abs() < 0.01, "{name}: {}", info.rate);
    }
}

#[test]
fn frames_come_when_they_are_due_and_begin_again() {
    let clip = Clip::make("loop.mp4", "0.2", "50", "-bf 2 -g 5");
    let clock = BoardClock::real();
    let mut source = open(&clip, true);
    let mut captures = Vec::new();
    for number in 0..25 {
        let captured = source.next(Duration::from_secs(5)).unwrap();
        // Never before its time.
        assert!(clock.now() >= captured.mono);
        assert_eq!((captured.kind, captured.sequence), (CaptureKind::File, number));
        captures.push(captured.mono);
        let Picture::H264 { data, key, dts } = captured.picture else { panic!("H.264 was expected") };
        assert!(dts.is_none_or(|dts| dts <= captured.mono));
        assert_eq!(key, number % 5 == 0);
        assert!(!key || framelock_common::h264::inspect(&data).parameter_sets);
    }
    // 10 frames a pass, shown every 20 ms across the seams. The last ones may lack neighbours that
    // are decoded after them.
    captures.sort();
    let steps: Vec<_> = captures[..20].windows(2).map(|pair| pair[1] - pair[0]).collect();
    // A machine that stands still for a second moves what follows, and nothing else may.
    let is_due =
        |step: &Span| (*step - Span::from_millis(20)).abs() <= Span::from_micros(1) || *step > LATE_LIMIT;
    assert!(steps.iter().all(is_due), "{steps:?}");
}

#[test]
fn its_phase_moves_by_exactly_what_was_asked_also_across_the_end() {
    let clip = Clip::make("clip.mp4", "0.2", "50", "-bf 0");
    let mut source = open(&clip, true);
    let mut last = source.next(Duration::from_secs(2)).unwrap().mono;
    for by in [5, -4, 0, 0, 0, 0, 0, 0, 0, 10, -10, 1].map(Span::from_millis) {
        source.move_phase(PhaseMove::Stretch(by)).unwrap();
        let next = source.next(Duration::from_secs(2)).unwrap().mono;
        assert_eq!(next - last, Span::from_millis(20) + by);
        last = next;
    }
}

#[test]
fn a_file_ends_and_waits_no_longer_than_told() {
    let clip = Clip::make("end.ts", "0.4", "5", "-bf 0");
    let mut source = open(&clip, false);
    assert!(source.next(Duration::ZERO).is_ok(), "the first frame is due at once");
    let error = source.next(Duration::from_millis(1)).unwrap_err();
    assert!(matches!(error, CaptureError::Timeout { .. }), "{error}");
    assert!(source.next(Duration::from_secs(5)).is_ok(), "and is not lost by the timeout");
    let error = source.next(Duration::from_secs(5)).unwrap_err();
    assert!(matches!(error, CaptureError::EndOfFile { .. }) && !error.is_recoverable(), "{error}");
}

#[test]
fn settings_that_passing_through_cannot_serve_are_refused() {
    let clip = Clip::make("settings.mp4", "0.2", "25", "");
    let refused = |config: CaptureConfig| match FileSource::open(&clip.path, false, &config) {
        Err(CaptureError::Settings(what)) => what,
        _ => panic!("was taken"),
    };
    let size = CaptureConfig { size: Some(Size::new(640, 480)), ..CaptureConfig::default() };
    assert!(refused(size).contains("320x180, not 640x480"));
    assert!(refused(CaptureConfig { pixels: true, ..CaptureConfig::default() }).contains("drawn"));
    let format = CaptureConfig { format: Some(Format::Yuyv), ..CaptureConfig::default() };
    assert!(refused(format).contains("h264, not yuyv"));
}

#[test]
fn what_cannot_be_played_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let why = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        match FileSource::open(&path, false, &CaptureConfig::default()) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("was taken"),
        }
    };
    assert!(why(b"").contains("neither MP4 nor MPEG-TS"));
    assert!(why(b"plain text, and enough of it to look at").contains("neither MP4 nor MPEG-TS"));
    assert!(why(b"\0\0\0\x10ftypisom\0\0\0\0").contains("no index"));
    assert!(why(&[0x47; 1_000]).contains("no H.264 key frame"));
    let missing = FileSource::open(&folder.path().join("none"), false, &CaptureConfig::default());
    assert!(matches!(missing, Err(CaptureError::FileRead { .. })));
    assert!(FileSource::open(folder.path(), false, &CaptureConfig::default()).is_err());
    let audio = Clip::make("hevc.mp4", "0.2", "25", "-c:v mpeg4");
    let error = FileSource::open(&audio.path, false, &CaptureConfig::default()).err().unwrap();
    assert!(error.to_string().contains("no H.264 track"), "{error}");
}

/// Reads as a sender would, but does not wait: everything up to the end or an error.
fn drain(path: &Path) -> Result<usize, ReadError> {
    let mut units = container::open_file(path)?;
    Probe::of(units.as_mut())?;
    units.rewind()?;
    let mut frames = 0;
    while let Some(unit) = units.next()? {
        ParameterSets::default().complete(unit.data);
        frames += 1;
        // More frames than bytes would be endless.
        assert!(frames < 1_000_000);
    }
    Ok(frames)
}

#[test]
fn a_pipe_that_nobody_writes_to_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.mp4");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let error = container::open_file(&pipe).err().unwrap();
    assert!(error.to_string().contains("no ordinary file"), "{error}");
}

#[test]
fn files_cut_anywhere_end_or_fail_and_do_not_panic() {
    for (name, rate, args) in CLIPS {
        let clip = Clip::make(name, "0.5", rate, args);
        let whole = std::fs::read(&clip.path).unwrap();
        for cut in (0..whole.len()).step_by(whole.len() / 60 + 1) {
            std::fs::write(&clip.path, &whole[..cut]).unwrap();
            let _ = drain(&clip.path);
        }
    }
}

#[test]
fn files_with_damaged_bytes_end_or_fail_and_do_not_panic() {
    for (name, rate, args) in CLIPS {
        let clip = Clip::make(name, "0.5", rate, args);
        let whole = std::fs::read(&clip.path).unwrap();
        // The index is where damage does harm; media data is the decoder's business.
        let index = whole.windows(4).position(|window| window == b"moov").unwrap_or(0);
        let end = whole.len().min(index + 3_000);
        let mut seed = 0x1234_5678_u32;
        for round in 0..300 {
            let mut damaged = whole.clone();
            for _ in 0..=round % 4 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let position = index + (seed >> 8) as usize % (end - index);
                damaged[position] = match seed >> 30 {
                    0 => 0,
                    1 => 0xff,
                    _ => (seed >> 3) as u8,
                };
            }
            std::fs::write(&clip.path, &damaged).unwrap();
            let _ = drain(&clip.path);
        }
    }
}
