//! libavcodec against FFmpeg itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use framelock_common::h264::FrameType;

use super::real::{access_units, clip, decode_all};
use super::*;

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
        decode_all(Box::new(BuiltIn), &frames, DecoderOptions { motion_vectors: true });
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
    decode_all(Box::new(BuiltIn), &frames, DecoderOptions::default());
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
        decode_all(Box::new(BuiltIn), &frames[..1], DecoderOptions::default());
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
    decode_all(Box::new(BuiltIn), &frames[..1], DecoderOptions::default());
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
    decode_all(Box::new(BuiltIn), &frames, DecoderOptions::default());
    assert_eq!(letters(&frames), format!("PPP{}{}", "F".repeat(12), "P".repeat(15)));
}
