//! Every rule of the mapper and every failure that systems of this kind are known for, scripted.

use framelock_common::rtcp::CaptureKind;

use super::*;

const UTC: Utc = Utc::from_unix_nanos(1_790_000_000_000_000_000);

/// The host's clock shows UTC exactly, and its monotonic clock began at [`UTC`].
const HOST: HostClock = HostClock::new(HostTime::from_nanos(0), UTC, Span::ZERO);

fn utc(ms: i64) -> Utc {
    UTC + Span::from_millis(ms)
}

fn ntp(ms: i64) -> NtpTimestamp {
    NtpTimestamp::from_utc(utc(ms))
}

fn ticks(ms: i64) -> MediaTime {
    MediaTime::from_ticks(ms * 90)
}

fn board(state: ClockState) -> ClockInfo {
    ClockInfo {
        pts_on_rtp_clock: true,
        state,
        uncertainty: Span::from_micros(300),
        capture_kind: CaptureKind::Synthetic,
    }
}

/// A frame captured at `ms` on a media clock that shows `base` more, arriving 30 ms later.
fn h264(ms: i64, base: MediaTime) -> FrameTiming {
    let media = MediaTime::from_ticks(base.as_ticks() + ticks(ms).as_ticks());
    FrameTiming {
        media,
        rtp: Some(media),
        mpegts: false,
        sei: None,
        arrival: HostTime::from_nanos((ms + 30) * 1_000_000),
        apart: Span::ZERO,
    }
}

/// The same in RTP/MPEG-TS, sent 20 ms after its capture; the PTS is `pts_base` off the RTP clock.
fn mpegts(ms: i64, pts_base: i64) -> FrameTiming {
    FrameTiming {
        media: MediaTime::from_ticks(ticks(ms).as_ticks() + pts_base),
        rtp: Some(ticks(ms + 20)),
        mpegts: true,
        ..h264(ms, MediaTime::default())
    }
}

fn error(stamped: Timestamped, ms: i64) -> Span {
    (stamped.time.utc - utc(ms)).abs()
}

fn holds(stamped: Timestamped, ms: i64, source: TimeSource) {
    assert_eq!(stamped.source, source);
    assert!(error(stamped, ms) <= stamped.time.uncertainty, "{ms} ms: {stamped:?}");
}

#[test]
fn sender_report_beats_in_band_beats_sei_beats_arrival() {
    let mut mapper = Mapper::new();
    let zero = MediaTime::default();
    holds(mapper.map(&h264(0, zero), &HOST), 0, TimeSource::Arrival);
    let own =
        SeiTime { utc: utc(33), uncertainty: Some(Span::from_micros(500)), state: ClockState::Synchronized };
    let with_sei = FrameTiming { sei: Some(own), ..h264(33, zero) };
    let stamped = mapper.map(&with_sei, &HOST);
    holds(stamped, 33, TimeSource::Sei);
    assert_eq!(stamped.time.uncertainty, Span::from_micros(500));
    mapper.handle_in_band(ticks(50), ntp(50), utc(80));
    holds(mapper.map(&h264(66, zero), &HOST), 66, TimeSource::InBand);
    mapper.handle_sender_report(ticks(90), ntp(90), utc(100));
    mapper.handle_clock_info(board(ClockState::Synchronized));
    let stamped = mapper.map(&h264(100, zero), &HOST);
    holds(stamped, 100, TimeSource::SenderReport);
    assert!(stamped.time.uncertainty < Span::from_micros(400), "{stamped:?}");
}

#[test]
fn a_frame_before_its_report_does_not_jump_by_half_a_day() {
    // The report is just past the wrap of the 32-bit RTP clock, the frame just before it.
    let wrap = 1_i64 << 32;
    let mut mapper = Mapper::new();
    mapper.handle_clock_info(board(ClockState::Synchronized));
    mapper.handle_sender_report(MediaTime::from_ticks(wrap + 900), ntp(10), utc(10));
    let frame = h264(-23, MediaTime::from_ticks(wrap));
    holds(mapper.map(&frame, &HOST), -23, TimeSource::SenderReport);
}

