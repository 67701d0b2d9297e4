"""Packets of real senders: times, bounds, order, statuses."""

from __future__ import annotations

import statistics

import framelock
import pytest
from conftest import MakeRig, Rig, complete
from support import PATIENCE, free_port, timecode


def test_times_are_the_truth_within_their_bounds(rig: Rig) -> None:
    with framelock.Aggregator(rig.cameras, queue=60) as aggregator:
        packets = complete(aggregator, 60)
    outside = 0
    for packet in packets:
        for frame in packet:
            truth = timecode(frame.image).time_ns
            outside += abs(frame.time_ns - truth) > frame.uncertainty_ns
    # Bounds are to hold in 99 of 100 frames.
    assert outside <= 0.01 * 2 * len(packets)


def test_each_picture_is_of_the_frame_it_comes_with(rig: Rig) -> None:
    with framelock.Aggregator(rig.cameras, queue=60) as aggregator:
        packets = complete(aggregator, 30)
    for camera in rig.cameras:
        codes = [timecode(packet[camera].image) for packet in packets]
        frames = [packet[camera] for packet in packets]
        # The sender counts frames, and so does the receiver: they differ by what came before.
        assert len({code.frame - frame.sequence for code, frame in zip(codes, frames)}) == 1


def test_a_packet_is_what_its_frames_are(rig: Rig) -> None:
    with framelock.Aggregator(rig.cameras) as aggregator:
        packets = complete(aggregator, 10)
    for before, packet in zip(packets, packets[1:]):
        assert packet.number > before.number
        assert packet.time_ns > before.time_ns
    for packet in packets:
        times = [frame.time_ns for frame in packet]
        assert min(times) <= packet.time_ns <= max(times)
        assert packet.spread_ns == max(times) - min(times)
        assert packet.spread_bound_ns == packet.spread_ns + sum(frame.uncertainty_ns for frame in packet)
        assert packet.time == pytest.approx(packet.time_ns / 1e9, abs=1e-6)
        assert packet.spread == pytest.approx(packet.spread_ns / 1e9)
        assert packet.spread_bound == pytest.approx(packet.spread_bound_ns / 1e9)
        for frame in packet:
            assert frame.time == pytest.approx(frame.time_ns / 1e9, abs=1e-6)
            assert frame.uncertainty == pytest.approx(frame.uncertainty_ns / 1e9)


def test_a_packet_is_indexed_by_name_and_place(rig: Rig) -> None:
    with framelock.Aggregator(rig.cameras) as aggregator:
        packet = complete(aggregator, 1)[0]
    assert packet.cameras == ("left", "right") == tuple(frame.camera for frame in packet)
    assert len(packet) == 2 and packet.frames == tuple(packet)
    assert packet["left"] is packet[0] is packet[-2] and packet["right"] is packet[1]
    assert "left" in packet and "middle" not in packet
    with pytest.raises(KeyError, match="middle"):
        packet["middle"]
    for place in (2, -3, 10**30):
        with pytest.raises(IndexError):
            packet[place]
    for wrong in (1.5, None, b"left"):
        with pytest.raises(TypeError):
            packet[wrong]  # type: ignore[index]


def test_the_compressed_frame_is_there(rig: Rig) -> None:
    # More than from one key frame to the next.
    with framelock.Aggregator(rig.cameras, pixels=None, queue=60) as aggregator:
        packets = complete(aggregator, 90)
    kinds = {frame.frame_type for packet in packets for frame in packet}
    assert kinds == {framelock.FrameType.I, framelock.FrameType.P}
    for frame in (frame for packet in packets for frame in packet):
        assert frame.data.startswith((b"\0\0\1", b"\0\0\0\1"))
        assert (frame.width, frame.height) == (320, 240)
        assert frame.key == (frame.frame_type is framelock.FrameType.I)
        assert frame.status is framelock.FrameStatus.OKAY and frame


