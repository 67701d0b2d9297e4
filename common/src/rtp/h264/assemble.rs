//! Payloads with their timestamps to access units, each known to be whole or damaged.

use super::{Depacketizer, DepayError, nal};

/// A received access unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessUnit<M> {
    /// NAL units with start codes (ITU-T H.264 annex B). What there is of it, if it is damaged.
    pub data: Vec<u8>,
    /// The unwrapped RTP timestamp its packets share, in ticks.
    pub timestamp: i64,
    /// What the caller told with its first packet.
    pub start: M,
    /// What the caller told with its last packet.
    pub end: M,
    /// Why it must not be delivered as good, if so.
    pub damage: Option<DepayError>,
}

/// Groups payloads into access units: by the marker, and where that packet was lost by the change of the
/// timestamp (RFC 6184 section 5.1).
///
/// `M` is what the caller wants to know of the first and last packets, such as their arrival.
#[derive(Debug, Default)]
pub struct AccessUnitAssembler<M> {
    depacketizer: Depacketizer,
    current: Option<AccessUnit<M>>,
    /// Packets were lost since the last one; where they belonged is known only with the next.
    gap: bool,
    /// Packets were lost before the unit in progress, and nothing has told yet whether it was there that
    /// they belonged.
    doubtful: bool,
}

impl<M: Clone> AccessUnitAssembler<M> {
    /// An assembler that knows of nothing before.
    #[must_use]
    pub fn new() -> Self {
        Self { depacketizer: Depacketizer::new(), current: None, gap: false, doubtful: false }
    }

    /// Takes the next payload in sequence order and passes each access unit that it ends to `emit`: none,
    /// one, or two where a lone packet follows a unit without its marker.
    pub fn handle(
        &mut self,
        timestamp: i64,
        marker: bool,
        payload: &[u8],
        meta: M,
        mut emit: impl FnMut(AccessUnit<M>),
    ) {
        let gap = std::mem::take(&mut self.gap);
        if gap && self.current.is_some() {
            self.depacketizer.gap();
        }
        if self.current.as_ref().is_some_and(|unit| unit.timestamp != timestamp) {
            self.flush().into_iter().for_each(&mut emit);
        }
        if self.current.is_none() {
            self.doubtful = gap;
        }
        if self.doubtful {
            match start(payload) {
                Start::Certain => self.doubtful = false,
                Start::Open => {}
                Start::Doubtful => self.depacketizer.gap(),
            }
        }
        let unit = self.current.get_or_insert_with(|| AccessUnit {
            data: Vec::new(),
            timestamp,
            start: meta.clone(),
            end: meta.clone(),
            damage: None,
        });
        unit.end = meta;
        // The depacketizer forgets at the marker, so what it says now is kept with the unit.
        if let Err(damage) = self.depacketizer.handle(payload, marker, &mut unit.data) {
            unit.damage.get_or_insert(damage);
        }
        if marker {
            self.flush().into_iter().for_each(emit);
        }
    }

    /// Packets were lost here.
    pub fn gap(&mut self) {
        self.gap = true;
    }

    /// Ends the access unit in progress, for instance when the source goes away, and gives it out.
    pub fn flush(&mut self) -> Option<AccessUnit<M>> {
        let doubt = std::mem::take(&mut self.doubtful).then_some(DepayError::Lost);
        let damage = self.depacketizer.damage().or(doubt);
        self.depacketizer.reset();
        let mut unit = self.current.take()?;
        unit.damage = unit.damage.or(damage);
        Some(unit)
    }
}

/// What a payload behind lost packets says of the access unit it is in.
enum Start {
    /// Nothing of the unit can be missing before it.
    Certain,
    /// The next payload tells.
    Open,
    /// What was lost may have been part of the unit.
    Doubtful,
}

