//! How often one address may ask: a bounded table of token buckets.
//!
//! The table has a fixed size. An address has a few places it may take, found by a keyed hash; where all are
//! taken, the one silent for longest gives way and the newcomer starts with a full bucket. So a flood from
//! forged addresses can at worst make the limit forget: it never costs memory, and never locks anybody out.

use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;

use crate::time::{HostTime, Span};

/// Requests that an address may make at once.
pub(super) const BURST: i64 = 64;
/// The sustained interval between requests of one address, and what one request costs.
pub(super) const INTERVAL: Span = Span::from_micros(31_250);
/// From one kiss-o'-death to an address to the next. A kiss is for an honest client with a wrong setting; who
/// does not heed it gets silence.
pub(super) const KISS_INTERVAL: Span = Span::from_secs(8);

const WAYS: usize = 4;
const SETS: usize = 512;
/// Addresses that are remembered.
pub(super) const CAPACITY: usize = WAYS * SETS;

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Answer it.
    Answer,
    /// Say that it was one too many.
    Kiss,
    /// Say nothing.
    Silence,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    key: u128,
    /// When the bucket will be full again if nothing more is asked.
    full_at: HostTime,
    /// When it was last asked.
    used: HostTime,
    kissed: Option<HostTime>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct RateLimit {
    seed: u64,
    buckets: Vec<Option<Bucket>>,
    evicted: u64,
}

impl RateLimit {
    /// `seed` should be unpredictable, so that nobody can aim at the places of another address.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, buckets: vec![None; CAPACITY], evicted: 0 }
    }

    /// Addresses that had to give way to others.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// A request from `address` at `now`.
    pub(super) fn handle(&mut self, address: IpAddr, now: HostTime) -> Verdict {
        let bucket = self.bucket(key(address), now);
        bucket.used = now;
        let full_at = bucket.full_at.max(now) + INTERVAL;
        if full_at - now <= INTERVAL * BURST {
            bucket.full_at = full_at;
            return Verdict::Answer;
        }
        if bucket.kissed.is_none_or(|at| now - at >= KISS_INTERVAL) {
            bucket.kissed = Some(now);
            return Verdict::Kiss;
        }
        Verdict::Silence
    }

    fn bucket(&mut self, key: u128, now: HostTime) -> &mut Bucket {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write_u128(key);
        #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
        let set = hasher.finish() as usize % SETS;
        let ways = &mut self.buckets[set * WAYS..][..WAYS];
        let known = ways.iter().position(|way| way.is_some_and(|bucket| bucket.key == key));
        // An empty place is older than any.
        let oldest = || (0..WAYS).min_by_key(|&way| ways[way].map(|bucket| bucket.used)).unwrap_or(0);
        let way = known.unwrap_or_else(oldest);
        let slot = &mut ways[way];
        if known.is_none() {
            self.evicted += u64::from(slot.take().is_some());
        }
        slot.get_or_insert(Bucket { key, full_at: now, used: now, kissed: None })
    }
}

/// What counts as one address: an IPv4 address however it is written, or an IPv6 network of 64 bits, of which
/// one machine has all addresses.
fn key(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6) >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const START: HostTime = HostTime::from_nanos(1_000_000_000);

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n))
    }

    fn ask(limit: &mut RateLimit, address: IpAddr, at: HostTime, times: usize) -> [usize; 3] {
        let mut counts = [0; 3];
        for _ in 0..times {
            counts[limit.handle(address, at) as usize] += 1;
        }
        counts
    }

    #[test]
    fn a_burst_is_answered_then_one_kiss_then_silence_and_time_heals() {
        let mut limit = RateLimit::new(1);
        assert_eq!(ask(&mut limit, v4(1), START, 100), [64, 1, 35]);
        assert_eq!(ask(&mut limit, v4(2), START, 3), [3, 0, 0], "another address is another matter");
        assert_eq!(ask(&mut limit, v4(1), START + Span::from_secs(1), 100), [32, 0, 68]);
        assert_eq!(ask(&mut limit, v4(1), START + KISS_INTERVAL, 100), [64, 1, 35]);
    }

    #[test]
    fn one_machine_is_one_address() {
        let mut limit = RateLimit::new(1);
        let mapped = IpAddr::V6(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped());
        assert_eq!(ask(&mut limit, v4(1), START, 64), [64, 0, 0]);
        assert_eq!(ask(&mut limit, mapped, START, 1), [0, 1, 0]);
        let v6 = |low: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, low, 0, 0, low));
        for low in 0..64 {
            assert_eq!(limit.handle(v6(low), START), Verdict::Answer);
        }
        assert_eq!(limit.handle(v6(64), START), Verdict::Kiss);
    }

    #[test]
    fn a_flood_of_forged_addresses_costs_no_memory_and_locks_nobody_out() {
        let mut limit = RateLimit::new(7);
        for n in 0..200_000 {
            assert_eq!(limit.handle(v4(n), START), Verdict::Answer);
        }
        assert_eq!(limit.buckets.len(), CAPACITY);
        assert!(limit.evicted() >= 200_000 - CAPACITY as u64);
        assert_eq!(limit.handle(v4(999_999), START), Verdict::Answer);
    }

    proptest! {
        /// Whatever the pattern of requests: no address gets more answers in any window than burst and rate
        /// allow, and kisses are far apart. Clocks that stand still or go back change nothing.
        #[test]
        fn the_rate_holds_in_every_window(
            seed: u64,
            steps in proptest::collection::vec((-5_000_000_i64..40_000_000, 0_u32..3, 1_usize..40), 1..120),
        ) {
            let mut limit = RateLimit::new(seed);
            let mut now = START;
            let mut answered: Vec<(u32, HostTime)> = Vec::new();
            let mut kissed: Vec<(u32, HostTime)> = Vec::new();
            for (ns, who, times) in steps {
                now += Span::from_nanos(ns);
                for _ in 0..times {
                    match limit.handle(v4(who), now) {
                        Verdict::Answer => answered.push((who, now)),
                        Verdict::Kiss => kissed.push((who, now)),
                        Verdict::Silence => {}
                    }
                }
            }
            for who in 0..3 {
                let of = |list: &[(u32, HostTime)]| -> Vec<HostTime> {
                    list.iter().filter(|(w, _)| *w == who).map(|&(_, at)| at).collect()
                };
                let (times, kisses) = (of(&answered), of(&kissed));
                for first in 0..times.len() {
                    let mut end = times[first];
                    for last in first..times.len() {
                        end = end.max(times[last]);
                        let start = times[first..=last].iter().copied().min().unwrap_or(end);
                        let allowed = BURST + (end - start).as_nanos() / INTERVAL.as_nanos() + 1;
                        prop_assert!((last - first + 1) as i64 <= allowed);
                    }
                }
                prop_assert!(kisses.windows(2).all(|pair| pair[1] - pair[0] >= KISS_INTERVAL));
            }
        }
    }
}
