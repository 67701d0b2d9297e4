"""A drop-in for the library Stream-Synchronizer: its documented interface over an `Aggregator`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from ._aggregator import Aggregator
from ._enums import CameraState, FrameStatus, TimeSource
from ._errors import StreamProcessingError
from ._native import Frame

# Cameras get so many seconds to show their first frame; packets begin without those that did not.
_OPENING = 10.0
# A buffer without a limit would end with the machine's memory: it ends here, with the oldest packet giving way.
_UNLIMITED = 4096

Status = Literal["FRAME_OKAY", "FRAME_DROPPED", "FRAME_READ_ERROR", "CAP_BROKEN"]


class FrameData(TypedDict):
    """One camera's part of a packet; all but the status is `None` where that is not ``"FRAME_OKAY"``."""

    frame_status: Status
    """Whether there is a frame, and why not."""
    timestamp: float | None
    """When it was captured: seconds since the Unix epoch, UTC."""
    frame: NDArray[np.uint8] | None
    """The picture: shape (height, width, 3); blue, green, red."""
    frame_type: str | None
    """``"I"``, ``"P"``, ``"B"`` or, where unknown, ``"?"``."""
    motion_vector: NDArray[np.int64] | None
    """The motion vectors: shape (N, 10), the columns of FFmpeg's AVMotionVector. See `Frame.motion_vectors`."""


class StreamSynchronizer:
    """Packets of frames that were captured at the same time, by the interface of the library Stream-Synchronizer.

    A program written for that library runs after a change of its import. It takes every source that an
    `Aggregator` takes, and what is better here stays so: cameras that fail are taken up again when they
    return, cameras of different rates work together, and no camera holds up the others.

    Args:
        cams: a dictionary for each camera, with its URL under ``"source"``; other keys are ignored.
        max_initial_stream_offset: the most seconds by which the cameras' clocks may disagree at the beginning.
        max_read_errors: after more read errors in a row a camera is ``"CAP_BROKEN"``, until it has a frame again.
        frame_packet_buffer_maxsize: packets kept while the program is busy, the oldest giving way; with -1 they
            are 4096.
        policy: which frames make a packet, see `Aggregator`. The default is that library's rule.

    Raises:
        ConfigError: there is no camera, or a source cannot be.
        StartError: the system does not give what is needed, such as a port.
    """

    def __init__(
        self,
        cams: Sequence[Mapping[str, Any]],
        max_initial_stream_offset: float = 30.0,
        max_read_errors: int = 3,
        frame_packet_buffer_maxsize: int = 1,
        *,
        policy: str = "last-before",
    ) -> None:
        if frame_packet_buffer_maxsize < 1 and frame_packet_buffer_maxsize != -1:
            raise ValueError("frame_packet_buffer_maxsize: at least 1 packet, or -1")
        sources = [_source(cam) for cam in cams]
        self._max_offset = float(max_initial_stream_offset)
        self._max_read_errors = int(max_read_errors)
        self._read_errors = [0] * len(sources)
        self._seen = [False] * len(sources)
        self._began = time.monotonic()
        self._begun = False
        self._failure: str | None = None
        named = {str(number): source for number, source in enumerate(sources)}
        self._aggregator = Aggregator(named, policy=policy, pixels=None)
        queue = _UNLIMITED if frame_packet_buffer_maxsize == -1 else frame_packet_buffer_maxsize
        self._packets = self._aggregator.subscribe(pixels="bgr", motion_vectors=True, queue=queue)

    def get_frame_packet(self) -> dict[int, FrameData]:
        """The next packet, which is waited for: a dictionary for each camera, by its number.

        Raises:
            StreamProcessingError: the cameras' clocks disagree by more than `max_initial_stream_offset`.
            ClosedError: this has been closed.
        """
        packet = self._packets.next()
        while not self._may_begin():
            packet = self._packets.next()
        return {number: self._frame_data(number, frame) for number, frame in enumerate(packet)}

    def close(self) -> None:
        """Ends all streams. That library had no such call; without it they end with the program."""
        self._aggregator.close()

    def __enter__(self) -> StreamSynchronizer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _may_begin(self) -> bool:
        """Whether packets may be handed out: every camera had its time to open, and the clocks agree."""
        if self._failure is not None:
            raise StreamProcessingError(self._failure)
        if self._begun:
            return True
        cameras = self._aggregator.status()
        opening = time.monotonic() - self._began < _OPENING
        if opening and any(camera.state is CameraState.STARTING for camera in cameras):
            return False
        # How late frames are here, by this machine's clock, differs by the difference of the cameras' clocks.
        late = [camera.transit_ns for camera in cameras if camera.transit_ns is not None]
        offset = (max(late) - min(late)) / 1e9 if late else 0.0
        if offset > self._max_offset:
            self._failure = (
                f"the cameras' clocks disagree by {offset:.3f} s, more than max_initial_stream_offset="
                f"{self._max_offset:g} s allows; let all cameras take their time from the same NTP server"
            )
            raise StreamProcessingError(self._failure)
        # A camera may tell its time only after a while; until then arrival is all there is.
        told = all(camera.time_source not in (None, TimeSource.ARRIVAL) for camera in cameras)
        self._begun = told or not opening
        return True

    def _frame_data(self, number: int, frame: Frame) -> FrameData:
        if frame:
            self._seen[number] = True
            self._read_errors[number] = 0
            kind = frame.frame_type
            return {
                "frame_status": "FRAME_OKAY",
                "timestamp": frame.time,
                "frame": frame.image,
                "frame_type": "?" if kind is None else kind.value,
                "motion_vector": frame.motion_vectors,
            }
        self._read_errors[number] += frame.status is FrameStatus.READ_ERROR
        status = self._status(number, frame)
        return {"frame_status": status, "timestamp": None, "frame": None, "frame_type": None, "motion_vector": None}

    def _status(self, number: int, frame: Frame) -> Status:
        broken = frame.status is FrameStatus.BROKEN or self._read_errors[number] > self._max_read_errors
        if broken or (frame.status is FrameStatus.STARTING and not self._seen[number]):
            return "CAP_BROKEN"
        return "FRAME_READ_ERROR" if frame.status is FrameStatus.READ_ERROR else "FRAME_DROPPED"


def _source(cam: Mapping[str, Any]) -> str:
    if not isinstance(cam, Mapping) or not isinstance(cam.get("source"), str):
        raise TypeError('cams: give a dictionary for each camera, for example [{"source": "rtsp://..."}]')
    source: str = cam["source"]
    return source