#[test]
fn pts_and_rtp_timestamp_may_be_on_both_sides_of_their_wraps() {
    let mut mapper = Mapper::new();
    mapper.handle_clock_info(board(ClockState::Synchronized));
    mapper.handle_sender_report(ticks(0), ntp(0), utc(0));
    // A PTS has 33 bits and its unwrapping started elsewhere: only its low 32 bits count.
    for pts_base in [0, 1 << 32, -(1 << 32), 5 << 32] {
        for ms in [-10, 0, 5, 1_000] {
            let stamped = mapper.map(&mpegts(ms, pts_base), &HOST);
            holds(stamped, ms, TimeSource::SenderReport);
            assert!(error(stamped, ms) < Span::from_micros(20), "{pts_base} {ms}: {stamped:?}");
        }
    }
}

#[test]
fn rtp_timestamp_zero_in_a_report_is_a_time() {
    let mut mapper = Mapper::new();
    mapper.handle_clock_info(board(ClockState::Synchronized));
    mapper.handle_sender_report(MediaTime::from_ticks(0), ntp(0), utc(5));
    holds(mapper.map(&h264(3, MediaTime::default()), &HOST), 3, TimeSource::SenderReport);
}

#[test]
fn ntp_zero_in_a_report_is_no_time() {
    let mut mapper = Mapper::new();
    mapper.handle_sender_report(ticks(0), NtpTimestamp::from_bits(0), utc(5));
    holds(mapper.map(&h264(3, MediaTime::default()), &HOST), 3, TimeSource::Arrival);
}

#[test]
fn host_time_is_never_passed_off_as_capture_time() {
    // Nothing is known yet: the frame says that its time is its arrival, and how little that is worth.
    let stamped = Mapper::new().map(&h264(0, MediaTime::default()), &HOST);
    assert_eq!(stamped.source, TimeSource::Arrival);
    assert!(stamped.time.uncertainty >= Span::from_secs(1));
}

#[test]
fn equal_reports_are_harmless() {
    let mut mapper = Mapper::new();
    mapper.handle_clock_info(board(ClockState::Synchronized));
    for _ in 0..3 {
        mapper.handle_sender_report(ticks(0), ntp(0), utc(5));
    }
    mapper.handle_sender_report(ticks(1), ntp(0), utc(5));
    mapper.handle_sender_report(ticks(0), ntp(1), utc(5));
    holds(mapper.map(&h264(40, MediaTime::default()), &HOST), 40, TimeSource::SenderReport);
}

#[test]
fn an_unsynchronized_board_never_passes_as_utc() {
    let mut mapper = Mapper::new();
    let wrong = 3_600_000 / 2;
    assert_eq!(mapper.handle_clock_info(board(ClockState::Unsynchronized)), Some(ClockEvent::Unsynchronized));
    mapper.handle_sender_report(ticks(0), ntp(wrong), utc(0));
    mapper.handle_in_band(ticks(0), ntp(wrong), utc(0));
    let sei = Some(SeiTime { utc: utc(wrong), uncertainty: None, state: ClockState::Synchronized });
    holds(mapper.map(&FrameTiming { sei, ..h264(0, MediaTime::default()) }, &HOST), 0, TimeSource::Arrival);
    // It synchronizes: the first report after that counts, and nothing from before it.
    assert_eq!(mapper.handle_clock_info(board(ClockState::Synchronized)), Some(ClockEvent::Synchronized));
    holds(mapper.map(&h264(33, MediaTime::default()), &HOST), 33, TimeSource::Arrival);
    mapper.handle_sender_report(ticks(50), ntp(50), utc(60));
    holds(mapper.map(&h264(66, MediaTime::default()), &HOST), 66, TimeSource::SenderReport);
    // And is lost again.
    mapper.handle_clock_info(board(ClockState::Unsynchronized));
    holds(mapper.map(&h264(100, MediaTime::default()), &HOST), 100, TimeSource::Arrival);
}

