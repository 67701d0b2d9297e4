//! Which format, size and rate to ask a camera for.

use framelock_v4l2::{Device, FormatDescription, FourCc, Fraction, Intervals, Sizes};

use crate::capture::{CaptureConfig, Format, FrameRate, Size};

/// What is taken where nothing is asked for, or as near as the camera gets.
const PREFERRED_SIZE: Size = Size::new(640, 480);
const PREFERRED_RATE: u32 = 30;
/// Sizes of a format that an error lists.
const LISTED_SIZES: usize = 8;

/// What can be asked about a camera.
pub(crate) trait Modes {
    fn formats(&self) -> Vec<FormatDescription>;
    fn sizes(&self, fourcc: FourCc) -> Sizes;
    fn intervals(&self, fourcc: FourCc, width: u32, height: u32) -> Intervals;
}

impl Modes for Device {
    fn formats(&self) -> Vec<FormatDescription> {
        self.formats()
    }

    fn sizes(&self, fourcc: FourCc) -> Sizes {
        self.sizes(fourcc)
    }

    fn intervals(&self, fourcc: FourCc, width: u32, height: u32) -> Intervals {
        self.intervals(fourcc, width, height)
    }
}

/// A format, size and rate that a camera offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) format: Format,
    pub(crate) fourcc: FourCc,
    pub(crate) size: Size,
    pub(crate) rate: FrameRate,
}

/// The format behind a four-character code, if it can be taken.
pub(crate) fn format_of(fourcc: FourCc) -> Option<Format> {
    Some(match &fourcc.0.to_le_bytes() {
        b"YU12" => Format::I420,
        b"NV12" => Format::Nv12,
        b"YUYV" => Format::Yuyv,
        b"MJPG" | b"JPEG" => Format::Mjpeg,
        b"H264" => Format::H264,
        _ => return None,
    })
}

/// What a frame costs on the way to H.264, from the least. A camera's own H.264 costs nothing; among
/// pixels, what must be copied least; JPEG must be decoded, which costs as much as encoding.
const fn cost(format: Format) -> u32 {
    match format {
        Format::H264 => 0,
        Format::I420 => 1,
        Format::Nv12 => 2,
        Format::Yuyv => 3,
        Format::Mjpeg => 4,
    }
}

/// The best that `camera` offers for `config`: nearest to the wanted size, then to the wanted rate,
/// then the cheapest. What is asked for explicitly must be met.
///
/// # Errors
/// What the camera can do, for people.
pub(crate) fn choose(camera: &impl Modes, config: &CaptureConfig) -> Result<Choice, String> {
    let formats: Vec<_> = camera
        .formats()
        .into_iter()
        .filter_map(|description| format_of(description.fourcc).map(|format| (format, description.fourcc)))
        .collect();
    let suits = |format: Format| match config.format {
        Some(wanted) => format == wanted,
        None => format != Format::H264 || !config.pixels,
    };
    let preferred = config.size.unwrap_or(PREFERRED_SIZE);
    formats
        .iter()
        .filter(|(format, _)| suits(*format))
        .filter_map(|&(format, fourcc)| {
            let size = pick_size(camera.sizes(fourcc), config.size)?;
            let rate = pick_rate(camera.intervals(fourcc, size.width, size.height), config.rate)?;
            Some(Choice { format, fourcc, size, rate })
        })
        .min_by_key(|choice| {
            let size_distance = choice.size.pixels().abs_diff(preferred.pixels());
            (size_distance, slowness(choice.rate, config.rate), cost(choice.format))
        })
        .ok_or_else(|| list(camera, &formats, config.size))
}

/// How far `rate` stays below the wanted one, in 1/1000 Hz; what is close enough counts as the same.
fn slowness(rate: FrameRate, wanted: Option<FrameRate>) -> u64 {
    let wanted = wanted.unwrap_or_else(|| FrameRate::from_hz(PREFERRED_RATE));
    if is_close(rate, wanted) { 0 } else { millihertz(wanted).saturating_sub(millihertz(rate)) }
}

