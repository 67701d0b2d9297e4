//! The program as a user meets it: exit codes, messages, signals and pipes.
#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_framelock-aggregator"));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    program().args(args).output().expect("the program starts")
}

/// Fails with this exit code and one or two lines that say so.
fn fails(args: &[&str], code: i32, says: &[&str]) {
    let output = run(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{args:?}");
    for word in says {
        assert!(stderr.contains(word), "{args:?} does not say {word:?}: {stderr}");
    }
    assert!(stderr.lines().count() <= 2, "{args:?}: {stderr}");
}

/// Two free ports side by side.
fn free_port() -> u16 {
    for _ in 0..100 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        if port < 65_000 && UdpSocket::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
    panic!("no free ports");
}

/// Starts `packets` and waits until it says that it listens.
fn listening(camera: &str, stdout: Stdio) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut child = program()
        .args(["packets", "--camera", camera])
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended without listening");
    }
    (child, log)
}

fn file(contents: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(contents.as_bytes()).unwrap();
    file
}

#[test]
fn wrong_arguments_are_code_2_and_say_what_is_right() {
    fails(&["packets"], 2, &["no camera", "--camera left=rtp://:5000"]);
    fails(&["packets", "--camera", "left"], 2, &["NAME=SOURCE"]);
    fails(&["packets", "--camera", "left=srt://:1"], 2, &["unknown kind of source"]);
    fails(&["packets", "--camera", "*=udp://:5000"], 2, &["rtp://"]);
    fails(&["packets", "--camera", "a=rtp://:5000", "--camera", "a=rtp://:5002"], 2, &["\"a\""]);
    fails(&["packets", "--camera", "a=rtp://:5000", "--policy", "best"], 2, &["tightest"]);
    fails(&["packets", "--camera", "a=rtp://:5000", "--ntp", "nowhere"], 2, &["127.0.0.1:11123"]);
    fails(&["packets", "--camera", "a=rtp://:5000", "--ntp-local-stratum", "16"], 2, &["1..=15"]);
    fails(&["replay"], 2, &["--timestamps"]);
    fails(&["nonsense"], 2, &["nonsense"]);
    fails(
        &["packets", "--polcy", "tightest"],
        2,
        &["--polcy", "--policy", "Usage: framelock-aggregator packets"],
    );
    fails(&["run", "--config", "/nonexistent.toml"], 2, &["/nonexistent.toml"]);
}

#[test]
fn failures_while_running_are_code_1() {
    fails(&["replay", "--pcap", "/nonexistent.pcap", "--camera", "a=5000"], 1, &["/nonexistent.pcap"]);
    let no_pcap = file("this is not a capture file at all");
    let path = no_pcap.path().to_str().unwrap();
    fails(&["replay", "--pcap", path, "--camera", "a=5000"], 1, &[path, "not a pcap file"]);
    fails(
        &["packets", "--camera", "a=rtp://192.0.2.1:5000"],
        1,
        &["192.0.2.1", "no address of this machine"],
    );
}

#[test]
fn what_cannot_be_written_is_a_failure() {
    let times = file("a,1\na,2\n");
    let settings = file("[[camera]]\nname = \"a\"\nsource = \"rtp://:5000\"\n");
    let path = |file: &tempfile::NamedTempFile| file.path().to_str().unwrap().to_owned();
    for args in
        [["replay", "--timestamps", &path(&times)], ["validate", &path(&settings), "--log-format=text"]]
    {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = program().args(args).stdout(full).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains("cannot write to standard output: No space left"), "{args:?}: {stderr}");
    }
}

#[test]
fn a_port_in_use_is_one_line_with_what_to_do() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let camera = format!("a=udp://127.0.0.1:{port}");
    fails(&["packets", "--camera", &camera], 1, &[&port.to_string(), "in use", "another port"]);
}

#[test]
fn an_ntp_port_in_use_is_an_error_where_it_was_asked_for_and_a_warning_where_not() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let ntp = taken.local_addr().unwrap().to_string();
    let camera = format!("a=rtp://127.0.0.1:{}", free_port());
    fails(&["packets", "--camera", &camera, "--ntp", &ntp], 1, &["NTP service", "in use", "another port"]);

    // Taken by us or, if that fails, by somebody else.
    let _default_port = UdpSocket::bind("0.0.0.0:11123");
    let output = run(&["packets", "--camera", &camera, "--seconds", "0.1", "--ntp-local-stratum", "10"]);
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(log.contains("WARN") && log.contains("11123") && log.contains("going on without it"), "{log}");
}

#[test]
fn validate_says_where_a_file_is_wrong() {
    let good = file("[[camera]]\nname = \"a\"\nsource = \"rtp://:5000\"\n");
    let output = run(&["validate", good.path().to_str().unwrap()]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("valid, 1 source"));
    let bad = file("queue = 4\nmax-wiat = \"3ms\"\n");
    let path = bad.path().to_str().unwrap();
    fails(&["validate", path], 2, &[&format!("{path}:2"), "did you mean \"max-wait\"?"]);
    fails(&["validate", file("").path().to_str().unwrap()], 2, &["no camera"]);
}

#[test]
fn signals_end_it_cleanly() {
    for signal in [Signal::INT, Signal::TERM] {
        let (mut child, _log) = listening(&format!("a=rtp://127.0.0.1:{}", free_port()), Stdio::null());
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_closed_pipe_ends_it_even_while_there_are_no_packets() {
    let (mut child, _log) = listening(&format!("a=rtp://127.0.0.1:{}", free_port()), Stdio::piped());
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_time_limit_ends_it() {
    let camera = format!("a=rtp://127.0.0.1:{}", free_port());
    let output = run(&["packets", "--camera", &camera, "--seconds", "0.2"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.is_empty());
}

#[test]
fn logs_can_be_json() {
    let camera = format!("a=rtp://127.0.0.1:{}", free_port());
    let output = run(&["packets", "--camera", &camera, "--seconds", "0.1", "--log-format", "json"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.is_empty());
    for line in stderr.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
}

#[test]
fn help_is_no_error() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let mut text = String::new();
    output.stdout.as_slice().read_to_string(&mut text).unwrap();
    for command in ["packets", "run", "replay", "validate", "demo"] {
        assert!(text.contains(command));
    }
}
