"""The drop-in for Stream-Synchronizer: what that library documents."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import framelock
import numpy as np
import pytest
from conftest import Rig
from support import PATIENCE, Sender, free_port, timecode

PROGRAM = Path(__file__).parent / "data" / "stream_sync_program.py"


def cams(rig: Rig) -> list[dict[str, str]]:
    return [{"source": source} for source in rig.cameras.values()]


def test_a_program_for_that_library_runs_with_another_import(rig: Rig, tmp_path: Path) -> None:
    text = PROGRAM.read_text()
    changed = text.replace("from stream_sync import StreamSynchronizer", "from framelock import StreamSynchronizer")
    assert sum(a != b for a, b in zip(text.splitlines(), changed.splitlines(), strict=True)) == 1
    copy = tmp_path / "program.py"
    copy.write_text(changed)
    command = [sys.executable, str(copy), *rig.cameras.values()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    last = re.fullmatch(r"N = 20 largest offset = ([0-9.e-]+)", done.stdout.splitlines()[-1])
    # That library's rule: each camera's last frame before an instant, so at most a period apart.
    assert last is not None and 0 < float(last[1]) < 0.05, done.stdout


def test_frame_data_is_as_documented(rig: Rig) -> None:
    synchronizer = framelock.StreamSynchronizer(cams(rig), frame_packet_buffer_maxsize=-1)
    kinds = set()
    # More than from one key frame to the next.
    for _ in range(90):
        packet = synchronizer.get_frame_packet()
        assert list(packet) == [0, 1]
        for data in packet.values():
            assert list(data) == ["frame_status", "timestamp", "frame", "frame_type", "motion_vector"]
            if data["frame_status"] != "FRAME_OKAY":
                assert data["frame_status"] in ("FRAME_DROPPED", "FRAME_READ_ERROR", "CAP_BROKEN")
                assert list(data.values())[1:] == [None] * 4
                continue
            frame, vectors, timestamp = data["frame"], data["motion_vector"], data["timestamp"]
            assert isinstance(timestamp, float) and isinstance(frame, np.ndarray) and isinstance(vectors, np.ndarray)
            assert frame.dtype == np.uint8 and frame.shape == (240, 320, 3)
            assert vectors.dtype == np.int64 and vectors.ndim == 2 and vectors.shape[1] == 10
            assert data["frame_type"] in ("I", "P")
            kinds.add((data["frame_type"], vectors.shape[0] > 0))
            assert abs(timecode(frame).time_ns / 1e9 - timestamp) < 0.5
    synchronizer.close()
    assert ("I", False) in kinds and ("P", True) in kinds and ("I", True) not in kinds


def test_a_camera_that_is_lost_is_broken_until_it_returns(rig: Rig, clock: str) -> None:
    port = int(rig.cameras["right"].rsplit(":", 1)[1])

    def wait_for(status: str) -> None:
        while synchronizer.get_frame_packet()[1]["frame_status"] != status:
            pass

    with framelock.StreamSynchronizer(cams(rig)) as synchronizer:
        wait_for("FRAME_OKAY")
        rig.senders["right"].kill()
        wait_for("CAP_BROKEN")
        with Sender("right", port, clock):
            wait_for("FRAME_OKAY")


def test_a_camera_that_never_opens_is_broken(rig: Rig) -> None:
    begin = time.monotonic()
    sources = [*cams(rig), {"source": f"rtp://127.0.0.1:{free_port()}"}]
    with framelock.StreamSynchronizer(sources) as synchronizer:
        packet = synchronizer.get_frame_packet()
    assert [packet[n]["frame_status"] for n in (0, 1, 2)] == ["FRAME_OKAY", "FRAME_OKAY", "CAP_BROKEN"]
    assert time.monotonic() - begin >= 10, "it had its time to open"


@pytest.fixture
def clock_ahead() -> Iterator[str]:
    """A time server that is 40 s ahead."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        threading.Thread(target=serve_time, args=(server, 40), daemon=True).start()
        yield f"ntp:127.0.0.1:{server.getsockname()[1]}"


def serve_time(server: socket.socket, ahead: int) -> None:
    """Answers NTP requests (RFC 5905 section 7.3) as a server of stratum 1."""

    def now() -> bytes:
        nanos = time.time_ns() + ahead * 10**9
        seconds = nanos // 10**9 + 2_208_988_800
        return struct.pack("!II", seconds & 0xFFFF_FFFF, (nanos % 10**9 << 32) // 10**9)

    while True:
        try:
            request, client = server.recvfrom(512)
        except OSError:
            return
        received = now()
        header = struct.pack("!BBbbII4s", 0x24, 1, request[2], -20, 0, 16, b"TEST")
        server.sendto(header + received + request[40:48] + received + now(), client)


def test_clocks_that_disagree_are_refused(rig: Rig, clock_ahead: str) -> None:
    port = free_port()
    sources = [{"source": rig.cameras["left"]}, {"source": f"rtp://127.0.0.1:{port}"}]
    with Sender("ahead", port, clock_ahead):
        with framelock.StreamSynchronizer(sources, max_initial_stream_offset=30) as synchronizer:
            with pytest.raises(framelock.StreamProcessingError, match=r"disagree by (39|40)\.\d+ s"):
                for _ in range(1000):
                    synchronizer.get_frame_packet()
            with pytest.raises(framelock.StreamProcessingError):
                synchronizer.get_frame_packet()
        with framelock.StreamSynchronizer(sources, max_initial_stream_offset=60) as synchronizer:
            for _ in range(30):
                synchronizer.get_frame_packet()


ANY: Any = framelock


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"cams": []}, framelock.ConfigError),
        ({"cams": [{"url": "rtp://:5000"}]}, TypeError),
        ({"cams": ["rtp://:5000"]}, TypeError),
        ({"cams": [{"source": 5000}]}, TypeError),
        ({"cams": [{"source": "srt://host"}]}, framelock.ConfigError),
        ({"cams": [{"source": "rtp://:5000"}], "frame_packet_buffer_maxsize": 0}, ValueError),
        ({}, TypeError),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        ANY.StreamSynchronizer(**arguments)
