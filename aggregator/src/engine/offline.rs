//! The engine over a capture file: deterministic, nothing here reads a clock.

use std::io::{self, Read, Write};

use framelock_common::time::{HostTime, Span, Utc};

use super::Engine;
use crate::config::Settings;
use crate::source::pcap::{self, PcapError, PcapReader};
use crate::source::{Channel, Datagram, PortSpec, SourceSpec};
use crate::timestamp::HostClock;

/// Our SSRC's seed: nobody hears it.
const SEED: u64 = 1;

/// Why a capture cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The file is damaged, or none of pcap.
    #[error(transparent)]
    Pcap(#[from] PcapError),
    /// The file holds nothing for the ports that were named.
    #[error("the capture has no UDP datagram to {wanted}; its UDP goes to {found}")]
    NoDatagrams {
        /// The ports asked for.
        wanted: String,
        /// Those in the file.
        found: String,
    },
    /// A source that is no port.
    #[error("{0}: a capture is replayed by UDP ports; name them as rtp://:PORT or udp://:PORT")]
    NoPort(Box<SourceSpec>),
    /// The output cannot be written.
    #[error("cannot write packets: {0}")]
    Write(#[source] io::Error),
}

/// Replays the datagrams of a pcap file through an engine with `settings`, by the ports of its sources
/// whatever host they were sent to, and writes one line of JSON for each packet to `out`, at most `count`
/// of them. The capture's clock stands for the host's. Returns the number of packets written.
///
/// # Errors
/// When the file is damaged; the packets before that place are written.
pub fn replay_pcap(
    input: impl Read,
    settings: &Settings,
    count: Option<u64>,
    out: &mut impl Write,
) -> Result<u64, OfflineError> {
    let mut reader = PcapReader::new(input)?;
    let mut replay = Replay::new(settings, count)?;
    let damaged = loop {
        match reader.next_datagram() {
            Ok(Some(datagram)) => replay.handle(&datagram, out).map_err(OfflineError::Write)?,
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
        if replay.done() {
            return Ok(replay.written);
        }
    };
    replay.finish(out).map_err(OfflineError::Write)?;
    match damaged {
        Some(error) => Err(error.into()),
        None if replay.taken == 0 => Err(replay.nothing()),
        None => Ok(replay.written),
    }
}

struct Replay {
    engine: Engine,
    sources: Vec<PortSpec>,
    clock: HostClock,
    now: HostTime,
    count: Option<u64>,
    written: u64,
    taken: u64,
    /// Ports that nobody asked for, for the message if none of the others occurs.
    strange: Vec<u16>,
}

impl Replay {
    fn new(settings: &Settings, count: Option<u64>) -> Result<Self, OfflineError> {
        let engine = Engine::new(settings, SEED);
        let port = |source: SourceSpec| source.port().ok_or_else(|| OfflineError::NoPort(Box::new(source)));
        let sources = engine.sources().map(port).collect::<Result<_, _>>()?;
        let epoch = HostTime::from_nanos(0);
        Ok(Self {
            engine,
            sources,
            clock: HostClock::new(epoch, Utc::from_unix_nanos(0), Span::ZERO),
            now: epoch,
            count,
            written: 0,
            taken: 0,
            strange: Vec::new(),
        })
    }

    fn done(&self) -> bool {
        self.count.is_some_and(|count| self.written >= count)
    }

    fn handle(&mut self, datagram: &pcap::Datagram, out: &mut impl Write) -> io::Result<()> {
        let port = datagram.to.port();
        let main = self.sources.iter().position(|source| source.bind.port() == port);
        let rtcp = || self.sources.iter().position(|source| source.rtcp_port() == Some(port));
        let Some((index, channel)) =
            main.map(|i| (i, Channel::Main)).or_else(|| Some((rtcp()?, Channel::Rtcp)))
        else {
            if self.strange.len() < 8 && !self.strange.contains(&port) {
                self.strange.push(port);
            }
            return Ok(());
        };
        self.taken += 1;
        let arrival = HostTime::from_nanos(datagram.time.as_unix_nanos()).max(self.now);
        self.advance(arrival, out)?;
        let datagram = Datagram { channel, from: datagram.from, data: &datagram.payload, arrival };
        self.engine.handle_datagram(index, &datagram, &self.clock);
        self.settle(out)
    }

    /// Lets everything happen that is due before `until`.
    fn advance(&mut self, until: HostTime, out: &mut impl Write) -> io::Result<()> {
        while let Some(due) = self.engine.poll_timeout().filter(|due| *due < until) {
            // A timer that does not move on must not stop the replay.
            self.now = if due > self.now { due } else { self.now + Span::from_millis(1) }.min(until);
            self.engine.handle_timeout(self.now, &self.clock);
            self.settle(out)?;
            if self.now == until {
                break;
            }
        }
        self.now = until;
        Ok(())
    }

    fn settle(&mut self, out: &mut impl Write) -> io::Result<()> {
        // What we would answer, nobody hears; it has to be taken for the timers to move on.
        while self.engine.poll_transmit(self.now).is_some() {}
        while let Some(packet) = self.engine.poll_packet() {
            if self.done() {
                return Ok(());
            }
            packet.write_json(self.clock.utc_at(packet.ready).utc, out)?;
            self.written += 1;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.engine.finish(&self.clock);
        self.settle(out)
    }

    fn nothing(&self) -> OfflineError {
        let list =
            |ports: Vec<String>| if ports.is_empty() { "no port".to_owned() } else { ports.join(", ") };
        OfflineError::NoDatagrams {
            wanted: list(self.sources.iter().map(|s| format!("port {}", s.bind.port())).collect()),
            found: list(self.strange.iter().map(|port| format!("port {port}")).collect()),
        }
    }
}
