//! Captured network traffic: a bounded reader of classic pcap files (as `tcpdump -w` writes them)
//! that yields the UDP datagrams with their capture times. pcapng is told apart and refused with
//! the command that converts it.
//!
//! Format: draft-ietf-opsawg-pcap. Link layers: Ethernet (with 802.1Q tags), Linux cooked v1 and v2,
//! raw IP and BSD loopback. IP fragments, other protocols and packets cut short are counted and skipped.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use framelock_common::time::Utc;

/// The largest packet record accepted; tcpdump's own limit.
const MAX_PACKET: u32 = 262_144;

/// One UDP datagram of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// When it was captured.
    pub time: Utc,
    /// Its sender.
    pub from: SocketAddr,
    /// Its destination.
    pub to: SocketAddr,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

/// Why a file cannot be read on. Offsets are bytes from the start of the file.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    /// Reading failed.
    #[error("pcap: at byte {offset}: {source}")]
    Io {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The first four bytes are none of a pcap file.
    #[error("pcap: not a pcap file (starts with {0:02x?})")]
    Magic([u8; 4]),
    /// A pcapng file.
    #[error("pcap: this is a pcapng file; convert it with: editcap -F pcap IN OUT")]
    Pcapng,
    /// A link layer that carries no IP as far as this reader knows.
    #[error("pcap: link type {0} is not supported (Ethernet, Linux cooked, raw IP and loopback are)")]
    LinkType(u32),
    /// The file ends inside a record.
    #[error("pcap: the file ends inside the record at byte {0}; what came before was read")]
    Truncated(u64),
    /// A record header that cannot be true.
    #[error("pcap: record at byte {offset} claims {length} bytes; the file is damaged from there on")]
    Length {
        /// Where the record starts.
        offset: u64,
        /// What it claims.
        length: u32,
    },
}

/// Reads datagrams from a pcap file, one record in memory at a time.
#[derive(Debug)]
pub struct PcapReader<R> {
    input: R,
    offset: u64,
    big_endian: bool,
    nanoseconds: bool,
    link: Link,
    skipped: u64,
}

#[derive(Clone, Copy, Debug)]
enum Link {
    Ethernet,
    Cooked,
    CookedV2,
    Raw,
    Loopback,
}

