"""What is known of a camera."""

from dataclasses import dataclass

from ._enums import CameraState, TimeSource


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """A camera's state and counters, as `Aggregator.status` gives them; renewed four times a second."""

    name: str
    """Its name."""
    state: CameraState
    """Whether its source is up."""
    reason: str | None
    """Why it is broken, or why it has not started yet; `None` where there is nothing to say."""
    address: str | None
    """The sender's address, host and port."""
    packets: int
    """Datagrams or messages that arrived."""
    bytes: int
    """Bytes that arrived, without headers below RTP."""
    lost: int
    """RTP packets that never came."""
    frames: int
    """Good frames that arrived."""
    damaged: int
    """Frames with a hole, or that refer to one that had."""
    used: int
    """Frames and read errors that came out in a packet."""
    skipped: int
    """Frames passed over: another one was better, or no packet was made for their instant."""
    late: int
    """Frames that came after the packet that they belong to had been delivered."""
    time_ns: int | None
    """When its last good frame was captured: ns since the Unix epoch, UTC. `None` before the first."""
    uncertainty_ns: int | None
    """The bound on the error of `time_ns`, in ns."""
    time_source: TimeSource | None
    """Where `time_ns` comes from."""
    transit_ns: int | None
    """From the capture of its last good frame to its arrival here, in ns, by this machine's clock."""
