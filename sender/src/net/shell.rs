//! The loop beside the threads that make and send frames: it looks the receiver up, waits for its feedback, for
//! room in the socket and for the timer.

use std::future::pending;
use std::io;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::socket::StreamSocket;
use super::stream::Stream;
use super::uplink::{FrameSender, Inputs, State, Uplink};
use crate::clock::{BoardClock, ClockWatch};

/// Larger datagrams than any report are cut, and then refused by the parser.
const RECEIVE_BUFFER: usize = 2_048;

/// A stream whose frames may be made; see [`start`].
pub struct Network {
    uplink: Arc<Uplink>,
    utc: ClockWatch,
}

/// Prepares sending `stream`, whose clock follows `utc`; the frames go into what comes with it. Must be called inside
/// a Tokio runtime.
///
/// # Errors
/// When the system has no timer to give.
pub fn start(mut stream: Stream, mut utc: ClockWatch, inputs: Inputs) -> io::Result<(Network, FrameSender)> {
    stream.handle_clock(*utc.borrow_and_update());
    let (uplink, frames) = Uplink::new(stream, inputs)?;
    Ok((Network { uplink, utc }, frames))
}

impl Network {
    /// Runs until no more frames come or `stop` completes, then says goodbye. A receiver that cannot be reached, or
    /// not yet, ends nothing.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { uplink, utc } = self;
        let _ending = uplink.ending();
        let mut shell = Shell { uplink: &uplink, utc, opening: None, received: vec![0; RECEIVE_BUFFER] };
        tokio::pin!(stop);
        loop {
            shell.look_up();
            if uplink.lock().complete {
                break;
            }
            tokio::select! {
                biased;
                () = &mut stop => break,
                input = shell.input() => shell.handle(input),
            }
            uplink.inputs.counters.network_cpu.set(BoardClock::thread_cpu());
        }
        uplink.lock().goodbye(&uplink);
    }
}

/// What the loop may wake up for.
enum Input {
    Changed,
    Utc,
    Datagram(io::Result<usize>),
    Opened(io::Result<Option<StreamSocket>>),
    Writable,
    Timer,
}

struct Shell<'a> {
    uplink: &'a Uplink,
    utc: ClockWatch,
    opening: Option<JoinHandle<io::Result<Option<StreamSocket>>>>,
    received: Vec<u8>,
}

impl Shell<'_> {
    /// Looks the receiver up where that is due.
    fn look_up(&mut self) {
        let inputs = &self.uplink.inputs;
        if let Some(current) = self.uplink.lock().start_opening(inputs.clock.now()) {
            self.opening = Some(tokio::spawn(StreamSocket::open(inputs.to.address.clone(), current)));
        }
    }

    /// Waits for whatever comes first.
    async fn input(&mut self) -> Input {
        let (socket, blocked) = {
            let state = self.uplink.lock();
            (state.socket.clone(), state.is_blocked())
        };
        let received = &mut self.received;
        let datagram = async {
            match &socket {
                Some(socket) => socket.receive(received).await,
                None => pending().await,
            }
        };
        let writable = async {
            match &socket {
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
            () = self.uplink.changed.notified() => Input::Changed,
            Ok(()) = self.utc.changed() => Input::Utc,
            result = datagram => Input::Datagram(result),
            result = opened => Input::Opened(result),
            () = writable => Input::Writable,
            Ok(()) = self.uplink.timer.expiry() => Input::Timer,
        }
    }

    /// Takes note of `input`.
    fn handle(&mut self, input: Input) {
        let uplink = self.uplink;
        match input {
            Input::Changed => {}
            Input::Utc => {
                let clock = *self.utc.borrow_and_update();
                uplink.update(|state| state.handle_clock(clock));
            }
            Input::Datagram(Ok(length)) => {
                let datagram = &self.received[..length];
                uplink.update(|state| state.handle_datagram(datagram, uplink));
            }
            Input::Datagram(Err(error)) => uplink.update(|state| state.fail(&error, uplink)),
            Input::Opened(result) => {
                self.opening = None;
                uplink.update(|state| state.handle_opened(result, uplink));
            }
            Input::Writable => uplink.update(|_| ()),
            Input::Timer => uplink.update(State::handle_timer),
        }
    }
}
