//! How many sets a second, and on whose frames.

use framelock_aggregator::sync::{Rate, SyncConfig};
use proptest::prelude::*;

use crate::simulate::{Camera, MS, Set, run, streams};

const END: i64 = 10_000 * MS;

fn play(rate: &str, cameras: &[Camera]) -> Vec<Set> {
    let config = SyncConfig { rate: rate.parse::<Rate>().unwrap(), ..SyncConfig::default() };
    let declared: Vec<_> = cameras.iter().map(|camera| Some(camera.period)).collect();
    run(&config, &declared, &streams(cameras, 5))
}

fn mixed() -> [Camera; 3] {
    [Camera::new(40 * MS, 3 * MS, END), Camera::new(100 * MS, 0, END), Camera::new(33 * MS, 10 * MS, END)]
}

#[test]
fn the_slowest_camera_sets_the_pace_by_default() {
    let sets = play("slowest", &mixed());
    assert_eq!(sets.len(), 100);
    assert!(sets.iter().all(|set| set.anchor == Some(1) && set.spread <= 40 * MS));
    assert!(sets[1..99].iter().all(|set| set.complete));
}

#[test]
fn with_fastest_slower_cameras_are_dropped_where_they_have_no_frame_of_their_own() {
    let cameras = mixed();
    let sets = play("fastest", &cameras);
    assert_eq!(sets.len(), streams(&cameras, 5)[2].len());
    assert!(sets.iter().all(|set| set.anchor == Some(2)));
    for camera in 0..2 {
        // Every frame of a slower camera has its place, at the anchor that is nearest or next to it.
        let used: Vec<_> =
            sets.iter().filter_map(|set| Some((set.times[camera]?, set.anchor_time()))).collect();
        let all = streams(&cameras, 5)[camera].len();
        assert!(used.len() + 2 >= all, "{camera}: {} of {all}", used.len());
        assert!(used.iter().all(|(time, anchor)| (time - anchor).abs() < 19 * MS));
    }
}

#[test]
fn fastest_of_equal_cameras_is_the_same_as_slowest() {
    let cameras = [
        Camera::new(33 * MS, 0, END),
        Camera::new(33 * MS, 29 * MS, END),
        Camera::new(33 * MS, 12 * MS, END),
    ];
    assert_eq!(play("fastest", &cameras), play("slowest", &cameras));
}

#[test]
fn a_rate_takes_the_frames_nearest_to_a_grid_of_utc() {
    let cameras = [Camera::new(33 * MS, 7 * MS, END), Camera::new(34 * MS, 20 * MS, END)];
    let sets = play("10", &cameras);
    assert!((99..=101).contains(&sets.len()), "{}", sets.len());
    for set in &sets[1..sets.len() - 1] {
        // The slower of the two is fast enough for ten sets a second.
        assert_eq!(set.anchor, Some(1));
        let instant = (set.anchor_time() + 50 * MS).div_euclid(100 * MS) * 100 * MS;
        let nearest = streams(&cameras, 5)[1].iter().map(|f| (f.time - instant).abs()).min().unwrap();
        assert_eq!((set.anchor_time() - instant).abs(), nearest);
        assert!(set.complete && set.spread <= 17 * MS, "{set:?}");
    }
}

#[test]
fn a_rate_above_all_cameras_gives_what_the_fastest_has() {
    let cameras = [Camera::new(100 * MS, 0, END), Camera::new(40 * MS, 5 * MS, END)];
    let sets = play("120", &cameras);
    assert_eq!(sets.len(), 250);
    assert!(sets.iter().all(|set| set.anchor == Some(1)));
    let slow = sets.iter().filter(|set| set.times[0].is_some()).count();
    assert!((98..=100).contains(&slow), "{slow}");
}

#[test]
fn a_rate_between_the_cameras_is_anchored_on_one_that_is_fast_enough() {
    let cameras =
        [Camera::new(200 * MS, 0, END), Camera::new(50 * MS, 5 * MS, END), Camera::new(20 * MS, 0, END)];
    let sets = play("12.5", &cameras);
    assert!((124..=126).contains(&sets.len()), "{}", sets.len());
    assert!(sets.iter().all(|set| set.anchor == Some(1)));
    let with_slow = sets.iter().filter(|set| set.times[0].is_some()).count();
    assert!((48..=50).contains(&with_slow), "{with_slow}");
}

proptest! {
    #[test]
    fn no_grid_instant_has_two_sets(
        millihertz in 500_u32..200_000,
        periods in proptest::collection::vec((8_i64..300, 0_i64..300, 0_i64..200), 1..4),
    ) {
        let rate = format!("{}.{:03}", millihertz / 1_000, millihertz % 1_000);
        let cameras: Vec<_> = periods
            .iter()
            .map(|(period, phase, drop)| Camera {
                drop_permille: *drop,
                jitter: period * MS / 40,
                ..Camera::new(period * MS, phase * MS, 3_000 * MS)
            })
            .collect();
        let sets = play(&rate, &cameras);
        let instant = |set: &Set| {
            let scaled = i128::from(set.anchor_time()) * i128::from(millihertz);
            (scaled + 500_000_000_000).div_euclid(1_000_000_000_000)
        };
        // The numbers begin anew where another camera becomes the reference.
        for pair in sets.windows(2).filter(|pair| pair[0].anchor == pair[1].anchor) {
            prop_assert!(instant(&pair[0]) < instant(&pair[1]), "{:?}", pair);
        }
    }
}

#[test]
fn rates_and_policies_are_read_and_written() {
    for text in ["slowest", "fastest", "10", "29.970", "0.001", "1000"] {
        assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
    }
    for text in ["", "0", "-1", "1001", "1.2345", "ten", "1e3", "1.", ".5", "9999999999999"] {
        let error = text.parse::<Rate>().unwrap_err().to_string();
        assert!(error.contains("is not a rate"), "{error}");
    }
    use framelock_aggregator::sync::Policy;
    use framelock_common::time::Span;
    assert_eq!("exact:5ms".parse(), Ok(Policy::Exact(Span::from_millis(5))));
    assert_eq!(
        Policy::Exact(Span::from_millis(5)).to_string().parse(),
        Ok(Policy::Exact(Span::from_millis(5)))
    );
    assert_eq!(("tightest".parse(), "last-before".parse()), (Ok(Policy::Tightest), Ok(Policy::LastBefore)));
    for text in ["", "exact", "exact:", "exact:-5ms", "nearest"] {
        assert!(text.parse::<Policy>().unwrap_err().to_string().contains("is not a policy"), "{text}");
    }
}
