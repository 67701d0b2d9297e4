//! Where frames leave: the stream and its socket behind one lock.
//!
//! The thread that made a frame sends it, too: to hand it to another one would cost more than the sending. What
//! leaves later or in between (paced packets, reports, the clock reference) is sent by the loop in `shell`,
//! for which the timer is set here. Looking the receiver up, waiting and receiving live there as well.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use framelock_common::clock::ClockMapping;
use framelock_common::rtp::is_rtcp;
use framelock_common::rtp::session::SendEvent;
use framelock_common::time::{BoardTime, Span};
use tokio::sync::Notify;

use super::link::{LinkEvent, LinkMonitor};
use super::socket::{Sent, StreamSocket};
use super::stream::{Burst, DatagramKind, Frame, Stream};
use super::timer::Timer;
use crate::clock::BoardClock;
use crate::config::Target;
use crate::stats::Counters;

/// What is due sooner than this waits for it: packets that are paced leave a few together, as each wake-up costs
/// more than they do.
const TOGETHER: Span = Span::from_millis(1);

/// What a stream is sent with.
pub struct Inputs {
    /// The board's clocks.
    pub clock: BoardClock,
    /// Where the stream goes.
    pub to: Target,
    /// Set to make the encoder's next frame a key frame.
    pub force_key: Arc<AtomicBool>,
    /// Counters of the whole sender.
    pub counters: Arc<Counters>,
}

/// One stream on its way to one receiver.
pub(super) struct Uplink {
    pub(super) inputs: Inputs,
    state: Mutex<State>,
    /// Frames may be sent, or never more.
    open: Condvar,
    /// The loop has to look at the state.
    pub(super) changed: Notify,
    pub(super) timer: Timer,
}

/// Takes frames on the thread that makes them. When it is dropped, the stream is at its end.
pub struct FrameSender(Arc<Uplink>);

impl FrameSender {
    /// Sends a frame, or as much of it as may leave now. Waits while the receiver has not been looked up and
    /// while the network takes nothing; false when no more frames are wanted.
    pub fn send(&mut self, frame: &Frame) -> bool {
        let mut state = self.0.lock();
        while !state.ended && !state.is_open() {
            state = self.0.open.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.ended {
            return false;
        }
        state.handle_frame(frame, &self.0);
        state.pump(&self.0);
        true
    }
}

impl Drop for FrameSender {
    fn drop(&mut self) {
        self.0.lock().complete = true;
        self.0.changed.notify_one();
    }
}

/// See [`Uplink::ending`].
#[must_use]
pub(super) struct Ending<'a>(&'a Uplink);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.open.notify_all();
    }
}

impl Uplink {
    /// An uplink of `stream`, not connected yet, and what takes its frames.
    ///
    /// # Errors
    /// When the system has no timer to give.
    pub(super) fn new(stream: Stream, inputs: Inputs) -> io::Result<(Arc<Self>, FrameSender)> {
        let silence_counts = inputs.to.rtp && !inputs.to.address.is_address();
        let state = State {
            stream,
            link: LinkMonitor::new(silence_counts, inputs.clock.now()),
            socket: None,
            opening: false,
            tried: false,
            missed: false,
            reopen: false,
            blocked: None,
            datagrams: Vec::new(),
            sent: 0,
            set: None,
            complete: false,
            ended: false,
        };
        let timer = Timer::new(inputs.clock)?;
        let (state, open, changed) = (Mutex::new(state), Condvar::new(), Notify::new());
        let uplink = Arc::new(Self { inputs, state, open, changed, timer });
        Ok((Arc::clone(&uplink), FrameSender(uplink)))
    }

    /// Refuses frames from now on when dropped, also by a panic: nobody must wait for ever.
    pub(super) const fn ending(&self) -> Ending<'_> {
        Ending(self)
    }

    /// A thread that panicked while it held the lock was in the middle of a frame: what is left of that is sent.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and sends all that may leave then.
    pub(super) fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        let was_open = state.is_open();
        change(&mut state);
        state.pump(self);
        if state.is_open() && !was_open {
            self.open.notify_all();
        }
    }
}

/// What the lock guards.
pub(super) struct State {
    stream: Stream,
    link: LinkMonitor,
    pub(super) socket: Option<Arc<StreamSocket>>,
    /// The receiver is being looked up.
    opening: bool,
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
    /// What the timer is set to.
    set: Option<BoardTime>,
    /// No more frames come.
    pub(super) complete: bool,
    /// No more frames are taken.
    ended: bool,
}

impl State {
    /// Whether a frame may be sent.
    fn is_open(&self) -> bool {
        self.tried && self.blocked.is_none()
    }

    /// Whether the loop has to wait for room in the socket.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// Whether the receiver has to be looked up now, which is then under way; with the address at which the present
    /// socket serves.
    pub(super) fn start_opening(&mut self, now: BoardTime) -> Option<Option<SocketAddr>> {
        if self.opening || !self.link.wants_open(now) {
            return None;
        }
        self.opening = true;
        // A socket that failed itself is replaced even where the address is the same.
        Some(self.socket.as_deref().map(StreamSocket::peer).filter(|_| !self.reopen))
    }

    /// The receiver has been looked up.
    pub(super) fn handle_opened(&mut self, result: io::Result<Option<StreamSocket>>, uplink: &Uplink) {
        self.opening = false;
        self.tried = true;
        match result {
            Ok(opened) => {
                if let Some(socket) = opened {
                    tracing::debug!(to = %uplink.inputs.to, peer = %socket.peer(), "socket opened");
                    self.socket = Some(Arc::new(socket));
                    self.reopen = false;
                }
                self.link.handle_opened(uplink.inputs.clock.now());
            }
            Err(error) => self.fail(&error, uplink),
        }
    }

