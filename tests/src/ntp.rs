//! UTC for the senders under test: our own NTP server on loopback. The kernels of test machines often call
//! their clocks unsynchronized, and then a sender claims no UTC from them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::OnceLock;

use framelock_aggregator::ntp::{NtpService, NtpSettings};

/// Starts a server on a free loopback port for which this machine's clock is the reference.
///
/// # Panics
/// When there is no free port.
#[must_use]
pub fn local_reference() -> NtpService {
    let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let settings = NtpSettings { listen, local_stratum: Some(10), optional: false };
    NtpService::start(&settings).expect("a free loopback port")
}

/// What a sender under test is told as `--clock`: a server that lives as long as the test program.
pub fn clock() -> &'static str {
    static SERVER: OnceLock<(NtpService, String)> = OnceLock::new();
    let start = || {
        let server = local_reference();
        let clock = format!("ntp:{}", server.address());
        (server, clock)
    };
    &SERVER.get_or_init(start).1
}