def test_a_camera_that_is_not_there_has_no_frame(make_rig: MakeRig) -> None:
    rig = make_rig("left")
    cameras = {**rig.cameras, "absent": f"rtp://127.0.0.1:{free_port()}"}
    with framelock.Aggregator(cameras) as aggregator:
        packet = aggregator.next(PATIENCE)
        while not packet["left"]:
            packet = aggregator.next(PATIENCE)
    absent = packet["absent"]
    assert not absent and not packet.complete
    assert absent.status is framelock.FrameStatus.STARTING
    assert packet.spread_bound_ns == packet.spread_ns == 0, "a frame is not apart from itself"
    for attribute in ("time", "time_ns", "uncertainty_ns", "time_source", "frame_type", "data", "image", "width"):
        with pytest.raises(framelock.NoFrameError, match='camera "absent" has no frame in packet .*: starting'):
            getattr(absent, attribute)


def test_a_camera_that_dies_is_broken_and_holds_nobody_up(rig: Rig) -> None:
    with framelock.Aggregator(rig.cameras, pixels=None) as aggregator:
        complete(aggregator, 5)
        rig.senders["right"].kill()
        packet = aggregator.next(PATIENCE)
        while packet["right"].status is not framelock.FrameStatus.BROKEN:
            packet = aggregator.next(PATIENCE)
        after = [aggregator.next(PATIENCE) for _ in range(5)]
        assert all(packet["left"] for packet in after)
        states = {camera.name: camera.state for camera in aggregator.status()}
    assert states == {"left": framelock.CameraState.LIVE, "right": framelock.CameraState.BROKEN}


def test_every_sender_of_a_port_becomes_a_camera(clock: str) -> None:
    from support import Sender

    port = free_port()
    with (
        framelock.Aggregator({"*": f"rtp://127.0.0.1:{port}"}, pixels=None) as aggregator,
        Sender("one", port, clock),
        Sender("two", port, clock),
    ):
        packet = aggregator.next(PATIENCE)
        while len(packet) < 2 or not packet.complete:
            packet = aggregator.next(PATIENCE)
    assert set(packet.cameras) == {"one", "two"}


def test_packets_come_at_the_asked_rate(rig: Rig) -> None:
    with framelock.Aggregator(rig.cameras, pixels=None, rate=10, queue=60) as aggregator:
        times = [packet.time_ns for packet in complete(aggregator, 20)]
    steps = [after - before for before, after in zip(times, times[1:])]
    assert statistics.median(steps) == pytest.approx(100e6, rel=0.35)


def test_status_tells_what_arrived(rig: Rig) -> None:
    with framelock.Aggregator(rig.cameras, pixels=None) as aggregator:
        complete(aggregator, 30)
        cameras = aggregator.status()
    assert [camera.name for camera in cameras] == ["left", "right"]
    for camera in cameras:
        assert camera.state is framelock.CameraState.LIVE and camera.reason is None
        assert camera.address is not None and camera.address.startswith("127.0.0.1:")
        assert camera.packets > 0 and camera.bytes > 0 and camera.frames > 0
        assert camera.time_source is framelock.TimeSource.SENDER_REPORT
        assert camera.time_ns is not None and camera.uncertainty_ns is not None and camera.uncertainty_ns > 0
        assert camera.transit_ns is not None


def test_settings_come_from_a_file_and_arguments_override_them(rig: Rig, tmp_path: object) -> None:
    from pathlib import Path

    assert isinstance(tmp_path, Path)
    file = tmp_path / "rig.toml"
    tables = "".join(f'[[camera]]\nname = "{name}"\nsource = "{source}"\n' for name, source in rig.cameras.items())
    file.write_text(f'policy = "last-before"\nmax-wait = "50ms"\n{tables}')
    with framelock.Aggregator(config=file, pixels=None) as aggregator:
        assert complete(aggregator, 1)[0].cameras == ("left", "right")
    with framelock.Aggregator({"only": rig.cameras["left"]}, config=str(file), pixels=None) as aggregator:
        assert complete(aggregator, 1)[0].cameras == ("only",)
