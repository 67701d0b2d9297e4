//! The smallest interval of time that holds an anchor and one frame of every camera.
//!
//! Any interval that holds the anchor and a frame before it also holds the camera's last frame before it;
//! the same goes for the first after it. So two frames of each camera are enough to look at, and the best
//! interval is found by moving its beginning from the earliest of the frames before the anchor up to the
//! anchor: the cameras left out at the beginning take their frame after it.

use framelock_common::time::Span;

/// The frames of one camera that matter, by their distance from the anchor; neither is negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Choices {
    /// From the last frame at or before the anchor to the anchor.
    pub(super) before: Option<Span>,
    /// From the anchor to the first frame after it.
    pub(super) after: Option<Span>,
}

/// Which of its two frames a camera gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

/// An interval around the anchor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interval {
    before: Span,
    after: Span,
}

impl Interval {
    pub(super) fn length(self) -> Span {
        self.before + self.after
    }

    /// The camera's frame inside the interval, the nearer to the anchor of two.
    pub(super) fn pick(self, choices: Choices) -> Option<Side> {
        let before = choices.before.filter(|distance| *distance <= self.before);
        let after = choices.after.filter(|distance| *distance <= self.after);
        match (before, after) {
            (Some(before), Some(after)) if after < before => Some(Side::After),
            (Some(_), _) => Some(Side::Before),
            (None, Some(_)) => Some(Side::After),
            (None, None) => None,
        }
    }
}

/// The shortest interval that holds the anchor and a frame of every camera that has one; among equals the
/// one that ends first. `sorted` is scratch space, kept by the caller to spare allocations.
pub(super) fn shortest(
    cameras: impl IntoIterator<Item = Choices>,
    sorted: &mut Vec<(Span, Span)>,
) -> Interval {
    sorted.clear();
    // Cameras with a frame after the anchor only fix the least end of the interval.
    let mut end = Span::ZERO;
    for choices in cameras {
        match (choices.before, choices.after) {
            (Some(before), after) => sorted.push((before, after.unwrap_or(Span::MAX))),
            (None, Some(after)) => end = end.max(after),
            (None, None) => {}
        }
    }
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let beginning = sorted.first().map_or(Span::ZERO, |(before, _)| *before);
    let mut best = Interval { before: beginning, after: end };
    for (i, (_, after)) in sorted.iter().enumerate() {
        if *after == Span::MAX {
            break;
        }
        end = end.max(*after);
        let before = sorted.get(i + 1).map_or(Span::ZERO, |(before, _)| *before);
        let interval = Interval { before, after: end };
        if interval.length() < best.length() {
            best = interval;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn distance() -> impl Strategy<Value = Option<Span>> {
        // A small range makes equal distances, hence ties, common.
        proptest::option::weighted(0.8, (0_i64..12).prop_map(Span::from_nanos))
    }

    /// Tries every combination of the cameras' frames.
    fn brute_force(cameras: &[Choices], before: Span, after: Span) -> Span {
        let Some((camera, rest)) = cameras.split_first() else { return before + after };
        let with_before = camera.before.map(|b| brute_force(rest, before.max(b), after));
        let with_after = camera.after.map(|a| brute_force(rest, before, after.max(a)));
        match with_before.into_iter().chain(with_after).min() {
            Some(best) => best,
            None => brute_force(rest, before, after),
        }
    }

    proptest! {
        #[test]
        fn no_combination_of_frames_is_closer(
            cameras in proptest::collection::vec((distance(), distance()), 0..7)
        ) {
            let cameras: Vec<_> = cameras.into_iter().map(|(before, after)| Choices { before, after }).collect();
            let interval = shortest(cameras.iter().copied(), &mut Vec::new());
            prop_assert_eq!(interval.length(), brute_force(&cameras, Span::ZERO, Span::ZERO));
            // What is picked covers the interval exactly and leaves out nobody who has a frame.
            let (mut before, mut after) = (Span::ZERO, Span::ZERO);
            for camera in &cameras {
                match interval.pick(*camera) {
                    Some(Side::Before) => before = before.max(camera.before.unwrap()),
                    Some(Side::After) => after = after.max(camera.after.unwrap()),
                    None => prop_assert_eq!(*camera, Choices::default()),
                }
            }
            prop_assert_eq!(before + after, interval.length());
        }
    }
}
