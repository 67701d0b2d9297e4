//! The aggregator's NTP service over real sockets: time daemons and clients that nobody here wrote accept
//! it, and nothing but a plain client request gets an answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use framelock_aggregator::ntp::{NtpService, NtpSettings};
use framelock_common::clock::ntp::{KissCode, Leap, PACKET_LEN, Request, Response};
use framelock_common::time::{NtpTimestamp, Span, Utc};
use framelock_tests::ntp::local_reference;
use framelock_tests::process::{PATIENCE, Process, free_port, program};

/// Where Debian has daemons; not every user's PATH does.
const SBIN: &str = "/usr/sbin";

fn run(name: &str, args: &[&str]) -> Output {
    let path = Path::new(SBIN).join(name);
    let path = if path.is_file() { path } else { name.into() };
    Command::new(path)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{name} cannot be run ({error}); `make test` installs what is needed"))
}

fn serve(listen: SocketAddr, local_stratum: Option<u8>) -> NtpService {
    NtpService::start(&NtpSettings { listen, local_stratum, optional: false }).expect("a free port")
}

fn loopback() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
}

/// A client's socket, connected to `server`.
fn client(server: SocketAddr) -> UdpSocket {
    let any: SocketAddr =
        if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }.parse().expect("an address");
    let socket = UdpSocket::bind(any).expect("a UDP port on loopback");
    socket.connect(server).expect("connecting a UDP socket cannot fail");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

fn request(nonce: u64) -> [u8; PACKET_LEN] {
    Request { transmit: NtpTimestamp::from_bits(nonce) }.build()
}

fn answer(socket: &UdpSocket) -> Response {
    let mut datagram = [0; 1_024];
    let length = socket.recv(&mut datagram).expect("an answer");
    assert_eq!(length, PACKET_LEN, "an answer is as long as its request");
    Response::parse(&datagram[..length]).expect("an answer")
}

fn ask(socket: &UdpSocket, nonce: u64) -> Response {
    socket.send(&request(nonce)).expect("loopback takes it");
    let answer = answer(socket);
    assert_eq!(answer.origin.to_bits(), nonce);
    answer
}

/// A chronyd that never touches this machine's clock (`-x`) and asks `server`; with its `chronyc` port.
fn chronyd(server: SocketAddr, dir: &Path) -> (Process, String) {
    let command_port = free_port().to_string();
    let config = dir.join("chrony.conf");
    let text = format!(
        "server {} port {} iburst minpoll -2 maxpoll 0\nport 0\ncmdport {command_port}\nbindcmdaddress 127.0.0.1\npidfile {}\n",
        server.ip(),
        server.port(),
        dir.join("pid").display()
    );
    std::fs::write(&config, text).expect("the temporary directory can be written to");
    let user = run("id", &["-un"]);
    let user = String::from_utf8_lossy(&user.stdout).trim().to_owned();
    let config = config.to_string_lossy().into_owned();
    let args = ["-x", "-U", "-d", "-u", &user, "-f", &config];
    (Process::start(&Path::new(SBIN).join("chronyd"), args), command_port)
}

