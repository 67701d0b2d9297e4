"""What the tests share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import framelock
import pytest
from support import PATIENCE, Sender, free_port


@pytest.fixture(scope="session")
def clock() -> Iterator[str]:
    """What senders are told as ``--clock``: a server of ours, for the kernels of test machines often call their clocks
    unsynchronized."""
    cameras = {"none": f"rtp://127.0.0.1:{free_port()}"}
    with framelock.Aggregator(cameras, ntp="127.0.0.1:0", ntp_local_stratum=10) as server:
        yield f"ntp:{server.ntp_address}"


class Rig:
    """Senders on ports of their own, and the cameras that they are."""

    def __init__(self, senders: dict[str, Sender], cameras: dict[str, str]) -> None:
        self.senders = senders
        self.cameras = cameras


MakeRig = Callable[..., Rig]


@pytest.fixture
def make_rig(clock: str) -> Iterator[MakeRig]:
    """Makes a `Rig` of cameras of those names, each exposing 11 ms after the one before it."""
    with contextlib.ExitStack() as ends:

        def make(*names: str, **options: object) -> Rig:
            ports = {name: free_port() for name in names}
            senders = {}
            for number, (name, port) in enumerate(ports.items()):
                source = f"test:phase={11 * number}ms"
                sender = Sender(name, port, clock, source=source, **options)  # type: ignore[arg-type]
                senders[name] = ends.enter_context(sender)
            return Rig(senders, {name: f"rtp://127.0.0.1:{port}" for name, port in ports.items()})

        yield make


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    """Two cameras, left and right."""
    return make_rig("left", "right")


def complete(packets: framelock.Aggregator | framelock.Subscription, count: int) -> list[framelock.Packet]:
    """The next `count` packets in which every camera has a frame with its board's time."""
    found: list[framelock.Packet] = []
    while len(found) < count:
        packet = packets.next(timeout=PATIENCE)
        if packet.complete and all(frame.time_source is not framelock.TimeSource.ARRIVAL for frame in packet):
            found.append(packet)
    return found
