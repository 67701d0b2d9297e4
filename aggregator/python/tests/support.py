"""Real senders for the tests, and the truth that they draw into their pictures."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import zlib
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# How long a test waits for something that must happen, on a machine that is busy with other work, in seconds.
PATIENCE = 60.0

PACKAGE = Path(__file__).resolve().parent.parent
REPOSITORY = PACKAGE.parent.parent


def program(name: str) -> str:
    """The path of one of our own programs, built by ``cargo build --bins``; FRAMELOCK_BIN may say where."""
    directory = os.environ.get("FRAMELOCK_BIN", str(REPOSITORY / "target" / "debug"))
    path = Path(directory) / name
    assert path.is_file(), f"{path} is not built; run make test-python"
    return str(path)


def free_port() -> int:
    """A UDP port that was free a moment ago, as was the next one (for RTCP)."""
    for _ in range(100):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            if port % 2 or port > 65_000:
                continue
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
                try:
                    second.bind(("127.0.0.1", port + 1))
                except OSError:
                    continue
                return port
    raise AssertionError("no free pair of UDP ports on loopback")


class Sender:
    """A running `framelock-sender`; it is killed at the end of the ``with`` block."""

    def __init__(
        self,
        camera: str,
        port: int,
        clock: str,
        *,
        source: str = "test",
        size: str = "320x240",
        fps: int = 30,
        bitrate: str = "600k",
    ) -> None:
        args = ["run", "--source", source, "--to", f"rtp://127.0.0.1:{port}", "--camera", camera, "--clock", clock]
        if not source.startswith("file:"):
            args += ["--size", size, "--fps", str(fps), "--bitrate", bitrate]
        self._process = subprocess.Popen([program("framelock-sender"), *args], stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        """Ends it at once, as a power cut would."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


class Timecode(NamedTuple):
    """What the strip at the top of a test picture says."""

    camera: int
    frame: int
    time_ns: int


COLUMNS, ROWS, MARGIN = 40, 4, 2


def timecode(image: NDArray[np.uint8]) -> Timecode:
    """Reads the strip of a picture (height, width, 3) or (height, width) whose width is a multiple of 40.

    The strip's layout is told in `common/src/timecode/mod.rs`; this reader is written anew from there.
    """
    gray = image if image.ndim == 2 else image.mean(axis=2)
    cell = gray.shape[1] // COLUMNS
    assert gray.shape[1] % COLUMNS == 0 and cell >= 4, "too narrow for this reader"
    strip = gray[: ROWS * cell].reshape(ROWS, cell, COLUMNS, cell)
    level = strip[:, cell // 4 : cell - cell // 4, :, cell // 4 : cell - cell // 4].mean(axis=(1, 3))
    bits = level[:, MARGIN : COLUMNS - MARGIN] > (level.min() + level.max()) / 2
    payload = np.packbits(bits.ravel()).tobytes()
    assert int.from_bytes(payload[14:18], "big") == zlib.crc32(payload[:14]), "no timecode strip, or a damaged one"
    return Timecode(*(int.from_bytes(payload[a:b], "big") for a, b in ((0, 2), (2, 6), (6, 14))))


def run_python(code: str, *args: str) -> subprocess.Popen[str]:
    """Starts a Python program of its own, which Ctrl-C reaches even where the tests run in the background."""
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what runs in the background with SIGINT ignored, and Python leaves it so.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