#[test]
fn an_unsynchronized_sei_never_passes_as_utc() {
    let sei = Some(SeiTime {
        utc: utc(1_234),
        uncertainty: Some(Span::from_micros(1)),
        state: ClockState::Unsynchronized,
    });
    let mut mapper = Mapper::new();
    let frame = FrameTiming { rtp: None, sei, ..h264(0, MediaTime::default()) };
    holds(mapper.map(&frame, &HOST), 0, TimeSource::Arrival);
}

#[test]
fn sei_on_key_frames_only_serves_the_frames_between() {
    let mut mapper = Mapper::new();
    let frame = |ms, sei| FrameTiming { rtp: None, sei, ..h264(ms, MediaTime::default()) };
    let sei = SeiTime { utc: utc(0), uncertainty: None, state: ClockState::Synchronized };
    holds(mapper.map(&frame(0, Some(sei)), &HOST), 0, TimeSource::Sei);
    let stamped = mapper.map(&frame(33, None), &HOST);
    holds(stamped, 33, TimeSource::Sei);
    assert!(error(stamped, 33) < Span::from_micros(20));
}

#[test]
fn foreign_mpegts_goes_by_the_rtp_timestamp_of_the_packet_in_which_the_frame_starts() {
    // ffmpeg's PTS is on a clock of its own, here 1.4 s off.
    let mut mapper = Mapper::new();
    mapper.handle_sender_report(ticks(0), ntp(0), utc(5));
    let stamped = mapper.map(&mpegts(100, 126_000), &HOST);
    holds(stamped, 100, TimeSource::SenderReport);
    assert_eq!(stamped.time.utc, utc(120), "transmission, 20 ms after the capture");
    assert!(stamped.time.uncertainty >= TRANSMISSION_BOUND);
}

#[test]
fn before_the_first_clock_info_the_sei_beats_a_transmission_time() {
    let mut mapper = Mapper::new();
    mapper.handle_in_band(ticks(20), ntp(20), utc(30));
    let sei = Some(SeiTime {
        utc: utc(0),
        uncertainty: Some(Span::from_micros(500)),
        state: ClockState::Synchronized,
    });
    holds(mapper.map(&FrameTiming { sei, ..mpegts(0, 0) }, &HOST), 0, TimeSource::Sei);
    mapper.handle_clock_info(board(ClockState::Synchronized));
    holds(mapper.map(&mpegts(33, 0), &HOST), 33, TimeSource::InBand);
}

#[test]
fn a_foreign_sender_that_reports_its_uptime_is_not_believed() {
    let mut mapper = Mapper::new();
    // 1000 s since its start, as seconds since 1900.
    mapper.handle_sender_report(ticks(0), NtpTimestamp::from_bits(1_000 << 32), utc(0));
    holds(mapper.map(&h264(0, MediaTime::default()), &HOST), 0, TimeSource::Arrival);
}

#[test]
fn a_foreign_senders_bound_covers_what_its_claim_and_the_arrival_disagree_about() {
    let mut mapper = Mapper::new();
    // Its clock is 5 s slow, and nothing says how good it is.
    mapper.handle_sender_report(ticks(0), ntp(-5_000), utc(0));
    holds(mapper.map(&h264(0, MediaTime::default()), &HOST), 0, TimeSource::SenderReport);
}

#[test]
fn a_step_is_an_event_and_until_it_is_sure_the_bound_holds_both_sides() {
    let mut mapper = Mapper::new();
    mapper.handle_clock_info(board(ClockState::Synchronized));
    mapper.handle_sender_report(ticks(0), ntp(0), utc(0));
    // The board's clock was 800 ms slow all along and steps.
    let step = 800;
    assert_eq!(
        mapper.handle_sender_report(ticks(1_000), ntp(1_000 + step), utc(1_000)),
        Some(ClockEvent::Suspect)
    );
    holds(mapper.map(&h264(1_033, MediaTime::default()), &HOST), 1_033 + step, TimeSource::SenderReport);
    let event = mapper.handle_sender_report(ticks(2_000), ntp(2_000 + step), utc(2_000));
    assert_eq!(event, Some(ClockEvent::Step(Span::from_millis(step))));
    let stamped = mapper.map(&h264(2_033, MediaTime::default()), &HOST);
    assert!(error(stamped, 2_033 + step) < Span::from_micros(20), "{stamped:?}");
}