impl<R: Read> PcapReader<R> {
    /// Reads the file header.
    ///
    /// # Errors
    /// When the file is none of pcap, or of a link layer without IP.
    pub fn new(mut input: R) -> Result<Self, PcapError> {
        let mut header = [0; 24];
        input.read_exact(&mut header).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => PcapError::Truncated(0),
            _ => PcapError::Io { offset: 0, source: error },
        })?;
        let magic = [header[0], header[1], header[2], header[3]];
        let (big_endian, nanoseconds) = match magic {
            [0xd4, 0xc3, 0xb2, 0xa1] => (false, false),
            [0x4d, 0x3c, 0xb2, 0xa1] => (false, true),
            [0xa1, 0xb2, 0xc3, 0xd4] => (true, false),
            [0xa1, 0xb2, 0x3c, 0x4d] => (true, true),
            [0x0a, 0x0d, 0x0d, 0x0a] => return Err(PcapError::Pcapng),
            _ => return Err(PcapError::Magic(magic)),
        };
        let word = [header[20], header[21], header[22], header[23]];
        let link_type = if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) };
        let link = match link_type & 0xffff {
            0 => Link::Loopback,
            1 => Link::Ethernet,
            12 | 14 | 101 | 228 | 229 => Link::Raw,
            113 => Link::Cooked,
            276 => Link::CookedV2,
            other => return Err(PcapError::LinkType(other)),
        };
        Ok(Self { input, offset: 24, big_endian, nanoseconds, link, skipped: 0 })
    }

    /// Records that held no whole UDP datagram.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The next UDP datagram; `None` at the end of the file.
    ///
    /// # Errors
    /// When the file is damaged or ends inside a record; reading on is pointless then.
    pub fn next_datagram(&mut self) -> Result<Option<Datagram>, PcapError> {
        while let Some((time, frame, whole)) = self.next_record()? {
            match whole.then(|| self.network_layer(&frame).and_then(udp)).flatten() {
                Some((from, to, payload)) => {
                    return Ok(Some(Datagram { time, from, to, payload: payload.to_vec() }));
                }
                None => self.skipped += 1,
            }
        }
        Ok(None)
    }

    /// One record: its time, its bytes and whether they are the whole packet.
    fn next_record(&mut self) -> Result<Option<(Utc, Vec<u8>, bool)>, PcapError> {
        let start = self.offset;
        let mut header = [0; 16];
        match self.fill(&mut header, start)? {
            0 => return Ok(None),
            16 => {}
            _ => return Err(PcapError::Truncated(start)),
        }
        let [seconds, fraction, captured, original] = [0, 4, 8, 12].map(|at| self.word(&header[at..at + 4]));
        if captured > MAX_PACKET || captured > original.max(captured.min(65_535)) {
            return Err(PcapError::Length { offset: start, length: captured });
        }
        let mut data = vec![0; captured as usize];
        if self.fill(&mut data, start)? < data.len() {
            return Err(PcapError::Truncated(start));
        }
        let fraction = i64::from(fraction) * if self.nanoseconds { 1 } else { 1_000 };
        let time = Utc::from_unix_nanos(i64::from(seconds) * 1_000_000_000 + fraction);
        Ok(Some((time, data, captured >= original)))
    }

    fn fill(&mut self, buffer: &mut [u8], record: u64) -> Result<usize, PcapError> {
        let mut done = 0;
        while done < buffer.len() {
            match self.input.read(&mut buffer[done..]) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(PcapError::Io { offset: record, source }),
            }
        }
        self.offset += done as u64;
        Ok(done)
    }

    fn word(&self, bytes: &[u8]) -> u32 {
        let word = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if self.big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
    }

    /// The IP packet inside a link-layer frame.
    fn network_layer<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        match self.link {
            Link::Raw => Some(frame),
            Link::Loopback => frame.get(4..),
            Link::Cooked => frame.get(16..),
            Link::CookedV2 => frame.get(20..),
            Link::Ethernet => {
                let mut at = 12;
                // 802.1Q and 802.1ad tags.
                while matches!(frame.get(at..at + 2)?, [0x81, 0x00] | [0x88, 0xa8]) {
                    at += 4;
                }
                frame.get(at + 2..)
            }
        }
    }
}

/// The addresses and payload of a whole UDP datagram in an IP packet.
fn udp(ip: &[u8]) -> Option<(SocketAddr, SocketAddr, &[u8])> {
    let (from, to, segment) = match ip.first()? >> 4 {
        4 => ipv4(ip)?,
        6 => ipv6(ip)?,
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes([*segment.get(at)?, *segment.get(at + 1)?]));
    let length = usize::from(port(4)?);
    let payload = segment.get(8..length)?;
    Some((SocketAddr::new(from, port(0)?), SocketAddr::new(to, port(2)?), payload))
}

fn ipv4(ip: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let header = usize::from(ip[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
    let fragment = u16::from_be_bytes([*ip.get(6)?, *ip.get(7)?]) & 0x3fff;
    if header < 20 || fragment != 0 || *ip.get(9)? != 17 {
        return None;
    }
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?).into());
    Some((address(12)?, address(16)?, ip.get(header..total)?))
}

