//! Lanes and the pool with decoders made to fail, and with the real ones over real streams.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use framelock_common::time::{HostTime, Span, Utc, UtcEstimate};

use super::lane::{Lane, Settled};
use super::*;
use crate::deliver::{
    Chroma, Codec, CodedFrame, Frame, Matrix, Outcome, OwnPlanes, PictureFormat, Range, TimeSource,
};
use crate::sync::CameraIndex;

#[cfg(feature = "ffmpeg")]
mod ffmpeg;
#[cfg(any(feature = "ffmpeg", feature = "openh264"))]
mod real;
mod still;

/// How long a decoding thread may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn frame(sequence: u64, key: bool, data: &[u8]) -> Frame {
    Frame::new(coded(sequence, key, data))
}

fn coded(sequence: u64, key: bool, data: &[u8]) -> CodedFrame {
    CodedFrame {
        time: UtcEstimate { utc: Utc::from_unix_nanos(0), uncertainty: Span::ZERO },
        time_source: TimeSource::Arrival,
        codec: Codec::H264,
        frame_type: None,
        key,
        width: None,
        height: None,
        data: data.to_vec(),
        arrival: HostTime::from_nanos(0),
        sequence,
    }
}

fn camera(index: usize) -> CameraIndex {
    CameraIndex::new(index)
}

/// What came of a frame, in one letter.
fn letter(frame: &Frame) -> char {
    match frame.outcome() {
        None => '-',
        Some(Outcome::Picture(_)) => 'P',
        Some(Outcome::Failed) => 'F',
        Some(Outcome::Skipped) => 'S',
        Some(Outcome::NotYet) => 'N',
    }
}

fn letters(frames: &[Frame]) -> String {
    frames.iter().map(letter).collect()
}

/// A picture of one pixel.
fn tiny() -> Picture {
    let format = PictureFormat {
        width: 1,
        height: 1,
        chroma: Chroma::Gray,
        depth: 8,
        matrix: Matrix::Bt601,
        range: Range::Full,
    };
    Picture::new(format, Box::new(OwnPlanes::new(vec![0], (1, 1), None))).expect("a whole picture")
}

/// Decoders that do as the data of a frame says: "bad" is refused, "spoilt" comes out damaged, "held" comes out
/// only when flushed, "panic" panics. The real ones do nothing of it on demand.
#[derive(Default)]
struct Obedient {
    held: Vec<i64>,
}

impl Decoder for Obedient {
    fn decode(&mut self, unit: &[u8], number: i64, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        match unit {
            b"bad" => return Err(DecodeError::Data("asked to".to_owned())),
            b"held" => self.held.push(number),
            b"panic" => panic!("asked to"),
            b"spoilt" => out.push(Output { number, picture: None }),
            _ => out.push(Output { number, picture: Some(tiny()) }),
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<Output>) {
        out.extend(self.held.drain(..).map(|number| Output { number, picture: Some(tiny()) }));
    }
}

fn obedient(_: DecoderOptions) -> Result<Box<dyn Decoder>, DecodeError> {
    Ok(Box::new(Obedient::default()))
}

/// Runs a lane over frames written as their data, with `!` before that of a key frame.
fn run_lane(plan: &[&str]) -> (Vec<Frame>, Settled) {
    let mut lane = Lane::new();
    let frames: Vec<_> = (0..)
        .zip(plan)
        .map(|(n, data)| frame(n, data.starts_with('!'), data.trim_start_matches('!').as_bytes()))
        .collect();
    let mut sum = Settled::default();
    let mut add = |settled: Settled| {
        sum.decoded += settled.decoded;
        sum.failed += settled.failed;
        sum.early += settled.early;
    };
    for frame in &frames {
        add(lane.handle(frame, DecoderOptions::default(), &obedient));
    }
    add(lane.flush());
    (frames, sum)
}

#[test]
fn after_a_failure_nothing_is_shown_until_a_key_frame() {
    let (frames, settled) = run_lane(&["!good", "bad", "good", "good", "!good", "good"]);
    assert_eq!(letters(&frames), "PFFFPP");
    assert_eq!(settled, Settled { decoded: 3, failed: 3, early: 0 });
}

#[test]
fn what_refers_to_a_frame_that_came_out_damaged_is_not_shown_either() {
    let (frames, settled) = run_lane(&["!good", "held", "spoilt", "good", "!good", "good"]);
    assert_eq!(letters(&frames), "PPFFPP");
    assert_eq!(settled, Settled { decoded: 4, failed: 2, early: 0 });
    // One that was put in after the damaged frame and comes out with it.
    let mut lane = Lane::new();
    let frames: Vec<_> =
        (0..3).map(|n| frame(n, n == 0, ["good", "held", "held"][n as usize].as_bytes())).collect();
    let open = |_| -> Result<Box<dyn Decoder>, DecodeError> { Ok(Box::new(Spoiling::default())) };
    frames.iter().for_each(|frame| {
        lane.handle(frame, DecoderOptions::default(), &open);
    });
    lane.flush();
    assert_eq!(letters(&frames), "PFF");
}

/// A decoder whose first held picture turns out to be damaged.
#[derive(Default)]
struct Spoiling(Obedient);

impl Decoder for Spoiling {
    fn decode(&mut self, unit: &[u8], number: i64, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        self.0.decode(unit, number, out)
    }

