"""What can go wrong."""


class FramelockError(Exception):
    """Whatever this package raises of its own."""


class ConfigError(FramelockError, ValueError):
    """A setting or a source that cannot be; the message says what would be right."""


class StartError(FramelockError, OSError):
    """The system does not give what is needed: a port, a thread, a decoder."""


class ClosedError(FramelockError, RuntimeError):
    """The aggregator or the subscription has been closed."""


class PacketTimeout(FramelockError, TimeoutError):
    """No packet came in time."""


class StreamEnded(FramelockError, EOFError):
    """Every source has come to its end, as files do. A loop over packets simply ends."""


class NoFrameError(FramelockError, LookupError):
    """The camera has no frame in this packet; its `status` says why."""


class NotRequestedError(FramelockError, RuntimeError):
    """The consumer did not ask for this: pixels or motion vectors. See `Aggregator.subscribe`."""


class StreamProcessingError(FramelockError, RuntimeError):
    """The streams of a `StreamSynchronizer` cannot be synchronized."""
