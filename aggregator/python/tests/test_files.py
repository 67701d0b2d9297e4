"""Recordings as cameras, played as fast as their packets are taken."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator

import cv2
import framelock
import numpy as np
import pytest
from support import PATIENCE


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Clips with B-frames, of 50 and of 25 frames."""
    folder = tmp_path_factory.mktemp("clips")
    paths = {}
    for name, seconds in {"long": 2, "short": 1}.items():
        paths[name] = f"{folder}/{name}.mp4"
        source = f"testsrc2=size=160x96:rate=25:duration={seconds}"
        coded = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2"]
        command = ["ffmpeg", "-v", "error", "-nostdin", "-f", "lavfi", "-i", source, *coded, paths[name]]
        subprocess.run(command, check=True)
    return paths


@pytest.fixture
def aggregator(clips: dict[str, str]) -> Iterator[framelock.Aggregator]:
    sources = {name: f"file:{path},fast" for name, path in clips.items()}
    # Fewer than there are frames: the files wait.
    with framelock.Aggregator(sources, queue=3, newest=False) as aggregator:
        yield aggregator


def test_every_frame_comes_with_its_picture_and_then_the_loop_ends(
    aggregator: framelock.Aggregator, clips: dict[str, str]
) -> None:
    capture = cv2.VideoCapture(clips["long"], cv2.CAP_FFMPEG)
    packets = 0
    for packet in aggregator:
        okay, image = capture.read()
        assert okay and packet["long"].image.shape == image.shape
        error = np.abs(image.astype(int) - packet["long"].image)
        # Another conversion, with another way to scale chroma. The picture moves by more from one frame to the next.
        assert np.mean(error) < 2.5, f"packet {packets}: {np.mean(error)}"
        assert bool(packet["short"]) == (packets < 25), packet["short"].status
        packets += 1
    assert packets == 50 and not capture.read()[0]
    capture.release()


def test_the_end_stays_the_end(aggregator: framelock.Aggregator) -> None:
    times = [packet["long"].time_ns for packet in aggregator]
    assert np.diff(times).tolist() == pytest.approx([40e6] * 49, abs=50e3)
    with pytest.raises(framelock.StreamEnded, match="every source has come to its end"):
        aggregator.next(timeout=PATIENCE)
    with pytest.raises(EOFError):
        aggregator.next(timeout=0)
    assert list(aggregator) == [] and list(aggregator.subscribe()) == []
    assert all("the file ended" in str(camera.reason) for camera in aggregator.status())


def test_async_loops_end_too(aggregator: framelock.Aggregator) -> None:
    async def numbers() -> list[int]:
        return [packet.number async for packet in aggregator]

    assert asyncio.run(asyncio.wait_for(numbers(), PATIENCE)) == list(range(50))