    fn flush(&mut self, out: &mut Vec<Output>) {
        self.0.flush(out);
        if let Some(first) = out.first_mut() {
            first.picture = None;
        }
    }
}

#[test]
fn before_the_first_key_frame_nothing_is_shown_and_nothing_has_failed() {
    let (frames, settled) = run_lane(&["good", "good", "!good", "good"]);
    assert_eq!(letters(&frames), "NNPP");
    assert_eq!(settled, Settled { decoded: 2, failed: 0, early: 2 });
}

#[test]
fn what_the_decoder_holds_back_comes_out_at_the_end_and_goes_to_its_own_frame() {
    let (frames, _) = run_lane(&["!held", "good", "held", "good"]);
    assert_eq!(letters(&frames), "PPPP");
    // A decoder that swallows pictures: the oldest are given up, so that nobody waits for them.
    let mut plan = vec!["!good"];
    plan.resize(30, "held");
    let (frames, settled) = run_lane(&plan);
    assert_eq!(letters(&frames), format!("P{}{}", "F".repeat(12), "P".repeat(17)));
    assert_eq!((settled.decoded, settled.failed), (18, 12));
}

#[test]
fn a_decoder_that_was_emptied_starts_with_a_key_frame() {
    let mut lane = Lane::new();
    let frames: Vec<_> = (0..4).map(|n| frame(n, n % 3 == 0, b"good")).collect();
    lane.handle(&frames[0], DecoderOptions::default(), &obedient);
    lane.flush();
    for frame in &frames[1..] {
        lane.handle(frame, DecoderOptions::default(), &obedient);
    }
    assert_eq!(letters(&frames), "PNNP");
}

#[test]
fn other_options_take_effect_at_a_key_frame_and_lose_nothing() {
    let opened = Mutex::new(Vec::new());
    let open = |options: DecoderOptions| {
        opened.lock().unwrap().push(options.motion_vectors);
        obedient(options)
    };
    let mut lane = Lane::new();
    let plan: [(bool, &[u8], bool); 5] = [
        (true, b"good", false),
        (false, b"held", true),
        (false, b"good", true),
        (true, b"good", true),
        (true, b"good", true),
    ];
    let frames: Vec<_> = (0..).zip(plan).map(|(n, (key, data, _))| frame(n, key, data)).collect();
    for (frame, (_, _, motion_vectors)) in frames.iter().zip(plan) {
        let before = opened.lock().unwrap().len();
        lane.handle(frame, DecoderOptions { motion_vectors }, &open);
        assert!(opened.lock().unwrap().len() == before || frame.key);
    }
    assert_eq!(letters(&frames), "PPPPP");
    assert_eq!(*opened.lock().unwrap(), [false, true]);
}

#[test]
fn without_a_decoder_frames_fail() {
    let none = |_: DecoderOptions| Err(DecodeError::NoDecoder);
    let mut lane = Lane::new();
    let frames = [frame(0, true, b"good"), frame(1, false, b"good")];
    for frame in &frames {
        lane.handle(frame, DecoderOptions::default(), &none);
    }
    assert_eq!(letters(&frames), "FF");
}

/// Decoders that wait for a word before each frame, and tell which one they took.
struct Gated {
    go: Arc<Mutex<Receiver<()>>>,
    took: Sender<Vec<u8>>,
}

impl Decoders for Gated {
    fn open(&self, _: DecoderOptions) -> Result<Box<dyn Decoder>, DecodeError> {
        Ok(Box::new(GatedDecoder(Obedient::default(), self.go.clone(), self.took.clone())))
    }

