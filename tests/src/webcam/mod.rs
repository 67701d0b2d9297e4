//! A USB webcam that exists only here, for the real `uvcvideo` driver of an emulated board: a USB/IP server
//! with one USB video class camera. The board attaches it with its kernel's `vhci_hcd`; from there on all is
//! the kernel's own code, as with a camera in a socket. Each connection is a plug that was put in; dropping
//! it is the plug pulled.
//!
//! A mock of the hardware, then, and of nothing else. Its pictures come by bulk transfers, as those of some
//! cameras do; isochronous ones are not emulated.

mod picture;
mod usbip;
mod uvc;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use framelock_common::time::Utc;

use usbip::{Direction, Request};
pub use uvc::Mode;

/// Payload header, UVC 1.1 section 2.4.3.3: its length and flags.
const HEADER: usize = 2;
const FRAME_IDENTIFIER: u8 = 0x01;
const END_OF_FRAME: u8 = 0x02;

/// From the exposure until the first payload leaves the camera: what readout and compression take. Real cameras
/// need some such time too, and no driver knows it.
pub const LATENCY: Duration = Duration::from_millis(30);

/// The camera, ready to be attached.
#[derive(Debug)]
pub struct Webcam {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    camera: uvc::Camera,
    /// The board it is plugged into.
    plug: Option<TcpStream>,
    /// Bulk transfers that wait for data: number and room.
    waiting: VecDeque<(u32, usize)>,
    /// The picture that is being sent, and how much of it was.
    sending: Option<(Vec<u8>, usize)>,
    flags: u8,
    counts: Counts,
}

/// What the camera did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Times it was attached.
    pub attached: u32,
    /// Pictures sent to the last byte.
    pub sent: u32,
    /// Pictures taken while the one before was still being sent, and dropped.
    pub dropped: u32,
}

impl Webcam {
    /// Waits on loopback to be attached, until the process ends; `number` is the camera's in its timecodes.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn start(number: u16) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let (serving, exposing) = (Arc::clone(&shared), Arc::clone(&shared));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A board that goes away is a plug pulled.
                let _ended = serving.serve(stream);
            }
        });
        std::thread::spawn(move || exposing.expose(number));
        Ok(Self { address, shared })
    }

    /// The TCP port to attach it from.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Pulls the plug.
    pub fn unplug(&self) {
        if let Some(plug) = self.shared.lock().plug.take() {
            // It may be gone already.
            let _gone = plug.shutdown(Shutdown::Both);
        }
    }

    /// What it did so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts
    }

    /// How the driver has it send pictures now.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        self.shared.lock().camera.mode()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        usbip::import(&mut stream, &uvc::DEVICE)?;
        {
            let mut state = self.lock();
            let counts = Counts { attached: state.counts.attached + 1, ..state.counts };
            *state = State { plug: Some(stream.try_clone()?), counts, ..State::default() };
        }
        let served = loop {
            match usbip::read_request(&mut stream) {
                Ok(request) => self.lock().handle(request)?,
                Err(error) => break Err(error),
            }
            self.changed.notify_all();
        };
        self.lock().plug = None;
        served
    }

    /// Takes pictures for ever, on time, while they are wanted.
    #[expect(
        clippy::disallowed_methods,
        reason = "a camera exposes by its own clock and stamps by the host's"
    )]
    fn expose(&self, number: u16) {
        let mut frame = 0;
        let mut next = Instant::now();
        loop {
            let mut state = self.lock();
            let mode = loop {
                if let Some(mode) = state.camera.mode().filter(|_| state.plug.is_some()) {
                    break mode;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                next = Instant::now();
            };
            drop(state);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next += Duration::from_nanos(u64::from(mode.interval) * 100);
            let exposed = Instant::now();
            let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let capture = Utc::from_unix_nanos(i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX));
            let take = if mode.jpeg { picture::jpeg } else { picture::yuy2 };
            let picture = take(number, frame, capture);
            frame += 1;
            std::thread::sleep((exposed + LATENCY).saturating_duration_since(Instant::now()));
            let mut state = self.lock();
            if state.camera.mode() == Some(mode) {
                // A board that went away meanwhile is noticed by who reads from it.
                let _gone = state.send(picture);
            }
        }
    }
}

impl State {
    fn handle(&mut self, request: Request) -> io::Result<()> {
        match request {
            Request::Submit { number, endpoint: uvc::ENDPOINT, direction: Direction::In(room), .. } => {
                self.waiting.push_back((number, room));
                self.flush()
            }
            Request::Submit { number, endpoint: 0, setup, direction } => {
                let before = self.camera.mode();
                let reply = match direction {
                    Direction::In(room) => match self.camera.control(setup, &[]) {
                        Some(data) => usbip::deliver(number, &data[..data.len().min(room)]),
                        None => usbip::acknowledge(number, usbip::STALL, 0),
                    },
                    Direction::Out(data) => match self.camera.control(setup, &data) {
                        Some(_) => usbip::acknowledge(number, 0, data.len()),
                        None => usbip::acknowledge(number, usbip::STALL, 0),
                    },
                };
                if self.camera.mode() != before {
                    self.sending = None;
                }
                self.write(&reply)
            }
            Request::Submit { number, .. } => self.write(&usbip::acknowledge(number, usbip::STALL, 0)),
            Request::Unlink { number, victim } => {
                let waiting = self.waiting.len();
                self.waiting.retain(|(number, _)| *number != victim);
                self.write(&usbip::unlinked(number, self.waiting.len() < waiting))
            }
        }
    }

    /// Takes a picture up for sending, unless one is still on its way.
    fn send(&mut self, picture: Vec<u8>) -> io::Result<()> {
        if self.sending.is_some() {
            self.counts.dropped += 1;
            return Ok(());
        }
        self.flags ^= FRAME_IDENTIFIER;
        self.sending = Some((picture, 0));
        self.flush()
    }

    /// Puts as much of the picture as there is into the transfers that wait, one payload in each.
    fn flush(&mut self) -> io::Result<()> {
        while let Some((picture, sent)) = &mut self.sending {
            let Some((number, room)) = self.waiting.pop_front() else { break };
            // Not full, or the payload would go on in the next transfer.
            let part = (picture.len() - *sent).min(room.min(uvc::MAX_PAYLOAD).saturating_sub(HEADER + 1));
            let last = *sent + part == picture.len();
            let mut payload = vec![HEADER as u8, self.flags | if last { END_OF_FRAME } else { 0 } | 0x80];
            payload.extend(&picture[*sent..*sent + part]);
            *sent += part;
            if last {
                self.sending = None;
                self.counts.sent += 1;
            }
            self.write(&usbip::deliver(number, &payload))?;
        }
        Ok(())
    }

    fn write(&mut self, reply: &[u8]) -> io::Result<()> {
        match &mut self.plug {
            Some(plug) => plug.write_all(reply),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}
