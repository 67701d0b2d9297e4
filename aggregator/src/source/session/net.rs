//! Connections to hosts (I/O).

use std::io;

use tokio::net::{TcpListener, TcpStream};

use super::{SessionError, Sink};
use crate::source::spec::Address;

/// Connects to `address`. Who is asked takes as long as the watcher of the session lets it.
pub(super) async fn connect(address: &Address) -> Result<TcpStream, SessionError> {
    let host = (address.host.as_str(), address.port);
    let resolved = tokio::net::lookup_host(host).await;
    let resolved = resolved.map_err(|_| SessionError::UnknownHost(address.host.clone()))?;
    let mut last = None;
    for candidate in resolved {
        match TcpStream::connect(candidate).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(source) => last = Some(source),
        }
    }
    Err(match last {
        Some(source) => SessionError::Connect { to: address.to_string(), source },
        None => SessionError::UnknownHost(address.host.clone()),
    })
}

/// Listens on `address`, as with `SO_REUSEADDR`: a restart must not wait for old connections to time out.
fn listen(address: &Address) -> Result<TcpListener, SessionError> {
    let failed = |source| SessionError::Listen { port: address.port, source };
    let local = address.local().ok_or_else(|| failed(io::ErrorKind::AddrNotAvailable.into()))?;
    let socket = open(local).map_err(failed)?;
    TcpListener::from_std(socket.into()).map_err(failed)
}

/// Waits for somebody to connect to `address`; `listener` is kept from one to the next.
pub(super) async fn accept(
    listener: &mut Option<TcpListener>,
    address: &Address,
    sink: &Sink,
) -> Result<TcpStream, SessionError> {
    let listener = match listener {
        Some(listener) => listener,
        none => none.insert(listen(address)?),
    };
    sink.waiting();
    Ok(listener.accept().await?.0)
}

fn open(local: std::net::SocketAddr) -> io::Result<socket2::Socket> {
    let bind = |local: std::net::SocketAddr| {
        let socket = socket2::Socket::new(socket2::Domain::for_address(local), socket2::Type::STREAM, None)?;
        if local.is_ipv6() {
            // The unspecified address takes IPv4 too.
            socket.set_only_v6(!local.ip().is_unspecified())?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&local.into())?;
        socket.listen(8)?;
        Ok(socket)
    };
    bind(local).or_else(|error: io::Error| {
        // A machine without IPv6: every interface then means every IPv4 interface.
        let everywhere = local.is_ipv6() && local.ip().is_unspecified();
        let taken = error.kind() == io::ErrorKind::AddrInUse;
        if everywhere && !taken {
            bind((std::net::Ipv4Addr::UNSPECIFIED, local.port()).into())
        } else {
            Err(error)
        }
    })
}