    fn open_still(&self) -> Result<Box<dyn StillDecoder>, DecodeError> {
        Err(DecodeError::NoDecoder)
    }
}

struct GatedDecoder(Obedient, Arc<Mutex<Receiver<()>>>, Sender<Vec<u8>>);

impl Decoder for GatedDecoder {
    fn decode(&mut self, unit: &[u8], number: i64, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let _nobody_listens = self.2.send(unit.to_vec());
        let _gone = self.1.lock().unwrap().recv();
        self.0.decode(unit, number, out)
    }

    fn flush(&mut self, out: &mut Vec<Output>) {
        self.0.flush(out);
    }
}

fn to(events: Sender<PoolEvent>) -> OnEvent {
    let events = Mutex::new(events);
    Box::new(move |event| {
        let _nobody_listens = events.lock().unwrap().send(event);
    })
}

struct Rig {
    pool: DecodePool,
    events: Receiver<PoolEvent>,
    go: Sender<()>,
    took: Receiver<Vec<u8>>,
}

impl Rig {
    fn new(threads: usize) -> Self {
        let ((go, wait), (tell, took), (notify, events)) =
            (mpsc::channel(), mpsc::channel(), mpsc::channel());
        let decoders = Gated { go: Arc::new(Mutex::new(wait)), took: tell };
        Self { pool: DecodePool::new(threads, Box::new(decoders), to(notify)), events, go, took }
    }

    /// Submits frames of one camera, all but the first while the decoder is at work on that.
    fn submit_at_leisure(&self, frames: &[Frame]) {
        self.pool.submit(camera(0), frames[0].clone());
        self.took.recv_timeout(PATIENCE).unwrap();
        frames[1..].iter().for_each(|frame| self.pool.submit(camera(0), frame.clone()));
    }

    /// Lets the decoders go on without being asked any more, and waits for the end of all `frames`.
    fn finish(&mut self, frames: &[Frame]) {
        let (go, _) = mpsc::channel();
        self.go = go;
        self.wait(frames);
    }

