"""Frames of many cameras, captured at the same instant.

    import framelock

    with framelock.Aggregator({"left": "rtp://:5000", "right": "rtp://:5002"}) as aggregator:
        for packet in aggregator:
            for frame in packet:
                if frame:  # the camera has one for this instant
                    print(frame.camera, frame.time, frame.uncertainty, frame.image.shape)

Every frame carries the UTC instant at which it was captured and a bound on how wrong that can be; every packet is
the best possible set of frames of one instant, delivered as soon as it can be known. A camera that is late,
down or not yet there never holds the others up: its frame in the packet says so.

- `Aggregator` receives and synchronizes; it is iterable, also with ``async for``.
- `Aggregator.subscribe` gives further consumers, each with its own pace and choice of pixels.
- `Packet` and `Frame` are what they deliver; images are numpy arrays.
- `StreamSynchronizer` is a drop-in for the library of that name.

Times are given twice, as those of the module `time` are: in seconds (`time`, `uncertainty`), and exactly, in integer
nanoseconds (`time_ns`, `uncertainty_ns`).
"""

from ._aggregator import Aggregator, Counters, Pixels, Subscription, log_to_stderr
from ._compat import StreamSynchronizer
from ._enums import CameraState, FrameStatus, FrameType, TimeSource
from ._errors import (
    ClosedError,
    ConfigError,
    FramelockError,
    NoFrameError,
    NotRequestedError,
    PacketTimeout,
    StartError,
    StreamEnded,
    StreamProcessingError,
)
from ._native import Frame, Packet
from ._status import CameraStatus

__all__ = [
    "Aggregator",
    "CameraState",
    "CameraStatus",
    "ClosedError",
    "ConfigError",
    "Counters",
    "Frame",
    "FrameStatus",
    "FrameType",
    "FramelockError",
    "NoFrameError",
    "NotRequestedError",
    "Packet",
    "PacketTimeout",
    "Pixels",
    "StartError",
    "StreamEnded",
    "StreamProcessingError",
    "StreamSynchronizer",
    "Subscription",
    "TimeSource",
    "log_to_stderr",
]