    /// What is known of UTC from now on.
    pub(super) fn handle_clock(&mut self, clock: Option<ClockMapping>) {
        self.stream.handle_clock(clock);
    }

    fn handle_frame(&mut self, frame: &Frame, uplink: &Uplink) {
        let counters = &uplink.inputs.counters;
        counters.frames.add(1);
        counters.frame_bytes.add(frame.data.len() as u64);
        counters.keyframes.add(u64::from(frame.key));
        self.stream.handle_frame(frame, uplink.inputs.clock.now());
    }

    /// The timer has come.
    pub(super) const fn handle_timer(&mut self) {
        self.set = None;
    }

    /// A datagram came from the receiver.
    pub(super) fn handle_datagram(&mut self, datagram: &[u8], uplink: &Uplink) {
        let now = uplink.inputs.clock.now();
        let event = self.link.handle_heard(now);
        self.handle_link(event, None, uplink);
        let counters = &uplink.inputs.counters;
        counters.rtcp_received.add(1);
        if !is_rtcp(datagram) {
            counters.rtcp_malformed.add(1);
        } else if let Err(error) = self.stream.handle_rtcp(datagram, now) {
            counters.rtcp_malformed.add(1);
            tracing::trace!("ignored feedback: {error}");
        }
    }

    /// Sends all that may leave now, and sets the timer for what is due later.
    fn pump(&mut self, uplink: &Uplink) {
        let now = uplink.inputs.clock.now();
        if let Some(burst) = self.blocked.take() {
            self.send(burst, uplink);
        }
        if self.tried {
            self.stream.handle_timeout(now);
        }
        // What is due while there is no address to send to is lost; it could not have been used.
        while self.is_open() {
            let now = uplink.inputs.clock.now();
            let Some(burst) = self.stream.poll_transmit(now, &mut self.datagrams) else { break };
            self.sent = 0;
            self.send(burst, uplink);
        }
        while let Some(event) = self.stream.poll_event() {
            handle_event(&event, &uplink.inputs);
        }
        if self.is_blocked() {
            uplink.changed.notify_one();
        }
        self.set_timer(now, &uplink.timer);
    }

    fn set_timer(&mut self, now: BoardTime, timer: &Timer) {
        let link = (!self.opening).then(|| self.link.poll_timeout());
        let stream = self.stream.poll_timeout().filter(|_| self.is_open());
        let Some(due) = [link, stream].into_iter().flatten().min() else { return };
        if self.set == Some(due) {
            return;
        }
        match timer.set(due.max(now + TOGETHER)) {
            Ok(()) => self.set = Some(due),
            Err(error) => tracing::error!("the system's timer fails: {error}"),
        }
    }

    /// Sends what is left of `self.datagrams`.
    fn send(&mut self, burst: Burst, uplink: &Uplink) {
        while self.sent < self.datagrams.len() {
            let left = &self.datagrams[self.sent..];
            let counters = &uplink.inputs.counters;
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
                    let event = self.link.handle_sent(uplink.inputs.clock.now());
                    self.handle_link(event, None, uplink);
                }
                Sent::Blocked => {
                    self.blocked = Some(burst);
                    return;
                }
                Sent::Refused(bytes, error) => {
                    self.sent += bytes;
                    counters.send_refused.add(count(bytes));
                    self.fail(&error, uplink);
                }
            }
        }
    }

    /// The network refused something.
    pub(super) fn fail(&mut self, error: &io::Error, uplink: &Uplink) {
        self.reopen |= error.kind() != io::ErrorKind::ConnectionRefused;
        let event = self.link.handle_error(uplink.inputs.clock.now());
        self.handle_link(event, Some(error), uplink);
    }

    fn handle_link(&mut self, event: Option<LinkEvent>, error: Option<&io::Error>, uplink: &Uplink) {
        let to = &uplink.inputs.to;
        match event {
            None => {}
            Some(LinkEvent::Up) => {
                let peer = self.socket.as_deref().map(StreamSocket::peer);
                tracing::info!(%to, peer = peer.map(tracing::field::display), "sending");
                // Whoever missed frames needs a key frame to go on from.
                if std::mem::take(&mut self.missed) {
                    uplink.inputs.force_key.store(true, Ordering::Relaxed);
                }
            }
            Some(LinkEvent::Down) => {
                self.missed = true;
                let error = error.map(tracing::field::display);
                tracing::warn!(%to, error, "the receiver cannot be reached; still trying");
            }
        }
    }

    /// Sends what is left of the last frame and the end of the stream. What the socket does not take
    /// at once is lost, as it would be on the way.
    pub(super) fn goodbye(&mut self, uplink: &Uplink) {
        let last = self.stream.goodbye(uplink.inputs.clock.now());
        self.pump(uplink);
        if let Some(last) = last {
            let burst = Burst { kind: DatagramKind::Rtcp, size: last.len() };
            (self.datagrams, self.sent) = (last, 0);
            self.send(burst, uplink);
        }
    }
}

fn handle_event(event: &SendEvent, inputs: &Inputs) {
    let counters = &inputs.counters;
    match event {
        SendEvent::KeyframeRequested => {
            counters.keyframe_requests.add(1);
            inputs.force_key.store(true, Ordering::Relaxed);
            tracing::trace!("the receiver asks for a key frame");
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
