"""What a camera, a frame and its time can be."""

import enum


class FrameStatus(enum.Enum):
    """Why a camera has a frame in a packet, or why not."""

    OKAY = "okay"
    """It has one."""
    DROPPED = "dropped"
    """The camera runs but has no frame for this instant."""
    READ_ERROR = "read-error"
    """The camera's frame of this instant arrived damaged."""
    BROKEN = "broken"
    """The source is down; it keeps reconnecting."""
    STARTING = "starting"
    """The camera has not been seen yet."""


class TimeSource(enum.Enum):
    """Where a frame's capture time comes from, best first."""

    SENDER_REPORT = "sender-report"
    """RTCP sender reports (RFC 3550 section 6.4.1)."""
    IN_BAND = "in-band"
    """The NTP-64 header extension (RFC 6051)."""
    SEI = "sei"
    """The capture time in the H.264 SEI (MISB ST 0604)."""
    ARRIVAL = "arrival"
    """No capture time was sent: arrival minus an estimate of the smallest delay. The bound is wide."""


class FrameType(enum.Enum):
    """How a frame is coded, as its slices say."""

    I = "I"  # noqa: E741
    """From itself alone."""
    P = "P"
    """From one earlier frame a block."""
    B = "B"
    """From up to two frames a block, which may be later ones."""


class CameraState(enum.Enum):
    """Whether a camera's source is up."""

    STARTING = "starting"
    """Connecting for the first time."""
    LIVE = "live"
    """Connected."""
    BROKEN = "broken"
    """Down; it keeps reconnecting."""