fn pick_size(sizes: Sizes, wanted: Option<Size>) -> Option<Size> {
    let preferred = wanted.unwrap_or(PREFERRED_SIZE);
    let size = match sizes {
        Sizes::Unknown => preferred,
        Sizes::Discrete(sizes) => sizes
            .into_iter()
            .map(|(width, height)| Size::new(width, height))
            // The encoder takes whole chroma samples only.
            .filter(|size| size.width.is_multiple_of(2) && size.height.is_multiple_of(2))
            .min_by_key(|size| (*size != preferred, size.pixels().abs_diff(preferred.pixels())))?,
        Sizes::Stepwise { min, max, step } => {
            let fit = |wanted: u32, min: u32, max: u32, step: u32| {
                let steps = (wanted.clamp(min, max) - min) / step;
                // An odd size that the steps lead to is left for the next even one below.
                (0..=steps).rev().map(|steps| min + steps * step).find(|length| length.is_multiple_of(2))
            };
            Size::new(
                fit(preferred.width, min.0, max.0, step.0)?,
                fit(preferred.height, min.1, max.1, step.1)?,
            )
        }
    };
    (wanted.is_none() || wanted == Some(size)).then_some(size)
}

/// The offered rate that is the wanted one; where none is wanted, the preferred one or the fastest
/// below it, or the slowest there is.
fn pick_rate(intervals: Intervals, wanted: Option<FrameRate>) -> Option<FrameRate> {
    let goal = wanted.unwrap_or_else(|| FrameRate::from_hz(PREFERRED_RATE));
    let best = match intervals {
        Intervals::Unknown => goal,
        Intervals::Discrete(intervals) => {
            let mut rates: Vec<_> = intervals.into_iter().filter_map(rate_of).collect();
            rates.sort_by_key(|rate| millihertz(*rate));
            let nearest = rates.iter().copied().filter(|rate| is_close(*rate, goal));
            nearest
                .min_by_key(|rate| millihertz(*rate).abs_diff(millihertz(goal)))
                .or_else(|| rates.iter().copied().rfind(|rate| millihertz(*rate) < millihertz(goal)))
                .or_else(|| rates.first().copied())?
        }
        Intervals::Range { min, max } => {
            // The shortest interval is the highest rate.
            let (fastest, slowest) = (rate_of(min)?, rate_of(max)?);
            if millihertz(goal) > millihertz(fastest) {
                fastest
            } else if millihertz(goal) < millihertz(slowest) {
                slowest
            } else {
                goal
            }
        }
    };
    (wanted.is_none() || is_close(best, goal)).then_some(best)
}

fn rate_of(interval: Fraction) -> Option<FrameRate> {
    FrameRate::new(interval.denominator, interval.numerator)
}

fn millihertz(rate: FrameRate) -> u64 {
    u64::from(rate.numerator()) * 1_000 / u64::from(rate.denominator())
}

/// Whether two rates are the same for people: 29.97 is 30.
pub(crate) fn is_close(a: FrameRate, b: FrameRate) -> bool {
    millihertz(a).abs_diff(millihertz(b)) * 100 <= millihertz(b)
}

/// What a camera can do, for people, as far as it answers what was asked for: the rates at the wanted
/// size where it has that, `yuyv 640x480 at 30, 15 fps`; else its sizes,
/// `yuyv/nv12 640x480 up to 30 fps, 320x240 up to 30 fps; mjpeg 1280x720 up to 30 fps`.
fn list(camera: &impl Modes, formats: &[(Format, FourCc)], wanted: Option<Size>) -> String {
    let has_size = |fourcc: FourCc| wanted.is_some() && pick_size(camera.sizes(fourcc), wanted).is_some();
    let with_size: Vec<_> = formats.iter().copied().filter(|(_, fourcc)| has_size(*fourcc)).collect();
    let described = match wanted.filter(|_| !with_size.is_empty()) {
        Some(size) => together(&with_size, |fourcc| {
            format!("{size}{}", rates(camera.intervals(fourcc, size.width, size.height)))
        }),
        None => together(formats, |fourcc| list_sizes(camera, fourcc)),
    };
    if described.is_empty() {
        let others: Vec<_> = camera.formats().iter().map(|format| format.fourcc.to_string()).collect();
        return format!(
            "no format that can be taken (i420, nv12, yuyv, mjpeg, h264), only: {}",
            others.join(", ")
        );
    }
    described.join("; ")
}

/// Each format with what `describe` says of it; those of which it says the same together.
fn together(formats: &[(Format, FourCc)], describe: impl Fn(FourCc) -> String) -> Vec<String> {
    let mut groups: Vec<(String, String)> = Vec::new();
    for &(format, fourcc) in formats {
        let description = describe(fourcc);
        match groups.iter_mut().find(|(_, other)| *other == description) {
            Some((names, _)) => *names += &format!("/{format}"),
            None => groups.push((format.to_string(), description)),
        }
    }
    groups.into_iter().map(|(names, description)| format!("{names} {description}")).collect()
}