/// Whether packets lost just before this payload were none of its access unit's own. Certain are a
/// delimiter, a sequence parameter set, and the first slice of a picture that is not IDR (before an IDR
/// slice, the parameter sets may be what was lost); supplemental enhancement information leaves it open.
fn start(payload: &[u8]) -> Start {
    let (&header, rest) = payload.split_first().unwrap_or((&0, &[]));
    let (found, body) = match (header & nal::TYPE_MASK, rest) {
        (nal::STAP_A, [_, _, first, body @ ..]) => (first & nal::TYPE_MASK, body),
        (nal::FU_A, [fu, body @ ..]) if fu & nal::FU_START != 0 => (fu & nal::TYPE_MASK, body),
        (found, body) => (found, body),
    };
    match found {
        nal::ACCESS_UNIT_DELIMITER | nal::SPS => Start::Certain,
        // first_mb_in_slice is ue(v): a leading one bit is zero, the first macroblock.
        nal::SLICE if body.first().is_some_and(|byte| byte & 0x80 != 0) => Start::Certain,
        nal::SEI => Start::Open,
        _ => Start::Doubtful,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPS: &[u8] = b"\x67s";
    const P_FIRST: &[u8] = b"\x41\x9a";
    const P_SECOND: &[u8] = b"\x41\x1a";
    const IDR: &[u8] = b"\x65\x88";

    #[derive(Clone, Copy)]
    enum Step {
        Packet(i64, bool, &'static [u8]),
        Gap,
    }
    use Step::{Gap, Packet};

    /// Timestamp and soundness of each unit.
    fn run(steps: &[Step]) -> Vec<(i64, Option<DepayError>)> {
        let (mut assembler, mut out) = (AccessUnitAssembler::new(), Vec::new());
        for step in steps {
            match *step {
                Packet(timestamp, marker, payload) => {
                    assembler.handle(timestamp, marker, payload, (), |u| out.push((u.timestamp, u.damage)));
                }
                Gap => assembler.gap(),
            }
        }
        out.extend(assembler.flush().map(|u| (u.timestamp, u.damage)));
        out
    }

    const LOST: Option<DepayError> = Some(DepayError::Lost);

    #[test]
    fn whole_units_end_at_the_marker() {
        let steps = [Packet(1, false, SPS), Packet(1, true, IDR), Packet(2, true, P_FIRST)];
        assert_eq!(run(&steps), [(1, None), (2, None)]);
    }

    #[test]
    fn a_hole_inside_damages_only_its_unit() {
        let steps = [Packet(1, false, P_FIRST), Gap, Packet(1, true, P_SECOND), Packet(2, true, P_FIRST)];
        assert_eq!(run(&steps), [(1, LOST), (2, None)]);
    }

    #[test]
    fn a_lost_marker_damages_the_unit_before_and_not_the_one_that_plainly_begins() {
        let steps = [Packet(1, false, P_FIRST), Gap, Packet(2, true, P_FIRST), Packet(3, true, P_FIRST)];
        assert_eq!(run(&steps), [(1, LOST), (2, None), (3, None)]);
        let steps = [Packet(1, false, P_FIRST), Gap, Packet(2, false, SPS), Packet(2, true, IDR)];
        assert_eq!(run(&steps), [(1, LOST), (2, None)]);
    }

    #[test]
    fn a_unit_whose_start_may_be_missing_is_damaged() {
        for payload in [P_SECOND, IDR, b"\x7c\x01\x9a", b"\x7c\x45\x88"] {
            let steps = [Packet(1, true, P_FIRST), Gap, Packet(2, true, payload), Packet(3, true, P_FIRST)];
            assert_eq!(run(&steps), [(1, None), (2, LOST), (3, None)], "{payload:x?}");
        }
    }

    #[test]
    fn capture_time_in_front_does_not_hide_where_a_unit_begins() {
        // What our sender makes of a P frame: SEI, then the slice. Only what follows it tells whether
        // anything of this unit was lost before it.
        const SEI: &[u8] = b"\x06sei";
        for slice in [P_FIRST, b"\x7c\x81\x9a"] {
            let steps = [Packet(1, false, P_FIRST), Gap, Packet(2, false, SEI), Packet(2, false, slice)];
            let tail: [Step; 2] = [
                Packet(2, true, if slice == P_FIRST { P_SECOND } else { b"\x7c\x41x" }),
                Packet(3, true, P_FIRST),
            ];
            assert_eq!(run(&[&steps[..], &tail].concat()), [(1, LOST), (2, None), (3, None)]);
        }
        for next in [IDR, P_SECOND, b"\x7c\x01\x9a"] {
            let steps = [Packet(1, true, P_FIRST), Gap, Packet(2, false, SEI), Packet(2, true, next)];
            assert_eq!(run(&steps), [(1, None), (2, LOST)], "{next:x?}");
        }
        // Nothing but SEI, and SEI with a hole behind it.
        let steps = [Packet(1, true, P_FIRST), Gap, Packet(2, true, SEI), Packet(3, true, P_FIRST)];
        assert_eq!(run(&steps), [(1, None), (2, LOST), (3, None)]);
        let steps = [Packet(1, true, P_FIRST), Gap, Packet(2, false, SEI), Gap, Packet(2, true, P_FIRST)];
        assert_eq!(run(&steps), [(1, None), (2, LOST)]);
        let steps = [Packet(1, true, P_FIRST), Gap, Packet(2, false, SEI), Packet(3, true, P_FIRST)];
        assert_eq!(run(&steps), [(1, None), (2, LOST), (3, None)]);
    }

    #[test]
    fn a_marker_that_never_came_is_not_a_hole() {
        // Some senders set no marker: the timestamp alone separates.
        let steps = [Packet(1, false, P_FIRST), Packet(2, false, P_FIRST), Packet(3, false, P_FIRST)];
        assert_eq!(run(&steps), [(1, None), (2, None), (3, None)]);
    }

    #[test]
    fn an_unfinished_fragment_ends_damaged_with_the_timestamp() {
        let steps = [Packet(1, false, b"\x7c\x81\x9a"), Packet(2, true, P_FIRST)];
        assert_eq!(run(&steps), [(1, Some(DepayError::Fragments)), (2, None)]);
    }

    #[test]
    fn meta_is_of_the_first_and_the_last_packet() {
        let (mut assembler, mut out) = (AccessUnitAssembler::new(), Vec::new());
        for (meta, marker) in [(10, false), (20, false), (30, true)] {
            assembler.handle(0, marker, P_FIRST, meta, |unit| out.push((unit.start, unit.end)));
        }
        assert_eq!(out, [(10, 30)]);
    }
}
