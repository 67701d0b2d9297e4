//! The loop that owns the socket: frames from the encoder, feedback from the receiver, timers.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use framelock_common::rtp::is_rtcp;
use framelock_common::rtp::session::SendEvent;
use framelock_common::time::Span;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::link::{LinkEvent, LinkMonitor};
use super::socket::{Sent, StreamSocket};
use super::stream::{Burst, DatagramKind, Frame, Stream};
use super::timer::Timer;
use crate::clock::{BoardClock, ClockWatch};
use crate::config::Target;
use crate::stats::Counters;

/// Larger datagrams than any report are cut, and then refused by the parser.
const RECEIVE_BUFFER: usize = 2_048;

/// What is due sooner than this waits for it: packets that are paced leave a few together, as each wake-up costs
/// more than they do.
const TOGETHER: Span = Span::from_millis(1);

/// What the loop works with.
pub struct Inputs {
    /// Encoded frames; the loop ends when the other side is dropped.
    pub frames: mpsc::Receiver<Frame>,
    /// What is known of UTC.
    pub utc: ClockWatch,
    /// The board's clocks.
    pub clock: BoardClock,
    /// Where the stream goes.
    pub to: Target,
    /// Set to make the encoder's next frame a key frame.
    pub force_key: Arc<AtomicBool>,
    /// Counters of the whole sender.
    pub counters: Arc<Counters>,
}

/// Sends `stream` until no more frames come or `stop` completes, then says goodbye. A receiver that
/// cannot be reached, or not yet, ends nothing.
///
/// # Errors
/// When the system has no timer to give.
pub async fn run(stream: Stream, inputs: Inputs, stop: impl Future<Output = ()>) -> io::Result<()> {
    let mut shell = Shell::new(stream, inputs)?;
    tokio::pin!(stop);
    loop {
        shell.pump();
        tokio::select! {
            biased;
            () = &mut stop => break,
            input = shell.input() => {
                if !shell.handle(input) {
                    break;
                }
            }
        }
    }
    shell.goodbye();
    Ok(())
}

/// What the loop may wake up for.
enum Input {
    Frame(Option<Frame>),
    Utc,
    Datagram(io::Result<usize>),
    Opened(io::Result<Option<StreamSocket>>),
    Writable,
    Timer,
}

struct Shell {
    stream: Stream,
    inputs: Inputs,
    link: LinkMonitor,
    timer: Timer,
    socket: Option<StreamSocket>,
    opening: Option<JoinHandle<io::Result<Option<StreamSocket>>>>,
    /// The receiver has been looked up once, successfully or not: before, frames wait.
    tried: bool,
    /// The receiver could not be reached at some time, so it lacks frames.
    missed: bool,
    /// The socket itself failed, not just the receiver: a new one is needed even for the same address.
    reopen: bool,
    /// The socket takes no more for now, and what is left of `datagrams` still waits.
    blocked: Option<Burst>,
    datagrams: Vec<u8>,
    /// Bytes of `datagrams` that have left.
    sent: usize,
    received: Vec<u8>,
}

impl Shell {
    fn new(mut stream: Stream, mut inputs: Inputs) -> io::Result<Self> {
        let silence_counts = inputs.to.rtp && !inputs.to.address.is_address();
        let link = LinkMonitor::new(silence_counts, inputs.clock.now());
        stream.handle_clock(*inputs.utc.borrow_and_update());
        Ok(Self {
            stream,
            timer: Timer::new(inputs.clock)?,
            inputs,
            link,
            socket: None,
            opening: None,
            tried: false,
            missed: false,
            reopen: false,
            blocked: None,
            datagrams: Vec::new(),
            sent: 0,
            received: vec![0; RECEIVE_BUFFER],
        })
    }

    /// Waits for whatever comes first.
    async fn input(&mut self) -> Input {
        let now = self.inputs.clock.now();
        let link = self.opening.is_none().then(|| self.link.poll_timeout());
        let ready = self.tried && self.blocked.is_none();
        let stream = self.stream.poll_timeout().filter(|_| ready);
        let due = [link, stream].into_iter().flatten().min();
        let timer = &mut self.timer;
        let timer = async {
            match due {
                Some(due) if due <= now => {}
                Some(due) => timer.wait_until(due.max(now + TOGETHER)).await,
                None => pending().await,
            }
        };
        let socket = self.socket.as_ref();
        let received = &mut self.received;
        let datagram = async {
            match socket {
                Some(socket) => socket.receive(received).await,
                None => pending().await,
            }
        };
        let blocked = self.blocked.is_some();
        let writable = async {
            match socket {
                // An error shows itself again when sending.
                Some(socket) if blocked => drop(socket.writable().await),
                _ => pending().await,
            }
        };
        let opened = async {
            match &mut self.opening {
                Some(task) => task.await.unwrap_or_else(|error| Err(io::Error::other(error))),
                None => pending().await,
            }
        };
        tokio::select! {
            frame = self.inputs.frames.recv(), if ready => Input::Frame(frame),
            Ok(()) = self.inputs.utc.changed() => Input::Utc,
            result = datagram => Input::Datagram(result),
            result = opened => Input::Opened(result),
            () = writable => Input::Writable,
            () = timer => Input::Timer,
        }
    }

    /// Takes note of `input`; false at the end of the stream.
    fn handle(&mut self, input: Input) -> bool {
        let now = self.inputs.clock.now();
        match input {
            Input::Frame(None) => return false,
            Input::Frame(Some(frame)) => {
                let counters = &self.inputs.counters;
                counters.frames.add(1);
                counters.frame_bytes.add(frame.data.len() as u64);
                counters.keyframes.add(u64::from(frame.key));
                self.stream.handle_frame(&frame, now);
                counters.network_cpu.set(BoardClock::thread_cpu());
            }
            Input::Utc => self.stream.handle_clock(*self.inputs.utc.borrow_and_update()),
            Input::Datagram(Ok(length)) => self.handle_datagram(length),
            Input::Datagram(Err(error)) => self.fail(&error),
            Input::Opened(result) => self.handle_opened(result),
            Input::Writable | Input::Timer => {}
        }
        true
    }

