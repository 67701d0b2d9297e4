//! What the sender's end-to-end tests share: the real program, a socket that it sends to, and a small
//! NTP server.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use framelock_common::clock::ntp::{Leap, PACKET_LEN, Request, Response};
use framelock_common::rtcp::{self, ClockInfo, RtcpPacket, SenderReport};
use framelock_common::rtp::is_rtcp;
use framelock_common::time::{NtpShort, NtpTimestamp, Span, Utc};
use rustix::process::{Pid, Signal, kill_process};

/// How long a test waits for something that must happen, on a machine that is busy with other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running sender; killed when dropped.
pub(crate) struct Sender(Child);

impl Sender {
    /// Starts `framelock-sender run` with a small test picture and `args`.
    pub(crate) fn run(to: &str, args: &[&str]) -> Self {
        let test = ["--source", "test", "--size", "320x240", "--bitrate", "400k", "--camera", "left"];
        Self::start(&[&test[..], &["--to", to], args].concat())
    }

    /// Starts `framelock-sender run` with `args`.
    pub(crate) fn start(args: &[&str]) -> Self {
        let child = command().arg("run").args(args).stdin(Stdio::null()).spawn().expect("the sender starts");
        Self(child)
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Asks it to end, as systemd does.
    pub(crate) fn terminate(&mut self) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, Signal::TERM).expect("the sender still runs");
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.0.wait().expect("the sender was started here")
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_framelock-sender"));
    command.env_remove("RUST_LOG");
    command
}

/// Runs a command of the sender to its end.
pub(crate) fn output(args: &[&str]) -> Output {
    command().args(args).stdin(Stdio::null()).output().expect("the sender starts")
}

/// A datagram, and whether it is RTCP.
pub(crate) enum Datagram {
    Media(Vec<u8>),
    Rtcp(Vec<RtcpPacket>),
}

impl Datagram {
    pub(crate) fn media(&self) -> Option<&[u8]> {
        match self {
            Self::Media(bytes) => Some(bytes),
            Self::Rtcp(_) => None,
        }
    }

    pub(crate) fn rtcp(&self) -> Option<&[RtcpPacket]> {
        match self {
            Self::Rtcp(packets) => Some(packets),
            Self::Media(_) => None,
        }
    }
}

/// Where the sender sends to.
pub(crate) struct Receiver {
    socket: UdpSocket,
    pub(crate) from: Option<SocketAddr>,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address"))
    }

    pub(crate) fn at(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).expect("a UDP port on loopback");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { socket, from: None }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket")
    }

    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address())
    }

    /// The next datagram, which must be well formed as far as RTCP goes.
    pub(crate) fn next(&mut self) -> Datagram {
        let mut buffer = [0; 2_048];
        let (length, from) = self.socket.recv_from(&mut buffer).expect("the sender goes on");
        self.from = Some(from);
        let datagram = &buffer[..length];
        if is_rtcp(datagram) {
            Datagram::Rtcp(rtcp::parse(datagram).expect("valid RTCP"))
        } else {
            Datagram::Media(datagram.to_vec())
        }
    }

    /// All datagrams up to the one for which `last` holds.
    pub(crate) fn until(&mut self, mut last: impl FnMut(&Datagram) -> bool) -> Vec<Datagram> {
        let mut all = Vec::new();
        loop {
            let datagram = self.next();
            let end = last(&datagram);
            all.push(datagram);
            if end {
                return all;
            }
        }
    }

    /// Sends feedback to where the stream comes from.
    pub(crate) fn reply(&self, packets: &[RtcpPacket]) {
        let from = self.from.expect("something came before");
        self.socket.send_to(&rtcp::write(packets), from).expect("loopback takes it");
    }
}

/// Whether a datagram ends the stream.
pub(crate) fn is_goodbye(datagram: &Datagram) -> bool {
    let goodbye = |packet: &RtcpPacket| matches!(packet, RtcpPacket::Goodbye { .. });
    datagram.rtcp().is_some_and(|packets| packets.iter().any(goodbye))
}

/// The parts of one of our compounds.
pub(crate) fn report(packets: &[RtcpPacket]) -> (SenderReport, String, ClockInfo) {
    let [
        RtcpPacket::SenderReport { report, .. },
        RtcpPacket::SourceDescription(names),
        RtcpPacket::ClockInfo { info, .. },
        ..,
    ] = packets
    else {
        panic!("not SR, SDES, FLCK: {packets:?}");
    };
    (*report, names[0].name.clone(), *info)
}

/// UTC, by this machine.
pub(crate) fn utc_now() -> Utc {
    #[expect(clippy::disallowed_methods, reason = "a test compares the sender's clock with its own")]
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).expect("a clock after 1970");
    Utc::from_unix_nanos(i64::try_from(since.as_nanos()).expect("a clock before 2262"))
}

/// A small NTP server on loopback whose clock is this machine's, ahead by an offset. The real chronyd
/// is in the tests of `common` and of the board rig.
pub(crate) struct NtpServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    answering: Arc<AtomicBool>,
}

impl NtpServer {
    /// A server that stays silent until it is told to answer.
    pub(crate) fn new(ahead: Span) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a UDP port on loopback");
        let address = socket.local_addr().expect("a bound socket");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let (stop, answering) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (stopped, may_answer) = (Arc::clone(&stop), Arc::clone(&answering));
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let mut buffer = [0; PACKET_LEN];
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let receive = NtpTimestamp::from_utc(utc_now() + ahead);
                let Ok((request, _)) = Request::parse(&buffer[..length]) else { continue };
                if may_answer.load(Ordering::Relaxed) {
                    let _ = socket.send_to(&answer(request, receive, ahead), from);
                }
            }
        });
        Self { address, stop, answering }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn answer(&self) {
        self.answering.store(true, Ordering::Relaxed);
    }
}

impl Drop for NtpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn answer(request: Request, receive: NtpTimestamp, ahead: Span) -> [u8; PACKET_LEN] {
    Response {
        leap: Leap::None,
        stratum: 1,
        poll: 0,
        precision: -20,
        root_delay: NtpShort::from_bits(0),
        root_dispersion: NtpShort::from_bits(0),
        reference_id: *b"TEST",
        reference: receive,
        origin: request.transmit,
        receive,
        transmit: NtpTimestamp::from_utc(utc_now() + ahead),
    }
    .build()
}

/// A file in `dir` with `text`.
pub(crate) fn file(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("the temporary directory can be written to");
    path.to_string_lossy().into_owned()
}

/// A configuration in `dir` that vouches for this machine's clock, for tests that want UTC from the first
/// packet on: the kernel of a test machine often calls its clock unsynchronized.
pub(crate) fn vouched(dir: &Path) -> String {
    file(dir, "clock.toml", "[clock]\nsource = \"system\"\ntrust-system-within = \"50ms\"\n")
}
