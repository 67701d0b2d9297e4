//! libavcodec over streams of x264.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use framelock_common::h264::{FrameType, Inspector};
use framelock_common::mpegts::{Demuxer, PacketMeta, TsEvent};

use super::*;

/// Makes a clip of a lavfi source with x264, as MPEG-TS.
fn clip(source: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", source, "-c:v", "libx264"])
        .args(args)
        .args(["-f", "mpegts", "-"])
        .output()
        .expect("ffmpeg is installed by `make test`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The access units of a clip in decoding order, with their PTS.
fn access_units(ts: &[u8]) -> (Vec<Frame>, Vec<i64>) {
    let mut demuxer = Demuxer::new();
    let (mut inspector, mut frames, mut times) = (Inspector::new(), Vec::new(), Vec::new());
    let mut take = |event| {
        if let TsEvent::AccessUnit { data, pts, .. } = event {
            let info = inspector.inspect(&data);
            let coded =
                CodedFrame { frame_type: info.frame_type, ..coded(frames.len() as u64, info.key, &data) };
            frames.push(Frame::new(coded));
            times.push(pts);
        }
    };
    let meta = PacketMeta { rtp_timestamp: None, arrival: HostTime::from_nanos(0) };
    for chunk in ts.chunks(1_316) {
        demuxer.push(chunk, meta);
        std::iter::from_fn(|| demuxer.poll()).for_each(&mut take);
    }
    demuxer.flush();
    std::iter::from_fn(|| demuxer.poll()).for_each(&mut take);
    (frames, times)
}

/// Decodes all frames through a pool, as fast as it takes them.
fn decode_all(frames: &[Frame], options: DecoderOptions) -> DecodeStats {
    let (notify, events) = mpsc::channel();
    let pool = DecodePool::new(2, Box::new(BuiltIn), to(notify));
    pool.set_options(options);
    for frame in frames {
        while pool.is_full() {
            events.recv_timeout(PATIENCE).expect("it goes on");
        }
        pool.submit(camera(0), frame.clone());
    }
    pool.flush(camera(0));
    while frames.iter().any(|frame| frame.outcome().is_none()) {
        events.recv_timeout(PATIENCE).expect("it goes on");
    }
    pool.stats()
}

#[test]
fn every_picture_lands_in_its_own_frame_even_with_b_frames() {
    // Frame N is a grey of 20 + 4 N, so that its picture tells which frame it is.
    let source = "nullsrc=s=128x128:r=25:d=2,geq=lum='20+4*N':cb=128:cr=128";
    let ts = clip(source, &["-qp", "10", "-bf", "3", "-g", "20", "-pix_fmt", "yuv420p"]);
    let (frames, times) = access_units(&ts);
    assert_eq!(frames.len(), 50);
    assert!(!times.is_sorted(), "the stream has B-frames");
    let stats = decode_all(&frames, DecoderOptions::default());
    let first = *times.iter().min().unwrap();
    for (frame, pts) in frames.iter().zip(&times) {
        let number = (pts - first) / 3_600;
        let picture = frame.picture().unwrap_or_else(|| panic!("frame {number} has no picture"));
        let grey = i64::from(picture.y().data[64 * picture.y().stride + 64]);
        assert!((grey - (20 + 4 * number)).abs() <= 1, "frame {number} shows frame {}", (grey - 20) / 4);
        assert_eq!((picture.width(), picture.height()), (128, 128));
    }
    assert_eq!((stats.failed, stats.skipped), (0, 0));
}

/// What FFmpeg says of a frame: its type and its motion vectors.
type Said = (String, Vec<[i64; 10]>);

/// Asks FFmpeg itself, through a program in C; by PTS.
fn reference(dir: &Path, clip: &Path) -> BTreeMap<i64, Said> {
    let program = dir.join("reference");
    if !program.exists() {
        let flags = Command::new("pkg-config")
            .args(["--cflags", "--libs", "libavformat", "libavcodec", "libavutil"])
            .output()
            .expect("pkg-config is installed by `make test`");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/decode/tests/reference.c");
        let built = Command::new("cc")
            .args(["-std=c11", "-o"])
            .arg(&program)
            .arg(source)
            .args(String::from_utf8_lossy(&flags.stdout).split_whitespace())
            .status()
            .expect("a C compiler");
        assert!(built.success());
    }
    let output = Command::new(program).arg(clip).output().expect("it was just built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("numbers");
    let mut lines = text.lines();
    let mut frames = BTreeMap::new();
    while let Some(head) = lines.next() {
        let [pts, kind, count] = head.split(' ').collect::<Vec<_>>().try_into().expect("three words");
        let row = |line: &str| -> [i64; 10] {
            let fields: Vec<_> = line.split(' ').map(|field| field.parse().expect("a number")).collect();
            fields.try_into().expect("ten fields")
        };
        let vectors = lines.by_ref().take(count.parse().expect("a number")).map(row).collect();
        frames.insert(pts.parse().expect("a number"), (kind.to_owned(), vectors));
    }
    frames
}

#[test]
fn motion_vectors_and_frame_types_are_those_of_ffmpeg_itself() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let fast = "testsrc2=s=320x240:r=25:d=2";
    let zoom = "mandelbrot=s=352x288:r=25:end_pts=50,trim=duration=2";
    let noise = "testsrc=s=176x144:r=25:d=2,noise=alls=20:allf=t,rotate=t/2";
    let mut kinds = std::collections::BTreeSet::new();
    for (name, source, args) in [
        ("no B-frames", fast, &["-profile:v", "baseline", "-g", "15"][..]),
        ("B-frames and pyramids", zoom, &["-bf", "4", "-b-pyramid", "normal", "-refs", "4", "-g", "30"]),
        ("small partitions", noise, &["-preset", "slower", "-bf", "2", "-x264-params", "partitions=all"]),
        ("several slices", fast, &["-bf", "2", "-x264-params", "slices=4:weightp=2"]),
        ("interlaced", zoom, &["-bf", "2", "-flags", "+ildct+ilme", "-x264-params", "tff=1"]),
    ] {
        let args: Vec<_> = args.iter().copied().chain(["-pix_fmt", "yuv420p"]).collect();
        let ts = clip(source, &args);
        let path = dir.path().join("clip.ts");
        std::fs::write(&path, &ts).expect("room for a clip");
        let said = reference(dir.path(), &path);
        let (frames, times) = access_units(&ts);
        assert_eq!((frames.len(), said.len()), (50, 50), "{name}");
        decode_all(&frames, DecoderOptions { motion_vectors: true });
        let mut vectors = 0;
        for (frame, pts) in frames.iter().zip(times) {
            let (kind, expected) = &said[&pts];
            assert_eq!(frame.frame_type.map(FrameType::as_str), Some(kind.as_str()), "{name}: {pts}");
            let got = frame.motion_vectors().unwrap_or_else(|| panic!("{name}: {pts} has none"));
            let rows: Vec<_> = got.iter().map(|vector| vector.to_row()).collect();
            assert_eq!(&rows, expected, "{name}: {pts}");
            vectors += rows.len();
            kinds.insert(kind.clone());
        }
        assert!(vectors > 1_000, "{name}: {vectors} vectors");
    }
    assert_eq!(kinds.into_iter().collect::<String>(), "BIP");
}

#[test]
fn vectors_are_not_exported_unless_asked_for() {
    let (frames, _) = access_units(&clip("testsrc2=s=64x64:d=0.4", &["-pix_fmt", "yuv420p"]));
    decode_all(&frames, DecoderOptions::default());
    assert!(frames.iter().all(|frame| frame.picture().is_some() && frame.motion_vectors().is_none()));
}

/// The first picture of a clip in BGR as swscale makes it, with no interpolation of chroma.
fn swscale(clip: &Path) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(clip)
        .args([
            "-frames:v",
            "1",
            "-vf",
            "scale=flags=neighbor+accurate_rnd+full_chroma_int",
            "-pix_fmt",
            "bgr24",
        ])
        .args(["-f", "rawvideo", "-"])
        .output()
        .expect("ffmpeg is installed by `make test`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn every_kind_of_picture_is_converted_with_the_colours_that_the_stream_declares() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("clip.ts");
    let (limited, full) = (Range::Limited, Range::Full);
    for (pixels, colours, chroma, matrix, range) in [
        ("yuv420p", "", Chroma::Yuv420, Matrix::Bt601, limited),
        ("yuv420p", "colormatrix=bt709", Chroma::Yuv420, Matrix::Bt709, limited),
        ("yuvj420p", "fullrange=on", Chroma::Yuv420, Matrix::Bt601, full),
        ("yuv422p", "colormatrix=smpte240m", Chroma::Yuv422, Matrix::Smpte240m, limited),
        ("yuv444p", "colormatrix=bt2020nc", Chroma::Yuv444, Matrix::Bt2020, limited),
        ("yuvj444p", "fullrange=on:colormatrix=bt709", Chroma::Yuv444, Matrix::Bt709, full),
    ] {
        let name = format!("{pixels} {colours}");
        // Not of whole macroblocks: the decoder has to crop.
        let source = "gradients=s=310x226:d=0.1:c0=red:c1=blue:c2=yellow:c3=gray:nb_colors=4:seed=3";
        let params = if colours.is_empty() { "no-psy=1" } else { colours };
        let ts = clip(source, &["-qp", "4", "-pix_fmt", pixels, "-x264-params", params]);
        std::fs::write(&path, &ts).expect("room for a clip");
        let (frames, _) = access_units(&ts);
        decode_all(&frames[..1], DecoderOptions::default());
        let picture = frames[0].picture().unwrap_or_else(|| panic!("{name}: no picture"));
        let format = PictureFormat { width: 310, height: 226, chroma, depth: 8, matrix, range };
        assert_eq!(picture.format(), format, "{name}");
        let mut bgr = vec![0; 310 * 226 * 3];
        picture.to_bgr(&mut bgr).expect("a buffer of the right size");
        let expected = swscale(&path);
        let worst = bgr.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(bgr.len() == expected.len() && worst <= Some(3), "{name}: {worst:?}");
    }
}

#[test]
fn ten_bits_come_as_they_are_and_are_not_converted() {
    let (frames, _) = access_units(&clip("testsrc2=s=64x64:d=0.1", &["-pix_fmt", "yuv420p10le"]));
    decode_all(&frames[..1], DecoderOptions::default());
    let picture = frames[0].picture().expect("a picture");
    assert_eq!((picture.format().depth, picture.format().chroma), (10, Chroma::Yuv420));
    assert!(picture.y().data.len() >= 64 * 2 * 64);
    let error = picture.to_bgr(&mut [0; 64 * 64 * 3]).unwrap_err().to_string();
    assert!(error.contains("10 bits"), "{error}");
}

#[test]
fn a_picture_with_guessed_parts_is_never_shown_nor_what_refers_to_it() {
    let ts = clip("testsrc2=s=320x240:r=25:d=1.2", &["-bf", "0", "-g", "15", "-pix_fmt", "yuv420p"]);
    let (mut frames, _) = access_units(&ts);
    let half = frames[3].data.len() / 2;
    frames[3] = frame(3, false, &frames[3].data[..half]);
    decode_all(&frames, DecoderOptions::default());
    assert_eq!(letters(&frames), format!("PPP{}{}", "F".repeat(12), "P".repeat(15)));
}