fn list_sizes(camera: &impl Modes, fourcc: FourCc) -> String {
    match camera.sizes(fourcc) {
        Sizes::Unknown => "in sizes that it does not tell".to_owned(),
        Sizes::Stepwise { min, max, .. } => format!("{}x{} to {}x{}", min.0, min.1, max.0, max.1),
        Sizes::Discrete(sizes) => {
            let more = if sizes.len() > LISTED_SIZES { ", ..." } else { "" };
            let describe = |(width, height): (u32, u32)| {
                let fastest = offered(camera.intervals(fourcc, width, height))
                    .into_iter()
                    .max_by_key(|r| millihertz(*r));
                let rate = fastest.map_or_else(String::new, |rate| format!(" up to {rate} fps"));
                format!("{width}x{height}{rate}")
            };
            let sizes: Vec<_> = sizes.into_iter().take(LISTED_SIZES).map(describe).collect();
            format!("{}{more}", sizes.join(", "))
        }
    }
}

/// The rates in a list, or the ends of a range.
fn offered(intervals: Intervals) -> Vec<FrameRate> {
    match intervals {
        Intervals::Unknown => Vec::new(),
        Intervals::Discrete(intervals) => intervals.into_iter().filter_map(rate_of).collect(),
        Intervals::Range { min, max } => [max, min].into_iter().filter_map(rate_of).collect(),
    }
}

