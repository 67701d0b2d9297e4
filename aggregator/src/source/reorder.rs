//! Decoding order to presentation order: with B-frames, frames arrive in the order in which a
//! decoder needs them, and the synchronizer wants them in the order of capture.

use framelock_common::time::MediaTime;

/// The most frames a stream may hold back (H.264 allows `max_num_reorder_frames` up to 16).
const MAX_DEPTH: usize = 16;

/// Holds back as few frames as the stream demands: none unless its SPS or a frame out of order says
/// so, and none whose turn the decoding timestamps prove.
#[derive(Debug)]
pub(super) struct PresentationOrder<T> {
    /// Frames held, ordered by presentation time.
    held: Vec<(MediaTime, T)>,
    depth: usize,
    released: Option<MediaTime>,
}

impl<T> Default for PresentationOrder<T> {
    fn default() -> Self {
        Self { held: Vec::new(), depth: 0, released: None }
    }
}

impl<T> PresentationOrder<T> {
    /// The SPS declares how many frames may come before one in decoding order and after it in
    /// presentation (`max_num_reorder_frames`).
    pub(super) fn set_depth(&mut self, depth: usize) {
        self.depth = depth.min(MAX_DEPTH);
    }

    /// Takes a frame in decoding order and appends those whose turn it now is to `out`. `decode` is
    /// its DTS where the container has one that differs from the presentation time.
    pub(super) fn push(
        &mut self,
        presentation: MediaTime,
        decode: Option<MediaTime>,
        frame: T,
        out: &mut Vec<(MediaTime, T)>,
    ) {
        if self.released.is_some_and(|released| presentation < released) && self.depth < MAX_DEPTH {
            // The stream reorders more than it declared. This frame is late; the next will not be.
            self.depth += 1;
        }
        let at = self.held.partition_point(|(held, _)| *held <= presentation);
        self.held.insert(at, (presentation, frame));
        // A frame still to come is decoded later than this one, and presented no earlier than that. What
        // is late already waits for nothing.
        let due = decode.max(self.released);
        let proven = due.map_or(0, |due| self.held.partition_point(|(held, _)| *held <= due));
        let count = proven.max(self.held.len().saturating_sub(self.depth));
        self.release(count, out);
    }

    /// The frames that wait for their turn.
    pub(super) fn held_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.held.iter_mut().map(|(_, frame)| frame)
    }

    /// Appends what is presented up to and at `presentation`: nothing before that will come.
    pub(super) fn release_until(&mut self, presentation: MediaTime, out: &mut Vec<(MediaTime, T)>) {
        self.release(self.held.partition_point(|(held, _)| *held <= presentation), out);
    }

    /// Appends all that is held: the stream ended or its timestamps start anew.
    pub(super) fn flush(&mut self, out: &mut Vec<(MediaTime, T)>) {
        self.release(self.held.len(), out);
        self.released = None;
    }

    fn release(&mut self, count: usize, out: &mut Vec<(MediaTime, T)>) {
        for (presentation, frame) in self.held.drain(..count) {
            self.released = self.released.max(Some(presentation));
            out.push((presentation, frame));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(depth: usize, frames: &[(i64, Option<i64>)]) -> Vec<Vec<i64>> {
        let mut order = PresentationOrder::default();
        order.set_depth(depth);
        frames
            .iter()
            .map(|&(pts, dts)| {
                let mut out = Vec::new();
                order.push(MediaTime::from_ticks(pts), dts.map(MediaTime::from_ticks), pts, &mut out);
                out.into_iter().map(|(_, pts)| pts).collect()
            })
            .collect()
    }

    #[test]
    fn a_stream_without_b_frames_waits_for_nothing() {
        assert_eq!(run(0, &[(1, None), (2, None), (3, None)]), [vec![1], vec![2], vec![3]]);
    }

    #[test]
    fn holds_the_declared_depth() {
        let frames = [(0, None), (2, None), (1, None), (4, None), (3, None)];
        assert_eq!(run(1, &frames), [vec![], vec![0], vec![1], vec![2], vec![3]]);
    }

    #[test]
    fn decoding_timestamps_release_sooner_than_the_depth() {
        let frames = [(2, Some(0)), (5, Some(1)), (3, Some(2)), (4, Some(3)), (8, Some(4)), (6, Some(5))];
        assert_eq!(run(4, &frames), [vec![], vec![], vec![2], vec![3], vec![4], vec![5]]);
    }

    #[test]
    fn an_undeclared_depth_is_learnt_from_one_late_frame() {
        let frames = [(0, None), (2, None), (1, None), (4, None), (3, None), (6, None), (5, None)];
        let out = run(0, &frames);
        assert_eq!(out[2], [1], "late once");
        let rest: Vec<i64> = out[3..].concat();
        assert_eq!(rest, [3, 4, 5], "and in order from there on");
    }

    #[test]
    fn at_the_end_of_a_file_each_has_its_turn_and_no_other() {
        let mut order = PresentationOrder::default();
        order.set_depth(4);
        let mut out = Vec::new();
        for pts in [3, 1, 2] {
            order.push(MediaTime::from_ticks(pts), None, pts, &mut out);
        }
        for turn in 1..=3 {
            order.release_until(MediaTime::from_ticks(turn), &mut out);
            assert_eq!(out.iter().map(|(_, pts)| *pts).collect::<Vec<_>>(), (1..=turn).collect::<Vec<_>>());
        }
    }

    #[test]
    fn never_holds_more_than_the_standard_allows() {
        let mut order = PresentationOrder::default();
        order.set_depth(1_000);
        let mut out = Vec::new();
        for pts in 0..100 {
            order.push(MediaTime::from_ticks(pts), None, (), &mut out);
        }
        assert_eq!(out.len(), 100 - MAX_DEPTH);
    }
}