fn ipv6(ip: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let length = usize::from(u16::from_be_bytes([*ip.get(4)?, *ip.get(5)?]));
    if *ip.get(6)? != 17 {
        return None;
    }
    let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(ip.get(at..at + 16)?).ok()?).into());
    Some((address(8)?, address(24)?, ip.get(40..40 + length)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(nanoseconds: bool, link: u32, frames: &[(u32, u32, Vec<u8>)]) -> Vec<u8> {
        let magic: u32 = if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
        let mut out = magic.to_le_bytes().to_vec();
        out.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0]);
        out.extend(link.to_le_bytes());
        for (seconds, fraction, frame) in frames {
            let length = u32::try_from(frame.len()).unwrap();
            for word in [*seconds, *fraction, length, length] {
                out.extend(word.to_le_bytes());
            }
            out.extend(frame);
        }
        out
    }

    fn ipv4_udp(payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(8 + payload.len()).unwrap();
        let mut ip = vec![0x45, 0];
        ip.extend((20 + length).to_be_bytes());
        ip.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        ip.extend([0x13, 0x88, 0x13, 0x89]);
        ip.extend(length.to_be_bytes());
        ip.extend([0, 0]);
        ip.extend(payload);
        ip
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<Datagram>, PcapError> {
        let mut reader = PcapReader::new(bytes)?;
        let mut all = Vec::new();
        while let Some(datagram) = reader.next_datagram()? {
            all.push(datagram);
        }
        Ok(all)
    }

    #[test]
    fn reads_udp_through_every_link_layer() {
        let ip = ipv4_udp(b"hello");
        let with = |prefix: &[u8]| [prefix, &ip].concat();
        for (link, frame) in [
            (101, with(&[])),
            (1, with(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 8, 0])),
            (1, with(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x81, 0, 0, 5, 8, 0])),
            (113, with(&[0; 16])),
            (276, with(&[0; 20])),
            (0, with(&[2, 0, 0, 0])),
        ] {
            // Ethernet pads short frames: bytes after the IP packet are no payload.
            let padded = [&frame[..], &[0; 9]].concat();
            let all = read_all(&file(true, link, &[(1_790_000_000, 5, padded)])).unwrap();
            assert_eq!(all.len(), 1, "link {link}");
            assert_eq!(all[0].payload, b"hello");
            assert_eq!(all[0].from, "10.0.0.1:5000".parse().unwrap());
            assert_eq!(all[0].to, "10.0.0.2:5001".parse().unwrap());
            assert_eq!(all[0].time, Utc::from_unix_nanos(1_790_000_000_000_000_005));
        }
    }

    #[test]
    fn reads_ipv6() {
        let mut ip = vec![0x60, 0, 0, 0, 0, 11, 17, 64];
        ip.extend(Ipv6Addr::LOCALHOST.octets());
        ip.extend(Ipv6Addr::LOCALHOST.octets());
        ip.extend([0, 1, 0, 2, 0, 11, 0, 0, b'a', b'b', b'c']);
        let all = read_all(&file(false, 101, &[(1, 7, ip)])).unwrap();
        assert_eq!((&all[0].payload[..], all[0].to), (&b"abc"[..], "[::1]:2".parse().unwrap()));
        assert_eq!(all[0].time, Utc::from_unix_nanos(1_000_007_000));
    }

    #[test]
    fn names_the_place_where_a_file_is_damaged() {
        let good = file(false, 101, &[(0, 0, ipv4_udp(b"x")), (0, 0, ipv4_udp(b"y"))]);
        let second = 24 + 16 + 29;
        let cut = &good[..good.len() - 3];
        assert!(matches!(read_all(cut), Err(PcapError::Truncated(at)) if at == second as u64));
        let mut lying = good.clone();
        lying[second + 8..second + 12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(read_all(&lying), Err(PcapError::Length { offset, .. }) if offset == second as u64));
        assert!(matches!(read_all(b"\x0a\x0d\x0d\x0a____________________"), Err(PcapError::Pcapng)));
        assert!(matches!(read_all(&[7; 24]), Err(PcapError::Magic(_))));
        assert!(matches!(read_all(b"short"), Err(PcapError::Truncated(0))));
    }

    #[test]
    fn skips_what_is_no_whole_datagram() {
        let mut fragment = ipv4_udp(b"part");
        fragment[6] = 0x20;
        let mut tcp = ipv4_udp(b"tcp");
        tcp[9] = 6;
        let frames = [fragment, tcp, vec![], vec![0x45], ipv4_udp(b"good")];
        let bytes = file(false, 101, &frames.map(|frame| (0, 0, frame)));
        let mut reader = PcapReader::new(&bytes[..]).unwrap();
        assert_eq!(reader.next_datagram().unwrap().unwrap().payload, b"good");
        assert_eq!((reader.next_datagram().unwrap(), reader.skipped()), (None, 4));
    }

    #[test]
    fn any_bytes_give_an_end_or_an_error() {
        let mut state = 1_u64;
        for _ in 0..2_000 {
            let mut bytes = file(false, [0, 1, 101, 113, 276][(state % 5) as usize], &[]);
            for _ in 0..(state >> 40) % 200 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(11);
                bytes.push((state >> 56) as u8 & if state & 0x100 == 0 { 0x0f } else { 0xff });
            }
            let _ = read_all(&bytes);
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        }
    }
}