#[test]
fn an_in_band_time_confirms_a_step_at_once() {
    let mut mapper = Mapper::new();
    mapper.handle_clock_info(board(ClockState::Synchronized));
    mapper.handle_sender_report(ticks(0), ntp(0), utc(0));
    mapper.handle_sender_report(ticks(1_000), ntp(1_300), utc(1_000));
    let event = mapper.handle_in_band(ticks(1_010), ntp(1_310), utc(1_010));
    assert_eq!(event, Some(ClockEvent::Step(Span::from_millis(300))));
}

#[test]
fn one_nonsense_report_changes_nothing() {
    let mut mapper = Mapper::new();
    mapper.handle_clock_info(board(ClockState::Synchronized));
    for s in 0..10 {
        let wild = if s == 5 { 777_777 } else { 0 };
        mapper.handle_sender_report(ticks(s * 1_000), ntp(s * 1_000 + wild), utc(s * 1_000));
        let stamped = mapper.map(&h264(s * 1_000 + 500, MediaTime::default()), &HOST);
        assert!(error(stamped, s * 1_000 + 500) < Span::from_micros(20), "{s}: {stamped:?}");
    }
    assert_eq!(mapper.outliers(), 1);
}

#[test]
fn a_restart_forgets_what_was_said_before() {
    let mut mapper = Mapper::new();
    mapper.handle_clock_info(board(ClockState::Synchronized));
    mapper.handle_sender_report(ticks(0), ntp(0), utc(0));
    mapper.reset();
    assert_eq!(mapper.clock_info(), None);
    holds(mapper.map(&h264(10, MediaTime::default()), &HOST), 10, TimeSource::Arrival);
}

#[test]
fn a_report_that_comes_later_gives_a_frame_a_better_time_and_never_a_worse_one() {
    let mut mapper = Mapper::new();
    let frame = h264(0, MediaTime::default());
    let stamped = mapper.map(&frame, &HOST);
    assert_eq!(stamped.source, TimeSource::Arrival);
    let mut trace = Trace::new(frame, stamped, &mapper);
    assert_eq!(trace.improve(&mapper, &HOST), None, "nothing is known yet");
    assert!(!mapper.take_news());
    // In-band time is better than arrival, a report better than that.
    mapper.handle_in_band(ticks(100), ntp(100), utc(130));
    assert!(mapper.take_news() && !mapper.take_news());
    holds(trace.improve(&mapper, &HOST).unwrap(), 0, TimeSource::InBand);
    mapper.handle_sender_report(ticks(2_000), ntp(2_000), utc(2_010));
    holds(trace.improve(&mapper, &HOST).unwrap(), 0, TimeSource::SenderReport);
    // What the board says of its bound counts too.
    let before = trace.stamped().time.uncertainty;
    mapper.handle_clock_info(board(ClockState::Synchronized));
    assert!(mapper.take_news());
    let better = trace.improve(&mapper, &HOST).unwrap();
    holds(better, 0, TimeSource::SenderReport);
    assert!(better.time.uncertainty < before);
    // Between two reports less is left to chance than beside one.
    mapper.handle_sender_report(ticks(-20), ntp(-20), utc(2_020));
    let between = trace.improve(&mapper, &HOST).unwrap();
    assert!(between.time.uncertainty < better.time.uncertainty);
    assert_eq!(trace.improve(&mapper, &HOST), None, "the same again is no better");
    // A poorer word changes nothing: the board lost its clock after the frame was captured.
    mapper
        .handle_clock_info(ClockInfo { uncertainty: Span::from_secs(1), ..board(ClockState::Synchronized) });
    assert_eq!(trace.improve(&mapper, &HOST), None);
    mapper.handle_clock_info(board(ClockState::Unsynchronized));
    assert_eq!(trace.improve(&mapper, &HOST), None);
    // Nor do the words of another sender.
    mapper.reset();
    mapper.handle_clock_info(board(ClockState::Synchronized));
    mapper.handle_sender_report(ticks(0), ntp(77), utc(77));
    assert_eq!(trace.improve(&mapper, &HOST), None);
}