/// ` at 30, 15 fps`, or nothing where the camera does not tell.
fn rates(intervals: Intervals) -> String {
    let between = if matches!(intervals, Intervals::Range { .. }) { " to " } else { ", " };
    let rates: Vec<_> = offered(intervals).iter().map(FrameRate::to_string).collect();
    if rates.is_empty() { String::new() } else { format!(" at {} fps", rates.join(between)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A camera by its lists alone: no device can be made to offer all of these.
    struct ListedCamera(Vec<(&'static [u8; 4], Sizes, Intervals)>);

    impl Modes for ListedCamera {
        fn formats(&self) -> Vec<FormatDescription> {
            let describe = |code: &[u8; 4]| FormatDescription {
                fourcc: FourCc::new(code),
                description: String::new(),
                compressed: false,
            };
            self.0.iter().map(|(code, ..)| describe(code)).collect()
        }

        fn sizes(&self, fourcc: FourCc) -> Sizes {
            self.0
                .iter()
                .find(|(code, ..)| FourCc::new(code) == fourcc)
                .map_or(Sizes::Unknown, |f| f.1.clone())
        }

        fn intervals(&self, fourcc: FourCc, _width: u32, _height: u32) -> Intervals {
            self.0
                .iter()
                .find(|(code, ..)| FourCc::new(code) == fourcc)
                .map_or(Intervals::Unknown, |f| f.2.clone())
        }
    }

    fn sizes(list: &[(u32, u32)]) -> Sizes {
        Sizes::Discrete(list.to_vec())
    }

    fn hz(list: &[u32]) -> Intervals {
        Intervals::Discrete(list.iter().map(|&denominator| Fraction { numerator: 1, denominator }).collect())
    }

    /// A webcam as they are: raw only where USB 2 can carry it.
    fn webcam() -> ListedCamera {
        ListedCamera(vec![
            (b"MJPG", sizes(&[(1280, 720), (640, 480)]), hz(&[30, 15])),
            (b"YUYV", sizes(&[(640, 480), (320, 240)]), hz(&[30, 15])),
        ])
    }

    fn config(size: Option<&str>, rate: Option<u32>) -> CaptureConfig {
        CaptureConfig {
            size: size.map(|size| size.parse().unwrap()),
            rate: rate.map(FrameRate::from_hz),
            ..CaptureConfig::default()
        }
    }

    fn chosen(camera: &ListedCamera, config: &CaptureConfig) -> (Format, String, u64) {
        let choice = choose(camera, config).unwrap();
        (choice.format, choice.size.to_string(), millihertz(choice.rate) / 1_000)
    }

    #[test]
    fn the_cheapest_format_that_serves_wins() {
        assert_eq!(chosen(&webcam(), &config(None, None)), (Format::Yuyv, "640x480".into(), 30));
        assert_eq!(
            chosen(&webcam(), &config(Some("1280x720"), None)),
            (Format::Mjpeg, "1280x720".into(), 30)
        );
        assert_eq!(chosen(&webcam(), &config(None, Some(15))), (Format::Yuyv, "640x480".into(), 15));
        let mjpeg = CaptureConfig { format: Some(Format::Mjpeg), ..config(None, None) };
        assert_eq!(chosen(&webcam(), &mjpeg), (Format::Mjpeg, "640x480".into(), 30));
    }

    #[test]
    fn a_slow_raw_format_loses_to_a_fast_compressed_one() {
        let camera = ListedCamera(vec![
            (b"YUYV", sizes(&[(1280, 720), (640, 480)]), hz(&[10, 5])),
            (b"MJPG", sizes(&[(1280, 720), (640, 480)]), hz(&[30])),
        ]);
        assert_eq!(chosen(&camera, &config(None, None)), (Format::Mjpeg, "640x480".into(), 30));
        assert_eq!(chosen(&camera, &config(None, Some(10))), (Format::Yuyv, "640x480".into(), 10));
    }

    #[test]
    fn encoded_frames_are_taken_unless_pixels_are_needed() {
        let mut camera = webcam();
        camera.0.push((b"H264", sizes(&[(640, 480)]), hz(&[30])));
        assert_eq!(chosen(&camera, &config(None, None)).0, Format::H264);
        let pixels = CaptureConfig { pixels: true, ..config(None, None) };
        assert_eq!(chosen(&camera, &pixels).0, Format::Yuyv);
    }

    #[test]
    fn unknown_odd_and_stepwise_offers() {
        let silent = ListedCamera(vec![(b"NV12", Sizes::Unknown, Intervals::Unknown)]);
        assert_eq!(chosen(&silent, &config(Some("352x288"), Some(7))), (Format::Nv12, "352x288".into(), 7));
        let odd = ListedCamera(vec![(b"YUYV", sizes(&[(641, 481), (160, 120)]), hz(&[30]))]);
        assert_eq!(chosen(&odd, &config(None, None)).1, "160x120");
        let range = Intervals::Range {
            min: Fraction { numerator: 1, denominator: 60 },
            max: Fraction { numerator: 1, denominator: 2 },
        };
        let steps = Sizes::Stepwise { min: (48, 32), max: (1920, 1080), step: (16, 3) };
        let sensor = ListedCamera(vec![(b"YU12", steps, range)]);
        assert_eq!(chosen(&sensor, &config(None, None)), (Format::I420, "640x476".into(), 30));
        assert_eq!(chosen(&sensor, &config(Some("640x476"), Some(25))).2, 25);
        assert!(choose(&sensor, &config(Some("640x480"), None)).is_err());
        assert!(choose(&sensor, &config(None, Some(61))).is_err());
        let zero_step = Sizes::Stepwise { min: (1, 1), max: (1, 1), step: (1, 1) };
        assert!(choose(&ListedCamera(vec![(b"YU12", zero_step, hz(&[30]))]), &config(None, None)).is_err());
    }

    #[test]
    fn ntsc_rates_count_as_whole_ones() {
        let ntsc = Intervals::Discrete(vec![Fraction { numerator: 1001, denominator: 30_000 }]);
        let camera = ListedCamera(vec![(b"YUYV", sizes(&[(640, 480)]), ntsc)]);
        let choice = choose(&camera, &config(None, Some(30))).unwrap();
        assert_eq!(choice.rate, FrameRate::new(30_000, 1001).unwrap());
    }

    #[test]
    fn what_is_impossible_lists_what_is_possible() {
        let list = choose(&webcam(), &config(Some("1920x1080"), None)).unwrap_err();
        let expected = "mjpeg 1280x720 up to 30 fps, 640x480 up to 30 fps; yuyv 640x480 up to 30 fps, 320x240 up to 30 fps";
        assert_eq!(list, expected);
        let list = choose(&webcam(), &config(Some("1280x720"), Some(60))).unwrap_err();
        assert_eq!(list, "mjpeg 1280x720 at 30, 15 fps");
        let alike = [b"YUYV", b"NV12"].map(|code| (code, sizes(&[(640, 480)]), hz(&[30, 15])));
        let list = choose(&ListedCamera(alike.into()), &config(None, Some(60))).unwrap_err();
        assert_eq!(list, "yuyv/nv12 640x480 up to 30 fps");
        let bayer = ListedCamera(vec![(b"BA81", sizes(&[(640, 480)]), hz(&[30]))]);
        let list = choose(&bayer, &config(None, None)).unwrap_err();
        assert!(list.contains("only: BA81"), "{list}");
        assert!(choose(&ListedCamera(Vec::new()), &config(None, None)).is_err());
    }
}
