"""The aggregator and its consumers."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Literal, NamedTuple, TypeVar

from . import _native
from ._errors import PacketTimeout, StreamEnded
from ._native import Packet
from ._status import CameraStatus

Pixels = Literal["bgr", "rgb", "gray"]
"""The layout of images: ``"bgr"`` (blue, green, red: what OpenCV works with), ``"rgb"`` or ``"gray"``."""

Seconds = float | timedelta
"""A time span: seconds, or a `datetime.timedelta`."""

_Self = TypeVar("_Self", bound="_Packets")

# While no picture comes that was promised, nothing wakes the event loop: look again after so many seconds.
_LOOK_AGAIN = 1.0


class Counters(NamedTuple):
    """What became of the packets for a consumer; `offered` is the sum of the others and of what still waits."""

    offered: int
    """Packets since it subscribed."""
    delivered: int
    """Packets that it got."""
    skipped: int
    """Packets that gave way to newer ones because it was slow."""


class _Packets:
    """Packets of one consumer: iteration, waiting, `asyncio`."""

    def __init__(self) -> None:
        self._waiting: asyncio.Future[None] | None = None

    def _consumer(self) -> _native.Subscription:
        raise NotImplementedError

    def next(self, timeout: Seconds | None = None) -> Packet:
        """The next packet, which is waited for: `timeout` seconds, or without end for `None`.

        Other Python threads run meanwhile, and Ctrl-C interrupts the wait.

        Raises:
            PacketTimeout: there is none in time.
            StreamEnded: every source has come to its end.
            ClosedError: this has been closed, be it while waiting.
        """
        limit = _seconds(timeout)
        packet = self._consumer().next(limit)
        if packet is None:
            raise PacketTimeout(f"no packet within {limit} s")
        return packet

    async def next_async(self, timeout: Seconds | None = None) -> Packet:
        """The next packet, without blocking the event loop. It may be cancelled: no packet is lost.

        Only one task may wait for the packets of a consumer; others take a subscription of their own.

        Raises:
            PacketTimeout: there is none within `timeout` seconds.
            StreamEnded: every source has come to its end.
            ClosedError: this has been closed, be it while waiting.
            RuntimeError: another task is waiting already.
        """
        limit = _seconds(timeout)
        loop = asyncio.get_running_loop()
        deadline = None if limit is None else loop.time() + limit
        consumer = self._consumer()
        while True:
            packet = consumer.try_next()
            if packet is not None:
                return packet
            left = _LOOK_AGAIN if deadline is None else deadline - loop.time()
            if left <= 0:
                raise PacketTimeout(f"no packet within {limit} s")
            await self._word(loop, consumer.fileno(), min(left, _LOOK_AGAIN))

    async def _word(self, loop: asyncio.AbstractEventLoop, file: int, limit: float) -> None:
        """Waits until `file` can be read, or `limit` seconds."""
        if self._waiting is not None:
            raise RuntimeError("another task is waiting for this consumer's packets; give each its own subscription")
        word = self._waiting = loop.create_future()

        def came() -> None:
            if not word.done():
                word.set_result(None)

        timer = loop.call_later(limit, came)
        loop.add_reader(file, came)
        try:
            await word
        finally:
            loop.remove_reader(file)
            timer.cancel()
            self._waiting = None

    def counters(self) -> Counters:
        """What became of the packets so far."""
        return Counters(*self._consumer().counters())

    def __iter__(self: _Self) -> _Self:
        return self

    def __next__(self) -> Packet:
        try:
            return self.next()
        except StreamEnded:
            raise StopIteration from None

    def __aiter__(self: _Self) -> _Self:
        return self

    async def __anext__(self) -> Packet:
        try:
            return await self.next_async()
        except StreamEnded:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Frees what it holds. Packets, frames and images that were taken remain."""
        raise NotImplementedError

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self: _Self) -> _Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Subscription(_Packets):
    """One consumer of an aggregator's packets, with its own pace and choice of pixels.

    Made by `Aggregator.subscribe`. Iterate over it (``for``, ``async for``) or call `next`. It may be used from any
    thread; threads that share one share its packets.
    """

    def __init__(self, native: _native.Subscription) -> None:
        """Use `Aggregator.subscribe`."""
        super().__init__()
        self._native = native

    def _consumer(self) -> _native.Subscription:
        return self._native

    def close(self) -> None:
        """Ends the subscription: whoever waits for its packets gets a `ClosedError`."""
        self._native.close()

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._native.is_closed()

    def __repr__(self) -> str:
        return "<framelock.Subscription, closed>" if self.closed else f"<framelock.Subscription, {self.counters()}>"