    /// Sends all that may leave now, and looks the receiver up where that is due.
    fn pump(&mut self) {
        let now = self.inputs.clock.now();
        if self.opening.is_none() && self.link.wants_open(now) {
            let target = self.inputs.to.address.clone();
            // A socket that failed itself is replaced even where the address is the same.
            let current = self.socket.as_ref().map(StreamSocket::peer).filter(|_| !self.reopen);
            self.opening = Some(tokio::spawn(StreamSocket::open(target, current)));
        }
        if let Some(burst) = self.blocked.take() {
            self.send(burst);
        }
        if self.tried {
            self.stream.handle_timeout(now);
        }
        // What is due while there is no address to send to is lost; it could not have been used.
        while self.tried && self.blocked.is_none() {
            let now = self.inputs.clock.now();
            let Some(burst) = self.stream.poll_transmit(now, &mut self.datagrams) else { break };
            self.sent = 0;
            self.send(burst);
        }
        while let Some(event) = self.stream.poll_event() {
            self.handle_event(&event);
        }
    }

    /// Sends what is left of `self.datagrams`.
    fn send(&mut self, burst: Burst) {
        while self.sent < self.datagrams.len() {
            let left = &self.datagrams[self.sent..];
            let counters = &self.inputs.counters;
            let count = |bytes: usize| bytes.div_ceil(burst.size) as u64;
            let Some(socket) = &self.socket else {
                counters.send_refused.add(count(left.len()));
                return;
            };
            match socket.send(left, burst.size) {
                Sent::Yes(bytes) => {
                    self.sent += bytes;
                    counters.datagrams.add(count(bytes));
                    counters.datagram_bytes.add(bytes as u64);
                    counters.rtcp_sent.add(u64::from(burst.kind == DatagramKind::Rtcp));
                    let event = self.link.handle_sent(self.inputs.clock.now());
                    self.handle_link(event, None);
                }
                Sent::Blocked => {
                    self.blocked = Some(burst);
                    return;
                }
                Sent::Refused(bytes, error) => {
                    self.sent += bytes;
                    counters.send_refused.add(count(bytes));
                    self.fail(&error);
                }
            }
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.reopen |= error.kind() != io::ErrorKind::ConnectionRefused;
        let event = self.link.handle_error(self.inputs.clock.now());
        self.handle_link(event, Some(error));
    }

    fn handle_link(&mut self, event: Option<LinkEvent>, error: Option<&io::Error>) {
        let to = &self.inputs.to;
        match event {
            None => {}
            Some(LinkEvent::Up) => {
                let peer = self.socket.as_ref().map(StreamSocket::peer);
                tracing::info!(%to, peer = peer.map(tracing::field::display), "sending");
                // Whoever missed frames needs a key frame to go on from.
                if std::mem::take(&mut self.missed) {
                    self.inputs.force_key.store(true, Ordering::Relaxed);
                }
            }
            Some(LinkEvent::Down) => {
                self.missed = true;
                let error = error.map(tracing::field::display);
                tracing::warn!(%to, error, "the receiver cannot be reached; still trying");
            }
        }
    }

    fn handle_opened(&mut self, result: io::Result<Option<StreamSocket>>) {
        self.opening = None;
        self.tried = true;
        match result {
            Ok(opened) => {
                if let Some(socket) = opened {
                    tracing::debug!(to = %self.inputs.to, peer = %socket.peer(), "socket opened");
                    self.socket = Some(socket);
                    self.reopen = false;
                }
                self.link.handle_opened(self.inputs.clock.now());
            }
            Err(error) => self.fail(&error),
        }
    }

    fn handle_datagram(&mut self, length: usize) {
        let now = self.inputs.clock.now();
        let event = self.link.handle_heard(now);
        self.handle_link(event, None);
        let datagram = &self.received[..length];
        let counters = &self.inputs.counters;
        counters.rtcp_received.add(1);
        if !is_rtcp(datagram) {
            counters.rtcp_malformed.add(1);
        } else if let Err(error) = self.stream.handle_rtcp(datagram, now) {
            counters.rtcp_malformed.add(1);
            tracing::debug!("ignored feedback: {error}");
        }
    }

    fn handle_event(&self, event: &SendEvent) {
        let counters = &self.inputs.counters;
        match event {
            SendEvent::KeyframeRequested => {
                counters.keyframe_requests.add(1);
                self.inputs.force_key.store(true, Ordering::Relaxed);
                tracing::debug!("the receiver asks for a key frame");
            }
            SendEvent::Report { cumulative_lost, jitter, round_trip, .. } => {
                // Duplicates make it negative (RFC 3550 section 6.4.1): nothing is lost then.
                counters.remote_lost.set(u64::try_from(*cumulative_lost).unwrap_or(0));
                counters.remote_jitter.set(*jitter);
                if let Some(round_trip) = round_trip {
                    counters.round_trip.set(*round_trip);
                }
            }
        }
    }

    /// Sends what is left of the last frame and the end of the stream. What the socket does not take
    /// at once is lost, as it would be on the way.
    fn goodbye(&mut self) {
        let now = self.inputs.clock.now();
        let last = self.stream.goodbye(now);
        self.pump();
        if let Some(last) = last {
            let burst = Burst { kind: DatagramKind::Rtcp, size: last.len() };
            (self.datagrams, self.sent) = (last, 0);
            self.send(burst);
        }
    }
}
