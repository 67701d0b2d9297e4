"""Memory stays where it is, however many packets went through."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import framelock
from conftest import MakeRig
from support import PATIENCE

PACKETS = 10_000
# By then every buffer is there that will be.
SETTLED = 2_000
# What the allocator, Python's and glibc's, may keep more at one time than at another. One image leaked in a hundred
# packets would come to twice as much.
ALLOWED_KIB = 4_096


def resident_kib() -> int:
    gc.collect()
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


def test_ten_thousand_packets_leave_no_memory_behind(make_rig: MakeRig) -> None:
    rig = make_rig("left", "right", size="160x120", fps=200, bitrate="2000k")
    with framelock.Aggregator(rig.cameras, motion_vectors=True, queue=50) as aggregator:
        # A second consumer that is never fast enough.
        slow = aggregator.subscribe(pixels="gray", queue=3)
        settled, before = 0, 0
        for count in range(PACKETS):
            packet = aggregator.next(PATIENCE)
            for frame in packet:
                if frame:
                    assert frame.image.nbytes == 160 * 120 * 3
                    assert frame.motion_vectors.shape[1] == 10
                    assert frame.data and frame.status is framelock.FrameStatus.OKAY
                    assert repr(frame)
            if count % 100 == 0:
                assert slow.next(PATIENCE)[0].camera == "left"
                assert len(aggregator.status()) == 2
            if count == SETTLED:
                before = resident_kib()
        settled = resident_kib()
    assert settled - before <= ALLOWED_KIB, f"{before} KiB after {SETTLED} packets, {settled} KiB after {PACKETS}"


def test_opening_and_closing_leaves_no_memory_behind(make_rig: MakeRig) -> None:
    rig = make_rig("only", size="160x120", fps=100)

    def use() -> None:
        with framelock.Aggregator(rig.cameras) as aggregator, aggregator.subscribe() as consumer:
            assert consumer.next(PATIENCE) and aggregator.next(PATIENCE)

    for _ in range(20):
        use()
    before = resident_kib()
    for _ in range(60):
        use()
    assert resident_kib() - before <= ALLOWED_KIB