class Aggregator(_Packets):
    """Receives cameras, puts the frames of the same instant together and hands them out as packets.

    It receives from its construction on, on threads of its own, until it is closed: use it in a ``with`` block.
    Iterate over it (``for``, ``async for``) or call `next` for its packets; `subscribe` gives further consumers.
    """

    def __init__(
        self,
        cameras: Mapping[str, str] | None = None,
        *,
        config: str | os.PathLike[str] | None = None,
        policy: str | None = None,
        rate: str | float | None = None,
        max_wait: Seconds | None = None,
        max_cameras: int | None = None,
        ntp: str | int | None = None,
        ntp_local_stratum: int | None = None,
        pixels: Pixels | None = "bgr",
        motion_vectors: bool = False,
        queue: int = 1,
        newest: bool = True,
    ) -> None:
        """Starts to receive.

        Args:
            cameras: the cameras, name to source, in the order in which they appear in packets; in place of those of
                `config`. The name ``*`` makes every sender that arrives on an ``rtp://`` source a camera.
            config: a configuration file (TOML), which the other arguments override.
            policy: which frames make a packet: ``"tightest"`` (default), ``"last-before"`` or
                ``"exact:TOLERANCE"``, for example ``"exact:5ms"``.
            rate: how many packets a second: as many as the ``"slowest"`` camera alive has frames (default), the
                ``"fastest"``, or a number.
            max_wait: how long a packet waits for frames after its first, in seconds; two frame periods if not set.
            max_cameras: the most senders of one ``*`` source that become cameras; 64 if not set.
            ntp: serve this machine's clock to the boards by NTP: a UDP port or ``"ADDRESS:PORT"``.
            ntp_local_stratum: on a network without any other time: the stratum (1 to 15) at which this machine's
                clock is the reference.
            pixels: the layout of the images that iteration over the aggregator gives; `None` for none, and
                then nothing is decoded for it.
            motion_vectors: whether it gives motion vectors.
            queue: see `subscribe`, as for `newest`.
            newest: see `subscribe`.

        Raises:
            ConfigError: a setting or a source cannot be.
            StartError: the system does not give what is needed, such as a port.
        """
        super().__init__()
        if cameras is not None and not isinstance(cameras, Mapping):
            raise TypeError('cameras: give a mapping of names to sources, for example {"left": "rtp://:5000"}')
        wait = _seconds(max_wait)
        self._lock = threading.Lock()
        self._own: _native.Subscription | None = None
        self._asked = (_pixels(pixels), bool(motion_vectors), _queue(queue), bool(newest))
        self._native = _native.Aggregator(
            {
                "cameras": None if cameras is None else list(cameras.items()),
                "config": None if config is None else os.fspath(config),
                "policy": policy,
                "rate": rate if rate is None or isinstance(rate, str) else f"{rate:.3f}",
                "max_wait_ns": None if wait is None else round(wait * 1e9),
                "max_cameras": max_cameras,
                "ntp": None if ntp is None else str(ntp),
                "ntp_local_stratum": ntp_local_stratum,
            }
        )

    def subscribe(
        self,
        *,
        pixels: Pixels | None = "bgr",
        motion_vectors: bool = False,
        queue: int = 1,
        newest: bool = True,
    ) -> Subscription:
        """A further consumer of the packets from now on; none holds another up.

        Args:
            pixels: the layout of `Frame.image`; `None` for no images. Nothing is decoded while no consumer wants
                images or motion vectors.
            motion_vectors: whether `Frame.motion_vectors` is wanted.
            queue: so many packets are kept for a consumer that is slow, at least 1.
            newest: when they are that many, the oldest gives way and is counted as skipped. If false, every packet is
                wanted: sources that can wait, such as files, wait while there are `queue` packets. Live cameras
                cannot wait: once there are 256 more, the oldest gives way.

        Raises:
            ClosedError: the aggregator has been closed.
        """
        return Subscription(self._native.subscribe(_pixels(pixels), bool(motion_vectors), _queue(queue), bool(newest)))

    def _consumer(self) -> _native.Subscription:
        with self._lock:
            if self._own is None:
                self._own = self._native.subscribe(*self._asked)
            return self._own

    def status(self) -> tuple[CameraStatus, ...]:
        """What is known of every camera, in configured order.

        Raises:
            ClosedError: the aggregator has been closed.
        """
        return tuple(CameraStatus(**camera) for camera in self._native.status())

    @property
    def ntp_address(self) -> str | None:
        """Where the NTP service listens, address and port; `None` where there is none."""
        return self._native.ntp_address()

    def close(self) -> None:
        """Stops receiving and frees the ports. Whoever waits for packets gets a `ClosedError`; packets that were
        taken remain."""
        with self._lock:
            if self._own is not None:
                self._own.close()
            self._native.close()

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._native.is_closed()

    def __repr__(self) -> str:
        if self.closed:
            return "<framelock.Aggregator, closed>"
        names = ", ".join(camera.name for camera in self.status())
        return f"<framelock.Aggregator of {names or 'no camera yet'}>"


def log_to_stderr(*, json: bool = False) -> None:
    """Writes the log to standard error from now on, as text or JSON lines; without this there is none.

    The environment variable ``RUST_LOG`` chooses what is logged, ``info`` if it is not set.

    Raises:
        FramelockError: it has been called before, or ``RUST_LOG`` is no filter.
    """
    _native.log_to_stderr(json)


def _seconds(time: Seconds | None) -> float | None:
    return time.total_seconds() if isinstance(time, timedelta) else time


def _pixels(pixels: Pixels | None) -> Pixels | None:
    if pixels not in ("bgr", "rgb", "gray", None):
        raise ValueError(f'pixels: {pixels!r} is no layout; use "bgr", "rgb", "gray" or None')
    return pixels


def _queue(packets: int) -> int:
    if packets < 1:
        raise ValueError(f"queue: at least 1 packet, not {packets}")
    return packets
