//! The client library connects by itself, to an address and without TLS. It is given one of this machine, and
//! what passes between there and the server is pumped: through TLS where that is asked for, and past the
//! [`Guard`] always.
//!
//! One connection is taken on a port that the system chose, and no other: who else on this machine comes first
//! gets the stream and we do not, which shows as a failure.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream};

use super::super::SessionError;
use super::super::tls::Tls;
use super::guard::Guard;

/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Pump {
    listener: TcpListener,
    server: Tls,
}

impl Pump {
    /// A pump to `server`.
    pub(super) async fn new(server: Tls) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?, server })
    }

    /// Where the library has to connect.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Pumps until one end closes or the server does what it must not.
    pub(super) async fn run(self) -> Result<Infallible, SessionError> {
        let (client, _) = self.listener.accept().await?;
        drop(self.listener);
        client.set_nodelay(true)?;
        let (from_client, to_client) = split(client);
        let (from_server, to_server) = split(self.server);
        tokio::select! {
            result = down(from_server, to_client) => result,
            result = up(from_client, to_server) => result,
        }
    }
}

async fn down(mut from: ReadHalf<Tls>, mut to: WriteHalf<TcpStream>) -> Result<Infallible, SessionError> {
    let mut guard = Guard::default();
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Err(SessionError::Closed);
        }
        guard.check(&buffer[..length])?;
        to.write_all(&buffer[..length]).await?;
    }
}

async fn up(mut from: ReadHalf<TcpStream>, mut to: WriteHalf<Tls>) -> Result<Infallible, SessionError> {
    let mut buffer = vec![0; CHUNK / 16];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            // The library has given up; it says itself why.
            std::future::pending::<()>().await;
        }
        to.write_all(&buffer[..length]).await?;
        to.flush().await?;
    }
}
