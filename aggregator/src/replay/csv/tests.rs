use super::*;

fn replay(text: &str) -> Result<String, ReplayError> {
    let mut out = Vec::new();
    csv_from(text.as_bytes(), "times.csv", &SyncConfig::default(), None, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn error(text: &str) -> String {
    replay(text).unwrap_err().to_string()
}

#[test]
fn two_cameras_give_packets_in_the_form_of_live_ones() {
    let packets =
        replay("cam_id,frame_time\nleft,1.0\nright,1.01\nleft,1.1\nright,1.11\nleft,1.2\nright,1.21\n")
            .unwrap();
    let lines: Vec<_> = packets.lines().collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        lines[0],
        concat!(
            r#"{"packet":0,"time_ns":1005000000,"spread_ns":10000000,"spread_bound_ns":null,"complete":true,"frames":["#,
            r#"{"camera":"left","status":"okay","time_ns":1000000000,"uncertainty_ns":null,"time_source":null,"#,
            r#""frame_type":null,"width":null,"height":null,"bytes":null,"latency_ns":10000000},"#,
            r#"{"camera":"right","status":"okay","time_ns":1010000000,"uncertainty_ns":null,"time_source":null,"#,
            r#""frame_type":null,"width":null,"height":null,"bytes":null,"latency_ns":0}]}"#,
        )
    );
}

#[test]
fn the_order_of_lines_does_not_matter_beside_the_order_of_cameras() {
    let by_time = "b,1.0\na,1.01\nb,1.1\na,1.11\nb,1.2\na,1.21\n";
    let by_camera = "b,1.0\nb,1.1\nb,1.2\na,1.01\na,1.11\na,1.21\n";
    assert_eq!(replay(by_time).unwrap(), replay(by_camera).unwrap());
    assert!(replay(by_time).unwrap().contains(r#""frames":[{"camera":"b""#));
}

#[test]
fn arrival_times_decide_what_is_delivered_when() {
    // The right camera's frames take 30 ms; the wait for them shows in the latency.
    let packets =
        replay("l,1.0,1.001\nr,1.0,1.03\nl,1.1,1.101\nr,1.1,1.13\nl,1.2,1.201\nr,1.2,1.23\n").unwrap();
    for line in packets.lines() {
        assert!(line.contains(r#""spread_ns":0,"spread_bound_ns":null,"complete":true"#), "{line}");
        assert_eq!(line.matches(r#""latency_ns":30000000"#).count(), 2, "{line}");
    }
}

#[test]
fn a_malformed_line_is_named_with_its_file_and_number() {
    for (text, expected) in [
        ("a,1\nb;2\n", "times.csv:2: only one field; "),
        ("a,1\n\nb,2,3,4\n", "times.csv:3: more than three fields; "),
        ("a,x\n", "times.csv:1: frame_time \"x\" is not a number of seconds; "),
        ("a,1,y\n", "times.csv:1: arrival_time \"y\" is not a number of seconds; "),
        (",1\n", "times.csv:1: no cam_id; "),
        ("a,1\ncam_id,frame_time\n", "times.csv:2: frame_time \"frame_time\" is not a number of seconds; "),
        ("a,99999999999999\n", "times.csv:1: frame_time \"99999999999999\" is not a number of seconds; "),
    ] {
        let error = error(text);
        assert!(error.starts_with(expected), "{error}");
        assert!(error.contains("cam_id,frame_time[,arrival_time]"), "{error}");
    }
    let error =
        csv_from(&b"a,1\n\xff,2\n"[..], "t", &SyncConfig::default(), None, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().starts_with("t:2: not UTF-8"), "{error}");
    let long = "x".repeat(5_000);
    assert!(self::error(&long).starts_with("times.csv:1: line longer than"));
}

#[test]
fn no_more_cameras_than_the_limit() {
    let lines: String = (0..=MOST_CAMERAS).map(|n| format!("c{n},1\n")).collect();
    assert!(error(&lines).starts_with("times.csv:1025: more than 1024"));
}

#[test]
fn no_more_frames_than_the_limit() {
    assert!(read(&b"a,1\na,2\na,3\n"[..], "t", 3).is_ok());
    let error = read(&b"a,1\na,2\n\na,3\n"[..], "t", 2).unwrap_err().to_string();
    assert!(error.starts_with("t:4: more than 2 frames; "), "{error}");
}

#[test]
fn headers_blank_lines_windows_ends_and_a_missing_last_newline_are_fine() {
    let plain = replay("a,1\na,2\na,3\n").unwrap();
    assert_eq!(replay("\u{feff}cam_id,frame_time,arrival_time\r\na,1,\r\n\r\na, 2\r\na,3").unwrap(), plain);
    assert_eq!(replay("").unwrap(), "");
}

#[test]
fn count_ends_the_replay() {
    let mut out = Vec::new();
    let text = "a,1\na,2\na,3\na,4\n";
    let written = csv_from(text.as_bytes(), "t", &SyncConfig::default(), Some(2), &mut out).unwrap();
    assert_eq!((written, out.iter().filter(|byte| **byte == b'\n').count()), (2, 2));
}

#[test]
fn a_missing_file_is_named() {
    let error = csv(Path::new("/nowhere/x.csv"), &SyncConfig::default(), None, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().starts_with("cannot read /nowhere/x.csv: "), "{error}");
}
