use super::*;

fn parse(text: &str) -> Result<Settings, SettingsError> {
    let settings = Settings::parse(text, Path::new("a.toml"))?;
    settings.check()?;
    Ok(settings)
}

#[test]
fn the_shipped_example_is_valid_and_shows_every_key() {
    let text = include_str!("../../../deploy/aggregator.example.toml");
    parse(text).unwrap();
    // Uncommenting its examples must give a valid configuration too.
    let full: String =
        text.lines().map(|line| format!("{}\n", line.strip_prefix("#: ").unwrap_or(line))).collect();
    let settings = parse(&full).unwrap();
    assert_eq!(settings.ntp.unwrap().local_stratum, Some(10));
    for key in [
        "policy",
        "rate",
        "max-wait",
        "queue",
        "decode",
        "output",
        "max-cameras",
        "[ntp]",
        "enabled",
        "port",
        "address",
        "local-stratum",
        "[[camera]]",
        "name",
        "source",
    ] {
        assert!(full.lines().any(|line| line.starts_with(key)), "{key} is not in the example");
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let error = parse("polcy = \"tightest\"").unwrap_err().to_string();
    assert_eq!(error, "a.toml:1: unknown key \"polcy\"; did you mean \"policy\"?");
}

#[test]
fn the_ntp_service_is_as_the_table_says() {
    let camera = "[[camera]]\nname = \"a\"\nsource = \"rtp://:5000\"\n";
    let ntp = |table: &str| parse(&format!("{camera}{table}")).unwrap();
    assert_eq!((ntp("").ntp, ntp("").no_ntp), (None, false));
    let off = ntp("[ntp]\nenabled = false\nport = 5\n");
    assert_eq!((off.ntp, off.no_ntp), (None, true));
    let local = ntp("[ntp]\nlocal-stratum = 10\n").ntp.unwrap();
    assert_eq!(local, NtpSettings { local_stratum: Some(10), optional: true, ..NtpSettings::default() });
    let asked = ntp("[ntp]\naddress = \"127.0.0.1\"\nport = 4123\n").ntp.unwrap();
    assert_eq!((asked.listen.to_string().as_str(), asked.optional), ("127.0.0.1:4123", false));
    assert!(!ntp("[ntp]\nenabled = true\n").ntp.unwrap().optional);
}

#[test]
fn a_rate_may_be_a_bare_number() {
    let rate = |text: &str| Settings::parse(text, Path::new("a.toml")).unwrap().sync.rate.to_string();
    assert_eq!((rate("rate = 10"), rate("rate = 29.97")), ("10".into(), "29.970".into()));
}

#[test]
fn what_cannot_be_is_refused_with_what_can() {
    let camera = "[[camera]]\nname = \"a\"\nsource = \"rtp://:5000\"\n";
    for (text, says) in [
        (String::new(), "no camera"),
        (format!("{camera}{camera}"), "two cameras are called \"a\""),
        (format!("{camera}{}", camera.replace("\"a\"", "\"b\"")), "two cameras use UDP port 5000"),
        (
            format!("{camera}{}", camera.replace("\"a\"", "\"b\"").replace("//", "//127.0.0.1")),
            "two cameras use UDP port 5000",
        ),
        (format!("queue = 0\n{camera}"), "queue must be 1 to 100000"),
        (format!("max-cameras = 0\n{camera}"), "max-cameras must be"),
        (format!("max-wait = \"2h\"\n{camera}"), "max-wait must be"),
        (format!("{camera}[ntp]\nlocal-stratum = 16\n"), "ntp.local-stratum must be 1 to 15"),
        (format!("[ntp]\nport = 70000\n{camera}"), "a.toml:2"),
        (format!("queue = 5\npolicy = \"best\"\n{camera}"), "a.toml:2: \"best\" is not a policy"),
        (format!("policy = 7\n{camera}"), "a.toml:1: \"7\" is not a policy"),
        (format!("\n\nrate = \"quick\"\n{camera}"), "a.toml:3: \"quick\" is not a rate"),
        (format!("rate = 0\n{camera}"), "a.toml:1: \"0\" is not a rate"),
        (format!("rate = true\n{camera}"), "a.toml:1: invalid type"),
        (camera.replace("rtp://", "srt://"), "a.toml:3: source \"srt://:5000\": unknown kind"),
        (camera.replace("\"a\"", "\"\""), "a.toml:1: camera name"),
        (
            camera.replace("\"a\"", "\"*\"").replace("rtp", "udp"),
            "a.toml:1: camera \"*\" needs an rtp:// source",
        ),
        (camera.replace("name", "nam"), "a.toml:2: unknown key \"nam\"; did you mean \"name\"?"),
    ] {
        let error = parse(&text).expect_err(&text).to_string();
        assert!(error.contains(says), "{error}");
    }
}