#[test]
fn frames_before_the_first_sei_gain_from_it() {
    let mut mapper = Mapper::new();
    let frame = |ms, sei| FrameTiming { rtp: None, sei, ..h264(ms, MediaTime::default()) };
    let first = frame(0, None);
    let mut trace = Trace::new(first, mapper.map(&first, &HOST), &mapper);
    let sei = SeiTime { utc: utc(33), uncertainty: None, state: ClockState::Synchronized };
    mapper.map(&frame(33, Some(sei)), &HOST);
    assert!(mapper.take_news());
    holds(trace.improve(&mapper, &HOST).unwrap(), 0, TimeSource::Sei);
    let sei = SeiTime { utc: utc(66), ..sei };
    mapper.map(&frame(66, Some(sei)), &HOST);
    assert!(!mapper.take_news(), "every frame has its own");
}

#[test]
fn a_time_that_the_arrival_contradicts_is_known_as_such() {
    let of = |ms, source| {
        let time = UtcEstimate { utc: utc(ms), uncertainty: Span::ZERO };
        basis(&Timestamped { time, source }, utc(0))
    };
    for ms in [-9_000, 0, 900] {
        assert_eq!(of(ms, TimeSource::SenderReport), TimeBasis::Told, "{ms}");
    }
    for ms in [-3_600_000, -11_000, 1_100, 60_000] {
        assert_eq!(of(ms, TimeSource::Sei), TimeBasis::Contradicted, "{ms}");
        assert_eq!(of(ms, TimeSource::Arrival), TimeBasis::Arrival, "{ms}");
    }
}

#[test]
fn a_recording_has_its_own_times_however_long_ago_and_one_that_is_repeated_has_none() {
    let sei = |uncertainty, state| Some(SeiTime { utc: utc(-86_400_000), uncertainty, state });
    let frame = |ms, sei| FrameTiming { rtp: None, sei, ..h264(ms, MediaTime::default()) };
    let bound = Span::from_micros(700);
    let told = sei(Some(bound), ClockState::Synchronized);
    // Live, a day is no delay but a wrong clock.
    assert_eq!(Mapper::new().map(&frame(0, told), &HOST).source, TimeSource::Arrival);
    let playing = |playback| {
        let mut mapper = Mapper::new();
        mapper.play(playback);
        mapper
    };
    let mut recording = playing(Playback::Recording);
    let stamped = recording.map(&frame(0, told), &HOST);
    assert_eq!((stamped.source, stamped.time.utc), (TimeSource::Sei, utc(-86_400_000)));
    assert_eq!(stamped.time.uncertainty, bound);
    // A frame without goes by those with.
    let next = recording.map(&frame(40, None), &HOST);
    assert_eq!((next.source, next.time.utc), (TimeSource::Sei, utc(-86_400_000 + 40)));
    let foreign = playing(Playback::Recording).map(&frame(0, sei(None, ClockState::Synchronized)), &HOST);
    assert_eq!((foreign.source, foreign.time.uncertainty), (TimeSource::Sei, FOREIGN_BOUND));
    let guess =
        playing(Playback::Recording).map(&frame(0, sei(Some(bound), ClockState::Unsynchronized)), &HOST);
    assert_eq!(guess.source, TimeSource::Arrival);
    assert_eq!(playing(Playback::Repeated).map(&frame(0, told), &HOST).source, TimeSource::Arrival);
}

#[test]
fn a_file_read_early_or_late_has_a_bound_that_says_so() {
    let mut mapper = Mapper::new();
    mapper.play(Playback::Recording);
    for apart in [Span::ZERO, Span::from_secs(-600), Span::from_secs(5)] {
        let frame = FrameTiming { rtp: None, apart, ..h264(0, MediaTime::default()) };
        assert_eq!(mapper.map(&frame, &HOST).time.uncertainty, ARRIVAL_BOUND + apart.abs());
        assert_eq!(Mapper::new().map(&frame, &HOST).time.uncertainty, ARRIVAL_BOUND, "live");
    }
}