/// The comma-separated fields of the first line that `chronyc` answers.
fn chronyc(port: &str, what: &str) -> Vec<String> {
    let output = run("chronyc", &["-c", "-n", "-h", "127.0.0.1", "-p", port, what]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().unwrap_or("").split(',').map(str::to_owned).collect()
}

#[test]
fn chronyd_selects_our_server_and_follows_it() {
    let service = local_reference();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (chronyd, port) = chronyd(service.address(), dir.path());
    // Mode ^ (server), state * (selected), name, stratum.
    let mut sources = Vec::new();
    for _ in 0..600 {
        sources = chronyc(&port, "sources");
        if sources.get(1).is_some_and(|state| state == "*") {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let seen: Vec<&str> = sources.iter().take(4).map(String::as_str).collect();
    assert_eq!(seen, ["^", "*", "127.0.0.1", "10"], "{sources:?}; its log:\n{}", chronyd.log());
    // Reference id and name, stratum, ...; the last field is the leap status.
    let tracking = chronyc(&port, "tracking");
    assert_eq!((tracking[0].as_str(), tracking[2].as_str()), ("7F000001", "11"), "{tracking:?}");
    assert_eq!(tracking.last().map(String::as_str), Some("Normal"), "{tracking:?}");
    // One and the same clock on both ends: what chronyd finds wrong is bounded by what it says of its bound.
    let number = |field: usize| tracking[field].parse::<f64>().expect("a number");
    let (offset, delay, dispersion) = (number(6), number(10), number(11));
    assert!(offset.abs() <= delay / 2.0 + dispersion, "{tracking:?}");
}

#[test]
fn chronyd_measures_our_server_once() {
    let service = local_reference();
    let server = format!("server 127.0.0.1 port {} iburst", service.address().port());
    let output = run("chronyd", &["-Q", "-U", "-u", "root", "-t", "30", &server, "cmdport 0"]);
    let log = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{log}");
    let (_, wrong) = log.split_once("System clock wrong by ").unwrap_or_else(|| panic!("{log}"));
    let wrong: f64 =
        wrong.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{log}"));
    assert!(wrong.abs() < 0.1, "the same clock, and {wrong} s off");
}

/// `ntpdate` knows port 123 only, which is privileged: where we may not have it, in a network of our own.
#[test]
fn ntpdate_accepts_our_server() {
    const ADDRESS: &str = "127.77.0.1";
    let bind = UdpSocket::bind((ADDRESS, 123));
    let own_network = bind.is_err();
    drop(bind);
    // Asked until the service is up; `ntpdate -q` never sets a clock.
    let script = format!(
        "[ $1 = true ] && ip link set lo up; \
         \"$0\" packets --camera a=rtp://127.0.0.1:{} --ntp {ADDRESS}:123 --ntp-local-stratum 10 & server=$!; \
         for i in 1 2 3 4 5 6 7 8 9 10; do \
           PATH=$PATH:{SBIN} ntpdate -q -t 2 {ADDRESS} && break; sleep 0.5; \
         done; kill $server; wait",
        free_port()
    );
    let program = program("framelock-aggregator");
    let program = program.to_string_lossy();
    let shell = ["sh", "-c", &script, &program, if own_network { "true" } else { "false" }];
    let output = if own_network {
        run("unshare", &[&["--map-root-user", "--net"], &shell[..]].concat())
    } else {
        run("env", &shell)
    };
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // 2026-11-20 14:00:00.000000 (+0000) +0.000012 +/- 0.000034 127.77.0.1 s10 no-leap
    let line = out.lines().find(|line| line.contains(ADDRESS)).unwrap_or_else(|| panic!("{out}\n{log}"));
    assert!(line.contains("s10 no-leap"), "{line}");
    let fields: Vec<&str> = line.split_whitespace().collect();
    let at = fields.iter().position(|field| *field == "+/-").unwrap_or_else(|| panic!("{line}"));
    let [offset, bound] = [fields[at - 1], fields[at + 1]].map(|text| text.parse::<f64>().expect("seconds"));
    assert!(offset.abs() <= bound, "{line}");
}

#[test]
fn our_sender_measures_it_within_its_bound() {
    let service = local_reference();
    let address = service.address().to_string();
    let output = Command::new(program("framelock-sender"))
        .args(["clock", "--server", &address, "--samples", "8", "--interval", "20ms", "--json"])
        .output()
        .expect("the sender starts");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&found["state"], &found["stratum"]), (&"synchronized".into(), &10.into()), "{found}");
    let [offset, bound] = ["offset_ns", "uncertainty_ns"].map(|key| found[key].as_i64().expect("a number"));
    assert!(offset.abs() <= bound, "{found}");
    assert_eq!(service.counters().refused, 0);
}

#[test]
fn it_says_of_the_hosts_clock_what_the_kernel_says() {
    let kernel = framelock_timex::read().expect("adjtimex is allowed");
    let service = serve(loopback(), None);
    let answer = ask(&client(service.address()), 7);
    if kernel.synchronized {
        assert_eq!((answer.leap == Leap::Unsynchronized, answer.stratum), (false, 6));
        assert!(answer.root_dispersion.to_span() > Span::ZERO);
    } else {
        assert_eq!((answer.leap, answer.stratum), (Leap::Unsynchronized, 16));
    }
}

#[test]
fn timestamps_are_this_machines_clock() {
    let service = local_reference();
    let socket = client(service.address());
    for nonce in 1..20 {
        let before = utc_now();
        let answer = ask(&socket, nonce);
        let after = utc_now();
        let (received, sent) = (answer.receive.to_utc(before), answer.transmit.to_utc(before));
        assert!(
            before <= received && received <= sent && sent <= after,
            "{before} {received} {sent} {after}"
        );
    }
}

fn utc_now() -> Utc {
    #[expect(clippy::disallowed_methods, reason = "compares the service's clock with this machine's")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Utc::from_unix_nanos(i64::try_from(now.as_nanos()).expect("before 2262"))
}

/// A service on every interface answers from the address that was asked, IPv4 and IPv6.
#[test]
fn the_answer_comes_from_the_address_that_was_asked() {
    let service = serve("[::]:0".parse().expect("an address"), Some(10));
    let port = service.address().port();
    for host in ["127.0.0.1", "127.0.0.2", "127.9.9.9", "::1"] {
        let host: IpAddr = host.parse().expect("an address");
        if UdpSocket::bind((host, 0)).is_ok() {
            // A connected socket takes nothing from another address.
            ask(&client(SocketAddr::new(host, port)), 9);
        }
    }
}

#[test]
fn only_plain_client_requests_are_answered() {
    let service = local_reference();
    let socket = client(service.address());
    let good = request(0xbad);
    let first = |byte: u8| [&[byte], &good[1..]].concat();
    let bad: Vec<Vec<u8>> = vec![
        Vec::new(),
        good[..47].to_vec(),
        // A request with an extension field, one with a MAC, and a jumbo.
        [&good[..], &[0; 28]].concat(),
        [&good[..], &[1; 20]].concat(),
        [&good[..], &[0; 1_400]].concat(),
        // Versions 1, 2 and 5; modes 1 (symmetric), 2, 4 (a response), 5 (broadcast).
        first(0x0b),
        first(0x13),
        first(0x2b),
        first(0x21),
        first(0x22),
        first(0x24),
        first(0x25),
        // Control (mode 6, READVAR) and private (mode 7, MON_GETLIST_1), which amplified floods elsewhere.
        vec![0x16, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        [&[0x17, 0, 3, 0x2a][..], &[0; 44]].concat(),
    ];
    for datagram in &bad {
        socket.send(datagram).expect("loopback takes it");
    }
    // Loopback keeps the order: had one of those been answered, that answer would come first.
    ask(&socket, 0x600d);
    // The counters are renewed after each batch.
    while service.counters().answered == 0 {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    // An empty datagram is not even looked at.
    assert_eq!(service.counters().refused, bad.len() as u64 - 1);
}

#[test]
fn a_flood_gets_few_answers_one_kiss_and_then_silence() {
    const FLOOD: u64 = 2_000;
    let service = local_reference();
    let socket = client(service.address());
    let mut sent = 0;
    while sent < FLOOD {
        for _ in 0..50 {
            socket.send(&request(sent + 1)).expect("loopback takes it");
            sent += 1;
        }
        // The service's socket has room for so many; nothing is to be lost on the way here.
        while service.counters().answered + service.counters().kissed + service.counters().limited < sent {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
    let counters = service.counters();
    assert_eq!(counters.answered + counters.kissed + counters.limited, FLOOD);
    socket.set_nonblocking(true).expect("sockets can be made non-blocking");
    let (mut answers, mut kisses, mut datagram) = (0, 0, [0; 128]);
    while let Ok(length) = socket.recv(&mut datagram) {
        match Response::parse(&datagram[..length]).expect("an answer").kiss() {
            Some(code) => {
                assert_eq!(code, KissCode::RATE);
                kisses += 1;
            }
            None => answers += 1,
        }
    }
    assert_eq!((answers, kisses), (counters.answered, counters.kissed));
    assert!(counters.kissed >= 1 && counters.limited > 0, "{counters:?}");
    // The port is another, the address the same; another address is another matter.
    let other = UdpSocket::bind("127.0.0.3:0").expect("loopback has many addresses");
    other.connect(service.address()).expect("connecting a UDP socket cannot fail");
    other.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert_eq!(ask(&other, 5).kiss(), None);
}
