//! The timecode strip survives a real H.264 encoder starved of bits, and scaling to half the size.
//!
//! Needs `ffmpeg` with libx264 in PATH, and fails without it.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test: helpers may fail and say so")]

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;

use framelock_common::time::{Span, Utc};
use framelock_common::timecode::{self, Timecode, TimecodeError};

const FRAMES: u32 = 240;
const FPS: u32 = 30;

/// One chain: picture size and the encoder's bit rate.
#[derive(Clone, Copy)]
struct Case {
    width: usize,
    height: usize,
    bitrate: u32,
}

impl Case {
    fn size(self) -> String {
        format!("{}x{}", self.width, self.height)
    }
}

#[test]
fn survives_300_kbit_at_640x480_and_half_of_it() {
    let case = Case { width: 640, height: 480, bitrate: 300_000 };
    assert_survives(case, 1);
    assert_survives(case, 2);
}

#[test]
fn survives_300_kbit_at_320x180_and_half_of_it() {
    let case = Case { width: 320, height: 180, bitrate: 300_000 };
    assert_survives(case, 1);
    assert_survives(case, 2);
}

#[test]
fn survives_300_kbit_at_160x120_and_half_of_it() {
    let case = Case { width: 160, height: 120, bitrate: 300_000 };
    assert_survives(case, 1);
    assert_survives(case, 2);
}

/// Draws, encodes, decodes, scales down by `divisor` and reads: at least 99.5 % of the frames must be
/// read, and every frame that is read must say what was drawn into it.
fn assert_survives(case: Case, divisor: usize) {
    let stream = encode(case);
    let rate = stream.len() as u64 * 8 * u64::from(FPS) / u64::from(FRAMES);
    assert!(
        rate < u64::from(case.bitrate) * 12 / 10,
        "the encoder spent {rate} bit/s: not the test it claims"
    );

    let (width, height) = (case.width / divisor, case.height / divisor);
    let scale = format!("scale={width}:{height}");
    let arguments = ["-f", "h264", "-i", "-", "-vf", &scale, "-f", "rawvideo", "-pix_fmt", "gray", "-"];
    let pictures = ffmpeg(&arguments, stream);
    let pictures: Vec<_> = pictures.chunks_exact(width * height).collect();
    assert_eq!(pictures.len(), FRAMES as usize, "frames out of the decoder");

    let mut lost = 0;
    for (picture, frame) in pictures.into_iter().zip(0..) {
        match timecode::read(picture, width, width, height) {
            Ok(read) => assert_eq!(read, expected(frame), "a wrong value was read from frame {frame}"),
            Err(TimecodeError::NotFound | TimecodeError::Checksum) => lost += 1,
            Err(error) => panic!("frame {frame}: {error}"),
        }
    }
    println!("{} at {rate} bit/s, read at 1/{divisor}: {lost} of {FRAMES} frames lost", case.size());
    assert!(lost * 1000 <= FRAMES * 5, "{lost} of {FRAMES} frames unreadable");
}

fn expected(frame: u32) -> Timecode {
    // 33.3 ms and some jitter, so that the low bits look like those of real captures.
    let jitter = Span::from_nanos(i64::from(frame.wrapping_mul(2_654_435_761) % 2_000_000));
    let elapsed = Span::from_secs(1).mul_div(i64::from(frame), i64::from(FPS)) + jitter;
    let start = Utc::from_unix_nanos(1_790_000_000_123_456_789);
    Timecode { camera: 0x5a17, frame: frame + 123_456, capture: start + elapsed }
}

/// The encoded stream of a scene that leaves the encoder no bits to spare: fine texture that moves,
/// under fresh noise in every frame.
fn encode(case: Case) -> Vec<u8> {
    let Case { width, height, .. } = case;
    let mut noise = 0x9e37_79b9_u32;
    let mut raw = Vec::with_capacity(FRAMES as usize * width * height * 3 / 2);
    for frame in 0..FRAMES {
        let start = raw.len();
        for y in 0..height {
            for x in 0..width {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let texture = (((x + 5 * frame as usize) * 7) ^ ((y + 3 * frame as usize) * 5)) & 0x7f;
                raw.push((40 + texture + (noise >> 27) as usize) as u8);
            }
        }
        timecode::draw(&expected(frame), &mut raw[start..], width, width, height).unwrap();
        raw.resize(start + width * height * 3 / 2, 128);
    }
    let (size, fps, rate) = (case.size(), FPS.to_string(), case.bitrate.to_string());
    let input = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", &size, "-r", &fps, "-i", "-"];
    // As a camera's encoder is run: no look-ahead, no B-frames, a key frame every 2 s.
    let encoder = ["-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-g", "60"];
    let limits = ["-b:v", &rate, "-maxrate", &rate, "-bufsize", &rate, "-f", "h264", "-"];
    ffmpeg(&[&input[..], &encoder, &limits].concat(), raw)
}

/// Runs ffmpeg over `input`, and gives what it wrote.
fn ffmpeg(arguments: &[&str], input: Vec<u8>) -> Vec<u8> {
    let mut child = spawn(arguments);
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let writer = thread::spawn(move || stdin.write_all(&input));
    let mut output = Vec::new();
    stdout.read_to_end(&mut output).unwrap();
    let written = writer.join().unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "ffmpeg failed ({status}); its message is above. Has it libx264?");
    written.unwrap();
    output
}

fn spawn(arguments: &[&str]) -> Child {
    Command::new("ffmpeg")
        .args(["-hide_banner", "-nostdin", "-loglevel", "error"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("cannot run ffmpeg ({error}): this test needs it; install the package `ffmpeg`")
        })
}
