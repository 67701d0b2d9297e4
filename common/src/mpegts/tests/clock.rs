//! PCR, PTS and DTS against each other, and how often clock and tables come.

use super::*;

/// PCR in 90 kHz ticks, and whether it is marked as discontinuous.
type Pcr = (i64, bool);

/// PCR, and PTS and DTS, of one packet.
fn clocks(packet: &[u8]) -> (Option<Pcr>, Option<(u64, u64)>) {
    let parsed = mpeg2ts_reader::packet::Packet::new(packet);
    let field = parsed.adaptation_field();
    let pcr = field.as_ref().and_then(|field| Some((field.pcr().ok()?, field.discontinuity_indicator())));
    let pcr = pcr.map(|(pcr, jump)| ((u64::from(pcr) / 300).cast_signed(), jump));
    let start = parsed.payload_unit_start_indicator() && u16::from(parsed.pid()) == 0x100;
    let times = parsed.payload().filter(|_| start).map(|payload| {
        let header = mpeg2ts_reader::pes::PesHeader::from_bytes(payload).unwrap();
        let mpeg2ts_reader::pes::PesContents::Parsed(Some(parsed)) = header.contents() else { panic!() };
        match parsed.pts_dts().unwrap() {
            mpeg2ts_reader::pes::PtsDts::PtsOnly(Ok(pts)) => (pts.value(), pts.value()),
            mpeg2ts_reader::pes::PtsDts::Both { pts: Ok(pts), dts: Ok(dts) } => (pts.value(), dts.value()),
            other => panic!("{other:?}"),
        }
    });
    (pcr, times)
}

#[test]
fn pcr_comes_every_40_ms_never_goes_back_and_never_passes_dts() {
    let mut muxer = Muxer::new(MuxConfig::default());
    let millis = |ms: i64| MediaTime::from_ticks(1_000_000 + ms * 90);
    let mut last: Option<(i64, i64)> = None;
    let mut next_frame = 3;
    for ms in 0..4_000 {
        let mut out = Vec::new();
        if ms == next_frame {
            // 5 frames a second, each 30 to 90 ms late; one stalls for 600 ms.
            let latency = if ms > 2_000 && ms < 2_300 { 600 } else { 30 + ms % 60 };
            let pts = millis(ms - latency);
            muxer.write_access_unit(&unit(1, 700, false), pts, None, false, millis(ms), &mut out);
            next_frame += 200;
        } else if muxer.poll_timeout().is_none_or(|due| due <= millis(ms)) {
            muxer.poll_pcr(millis(ms), &mut out);
            assert!(!out.is_empty(), "a timeout came with nothing to do");
        }
        for packet in out.chunks(TS_PACKET) {
            let (pcr, times) = clocks(packet);
            if let (Some((pcr, _)), Some((pts, dts))) = (pcr, times) {
                assert!(pcr <= dts.cast_signed() && dts <= pts, "{pcr} {dts} {pts}");
            }
            let Some((pcr, jump)) = pcr else { continue };
            if let Some((at, before)) = last {
                assert!(ms - at <= 40, "no PCR from {at} ms to {ms} ms");
                assert!(
                    jump || pcr - before == (ms - at) * 90,
                    "PCR ran unevenly at {ms} ms without saying so"
                );
            }
            last = Some((ms, pcr));
        }
    }
    assert_eq!(muxer.late_frames(), 1);
}

#[test]
fn even_a_frame_of_hours_ago_comes_behind_its_pcr() {
    let mut muxer = Muxer::new(MuxConfig::default());
    let mut out = Vec::new();
    let now = MediaTime::from_ticks(1 << 32);
    muxer.poll_pcr(now, &mut out);
    for late in [Span::from_secs(3), Span::from_secs(7_200)] {
        out.clear();
        muxer.write_access_unit(&unit(1, 700, false), now + -late, None, false, now, &mut out);
        let (pcr, times) = clocks(&out[..TS_PACKET]);
        let ((pcr, jump), (pts, _)) = (pcr.unwrap(), times.unwrap());
        assert!(pcr <= pts.cast_signed() && jump, "{late}: {pcr} {pts}");
    }
    // The delay does not follow it there: the next frame in time is shown in time.
    out.clear();
    muxer.write_access_unit(&unit(1, 700, false), now, None, false, now, &mut out);
    let (pcr, _) = clocks(&out[..TS_PACKET]).0.unwrap();
    assert_eq!(now.as_ticks() - pcr, 180_000);
}

#[test]
fn tables_come_before_every_key_frame_and_every_200_ms() {
    let mut muxer = Muxer::new(MuxConfig::default());
    let mut last = None;
    for frame in 0..60 {
        let time = MediaTime::from_ticks(frame * FRAME);
        let key = frame % 17 == 0;
        let mut out = Vec::new();
        muxer.write_access_unit(&unit(1, 700, key), time, None, key, time, &mut out);
        if out[1..3] == [0x40, 0] {
            assert_eq!(out[TS_PACKET + 1..TS_PACKET + 3], [0x50, 0]);
            last = Some(frame);
        }
        assert!(!key || last == Some(frame), "key frame {frame} has no tables");
        assert!(frame - last.unwrap() <= 6, "no tables from {last:?} to {frame}");
        let random_access = out.chunks(TS_PACKET).any(|p| p[1] == 0x41 && p[5] & 0x40 != 0);
        assert_eq!(random_access, key);
    }
}