    fn wait(&self, frames: &[Frame]) {
        while frames.iter().any(|frame| frame.outcome().is_none()) {
            let event = self.events.recv_timeout(PATIENCE);
            assert!(event.is_ok(), "nothing more happens: {}", letters(frames));
        }
    }
}

#[test]
fn a_slow_decoder_skips_to_a_key_frame_and_holds_nobody_up() {
    let mut rig = Rig::new(1);
    let frames: Vec<_> = (0..100).map(|n| frame(n, n == 0, b"")).collect();
    rig.submit_at_leisure(&frames);
    // All but the one at work and the queue.
    assert_eq!(letters(&frames), format!("{}{}", "-".repeat(9), "S".repeat(91)));
    assert_eq!(rig.pool.stats().skipped, 91);
    rig.finish(&frames);
    assert_eq!(letters(&frames), format!("{}{}", "P".repeat(9), "S".repeat(91)));
}

#[test]
fn a_slow_decoder_goes_on_with_the_newest_key_frame() {
    let mut rig = Rig::new(1);
    let frames: Vec<_> = (0..100).map(|n| frame(n, n % 40 == 0, b"")).collect();
    rig.submit_at_leisure(&frames);
    rig.finish(&frames);
    let shown: Vec<_> = (0..100).filter(|n| frames[*n].picture().is_some()).collect();
    // The one at work, and what waits from the last key frame on.
    assert_eq!(shown, [0, 80, 81, 82, 83, 84, 85, 86, 87]);
}

#[test]
fn a_skipped_frame_asks_for_a_key_frame_once() {
    let mut rig = Rig::new(1);
    let frames: Vec<_> = (0..50).map(|n| frame(n, n == 0, b"")).collect();
    for frame in &frames {
        rig.pool.submit(camera(3), frame.clone());
    }
    let wanted = |rig: &Rig| {
        rig.events.try_iter().filter(|event| *event == PoolEvent::WantsKeyFrame(camera(3))).count()
    };
    assert_eq!(wanted(&rig), 1);
    rig.finish(&frames);
    // What comes after the skipped ones refers to them.
    let late = frame(50, false, b"");
    rig.pool.submit(camera(3), late.clone());
    assert_eq!(letter(&late), 'S');
    let key = frame(51, true, b"");
    rig.pool.submit(camera(3), key.clone());
    rig.wait(std::slice::from_ref(&key));
    assert_eq!(letter(&key), 'P');
}

#[test]
fn cameras_take_turns_whatever_their_backlog() {
    let rig = Rig::new(1);
    let names = |name: &str| -> Vec<_> {
        (0..4).map(|n| frame(n, n == 0, format!("{name}{n}").as_bytes())).collect()
    };
    let (a, b, c) = (names("a"), names("b"), names("c"));
    for frame in &a {
        rig.pool.submit(camera(0), frame.clone());
    }
    assert_eq!(rig.took.recv_timeout(PATIENCE).unwrap(), b"a0");
    for (index, frames) in [(1, &b), (2, &c)] {
        frames.iter().for_each(|frame| rig.pool.submit(camera(index), frame.clone()));
    }
    assert!(rig.pool.is_full());
    let order: Vec<_> = (0..11)
        .map(|_| {
            rig.go.send(()).unwrap();
            String::from_utf8(rig.took.recv_timeout(PATIENCE).unwrap()).unwrap()
        })
        .collect();
    assert_eq!(order.join(" "), "b0 c0 a1 b1 c1 a2 b2 c2 a3 b3 c3");
    assert!(!rig.pool.is_full());
    rig.go.send(()).unwrap();
    rig.wait(&[a, b, c].concat());
}

#[test]
fn a_cameras_frames_are_decoded_in_order_whatever_the_threads() {
    let mut rig = Rig::new(4);
    let cameras: Vec<Vec<_>> =
        (0..3_u8).map(|camera| (0..8_u8).map(|n| frame(n.into(), n == 0, &[camera, n])).collect()).collect();
    for n in 0..8 {
        for (index, frames) in cameras.iter().enumerate() {
            rig.pool.submit(camera(index), frames[n].clone());
        }
    }
    rig.finish(&cameras.concat());
    let took: Vec<_> = rig.took.try_iter().collect();
    for index in 0..3_u8 {
        let numbers: Vec<_> = took.iter().filter(|unit| unit[0] == index).map(|unit| unit[1]).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}

#[test]
fn a_decoder_that_panics_leaves_no_frame_waiting_and_starts_anew() {
    let mut rig = Rig::new(2);
    let plan: [(bool, &[u8]); 5] =
        [(true, b"held"), (false, b"panic"), (false, b"good"), (true, b"good"), (false, b"good")];
    let frames: Vec<_> = (0..).zip(plan).map(|(n, (key, data))| frame(n, key, data)).collect();
    frames.iter().for_each(|frame| rig.pool.submit(camera(0), frame.clone()));
    rig.finish(&frames);
    assert_eq!(letters(&frames), "FFFPP");
}

#[test]
fn what_nobody_wants_any_more_is_not_decoded_and_nobody_waits_for_it() {
    let mut rig = Rig::new(1);
    let frames: Vec<_> = (0..6).map(|n| frame(n, n == 0, b"good")).collect();
    frames.iter().for_each(|frame| rig.pool.submit(camera(0), frame.clone()));
    rig.took.recv_timeout(PATIENCE).unwrap();
    rig.pool.forget_all();
    assert_eq!(letters(&frames), "-NNNNN");
    // Wanted again while the first is still at work: what it refers to is gone.
    let again: Vec<_> = (6..9).map(|n| frame(n, n == 8, b"good")).collect();
    again.iter().for_each(|frame| rig.pool.submit(camera(0), frame.clone()));
    let all = [frames, again].concat();
    rig.finish(&all);
    assert_eq!(letters(&all), "PNNNNNFFP");
}

#[test]
fn a_pool_that_ends_leaves_no_frame_waiting() {
    let Rig { pool, go, took, .. } = Rig::new(1);
    let frames: Vec<_> = (0..6).map(|n| frame(n, n == 0, b"good")).collect();
    frames.iter().for_each(|frame| pool.submit(camera(0), frame.clone()));
    took.recv_timeout(PATIENCE).unwrap();
    drop(go);
    drop(pool);
    assert!(frames.iter().all(|frame| frame.outcome().is_some()), "{}", letters(&frames));
}
