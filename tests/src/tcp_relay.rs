//! A TCP relay between a server and the aggregator whose cable can be cut: bytes then go neither way, and nobody
//! is told.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a thread waits for bytes until it looks whether it has to stop.
const TURN: Duration = Duration::from_millis(20);

/// A running relay; it stops when dropped.
#[derive(Debug)]
pub struct TcpRelay {
    port: u16,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    cut: AtomicBool,
    stop: AtomicBool,
    connections: AtomicUsize,
}

impl TcpRelay {
    /// Starts a relay on a free loopback port that connects to `target` on loopback for whoever comes.
    ///
    /// # Panics
    /// When no socket can be opened.
    #[must_use]
    pub fn start(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback socket");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        let thread = std::thread::spawn(move || {
            let mut threads = Vec::new();
            for client in listener.incoming() {
                if shared.stop.load(Ordering::Relaxed) {
                    break;
                }
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, target));
                let (Ok(client), Ok(server)) = (client, server) else { continue };
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let clone = |stream: &TcpStream| stream.try_clone().expect("a socket can be cloned");
                for (from, to) in [(clone(&client), clone(&server)), (clone(&server), clone(&client))] {
                    let state = shared.clone();
                    threads.push(std::thread::spawn(move || pump(from, to, &state)));
                }
            }
            for thread in threads {
                let _panicked = thread.join();
            }
        });
        Self { port, state, thread: Some(thread) }
    }

    /// The port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts the cable, or mends it. Bytes that are on their way wait.
    pub fn set_cut(&self, cut: bool) {
        self.state.cut.store(cut, Ordering::Relaxed);
    }

    /// Connections so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }
}

impl Drop for TcpRelay {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        let _wake = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let _known = (from.set_read_timeout(Some(TURN)), to.set_nodelay(true));
    let mut buffer = [0; 16_384];
    while !state.stop.load(Ordering::Relaxed) {
        if state.cut.load(Ordering::Relaxed) {
            std::thread::park_timeout(TURN);
            continue;
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                if to.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _closed = to.shutdown(std::net::Shutdown::Write);
}
