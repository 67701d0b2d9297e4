//! A real `chronyd` on the host, serving the host's time on a high port. It never touches the host's clock
//! (`-x`), needs no root and talks to nobody else.

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::child::{Child, deadline, now};

/// How long it may take to answer its first request.
const START: Duration = Duration::from_secs(30);

/// The running server.
pub(crate) struct Chrony {
    _server: Child,
    pub(crate) port: u16,
}

impl Chrony {
    /// Starts it and waits until it answers as a synchronized server.
    pub(crate) fn start(dir: &Path, user: &str) -> Result<Self> {
        let port = free_udp_port()?;
        let config = dir.join("chrony.conf");
        let text = format!(
            "port {port}\nbindaddress 127.0.0.1\nallow 127.0.0.1\nlocal stratum 2\n\
             cmdport 0\nbindcmdaddress /\npidfile {}\n",
            dir.join("chrony.pid").display()
        );
        std::fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let args = ["-d", "-x", "-U", "-u", user, "-f"].map(String::from);
        let args = [&args[..], &[config.display().to_string()]].concat();
        let mut server = Child::start("chronyd", Path::new("/usr/sbin/chronyd"), &args, dir)?;
        wait_for_answer(&mut server, port)?;
        Ok(Self { _server: server, port })
    }
}

fn free_udp_port() -> Result<u16> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("no free UDP port on loopback")?;
    Ok(socket.local_addr().context("a bound socket has an address")?.port())
}

/// Asks until an answer comes: mode 4 (server), leap indicator not "unsynchronized" (RFC 5905, 7.3).
fn wait_for_answer(server: &mut Child, port: u16) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("no UDP socket on loopback")?;
    socket.set_read_timeout(Some(Duration::from_millis(300))).context("cannot set a read timeout")?;
    let mut request = [0; 48];
    request[0] = 0b00_100_011;
    let limit = deadline(START);
    while now() < limit {
        if let Some(status) = server.ended()? {
            bail!("chronyd ended with {status}; see chronyd.err");
        }
        // Refused until the server listens: that is why we ask again.
        let _refused = socket.send_to(&request, ("127.0.0.1", port));
        let mut answer = [0; 512];
        if let Ok(48..) = socket.recv(&mut answer) {
            let (leap, mode) = (answer[0] >> 6, answer[0] & 7);
            if mode == 4 && leap != 3 {
                return Ok(());
            }
        }
    }
    bail!("chronyd gave no synchronized answer within {} s; see chronyd.err", START.as_secs())
}
