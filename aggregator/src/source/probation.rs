//! Streams that have no camera yet: what they must show before anything is done for them, and which of
//! them is forgotten when there are too many. A datagram with a made-up source costs its sender nothing, so
//! until then a stream costs us a few datagrams of memory and gets no answer.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use framelock_common::time::HostTime;

use super::{Channel, Datagram};

/// Packets kept of a stream, and their bytes; the oldest go first.
const MAX_HELD: usize = 32;
const MAX_BYTES: usize = 65_536;

/// An RTP packet that waits for its stream to show that it is one.
#[derive(Debug)]
pub(super) struct Held {
    sequence: u16,
    channel: Channel,
    from: SocketAddr,
    arrival: HostTime,
    data: Vec<u8>,
}

impl Held {
    /// The datagram as it arrived.
    pub(super) fn datagram(&self) -> Datagram<'_> {
        Datagram { channel: self.channel, from: self.from, data: &self.data, arrival: self.arrival }
    }
}

/// Whether a stream has sent two RTP packets in sequence (RFC 3550 appendix A.1).
#[derive(Debug, Default)]
pub(super) struct Probation {
    held: VecDeque<Held>,
    bytes: usize,
    passed: bool,
}

impl Probation {
    /// Takes the next RTP packet of the stream, number `sequence`; `true` if the stream has shown by now
    /// that it is one. [`Self::take`] gives what was kept until then.
    pub(super) fn passes(&mut self, sequence: u16, datagram: &Datagram<'_>) -> bool {
        let follows = |held: &Held| held.sequence.wrapping_add(1) == sequence;
        self.passed |= self.held.back().is_some_and(follows);
        if !self.passed {
            let &Datagram { channel, from, data, arrival } = datagram;
            self.bytes += data.len();
            self.held.push_back(Held { sequence, channel, from, arrival, data: data.to_vec() });
            while self.held.len() > MAX_HELD || self.bytes > MAX_BYTES {
                self.bytes -= self.held.pop_front().map_or(self.bytes, |held| held.data.len());
            }
        }
        self.passed
    }

    /// The packets before the one that passed, if they have not been taken yet.
    pub(super) fn take(&mut self) -> VecDeque<Held> {
        self.bytes = 0;
        std::mem::take(&mut self.held)
    }
}

/// What is weighed when a stream must be forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stranger {
    /// Its place among all streams.
    pub(super) at: usize,
    /// Where it comes from.
    pub(super) ip: IpAddr,
    /// How many datagrams it has sent.
    pub(super) packets: u64,
    /// When it was last heard.
    pub(super) last: HostTime,
}

/// The stream to forget: of the host that has the most of them the one that sent least, and of those the
/// one silent for longest. So a host with many made-up streams pushes out its own.
pub(super) fn least(strangers: &[Stranger]) -> Option<usize> {
    let mut hosts: HashMap<IpAddr, usize> = HashMap::new();
    for stranger in strangers {
        *hosts.entry(stranger.ip).or_default() += 1;
    }
    let worth = |stranger: &&Stranger| {
        let crowd = hosts.get(&stranger.ip).copied().unwrap_or(0);
        (std::cmp::Reverse(crowd), stranger.packets, stranger.last)
    };
    strangers.iter().min_by_key(worth).map(|stranger| stranger.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_packets_in_sequence_pass_and_strays_do_not() {
        let datagram = Datagram {
            channel: Channel::Main,
            from: SocketAddr::from(([10, 0, 0, 1], 5)),
            data: b"x",
            arrival: HostTime::from_nanos(0),
        };
        let mut probation = Probation::default();
        let passed: Vec<_> =
            [7, 9, 65_535, 0, 5].map(|sequence| probation.passes(sequence, &datagram)).to_vec();
        assert_eq!(passed, [false, false, false, true, true]);
        let held: Vec<_> = probation.take().iter().map(|held| held.sequence).collect();
        assert_eq!(held, [7, 9, 65_535], "what reordering put aside is not lost");
        assert!(probation.take().is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut probation = Probation::default();
        for n in 0..1_000_u16 {
            let data = vec![0; usize::from(n) * 60];
            let from = SocketAddr::from(([10, 0, 0, 1], 5));
            let arrival = HostTime::from_nanos(0);
            probation.passes(n * 2, &Datagram { channel: Channel::Main, from, data: &data, arrival });
            assert!(probation.held.len() <= MAX_HELD && probation.bytes <= MAX_BYTES);
            assert_eq!(probation.bytes, probation.held.iter().map(|held| held.data.len()).sum::<usize>());
        }
    }

    #[test]
    fn the_host_with_most_streams_loses_one_and_then_the_quietest_goes() {
        let stranger = |at, host, packets, ms: i64| Stranger {
            at,
            ip: IpAddr::from([10, 0, 0, host]),
            packets,
            last: HostTime::from_nanos(ms * 1_000_000),
        };
        let crowd = [stranger(0, 1, 1, 0), stranger(1, 2, 9, 5), stranger(2, 2, 8, 6), stranger(3, 2, 8, 5)];
        assert_eq!(least(&crowd), Some(3));
        assert_eq!(least(&crowd[..2]), Some(0));
        assert_eq!(least(&[]), None);
    }
}
