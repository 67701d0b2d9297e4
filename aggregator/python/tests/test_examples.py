"""The examples, run as a user runs them, without a screen."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from conftest import Rig
from support import PACKAGE, PATIENCE, program, timecode


def run(example: str, rig: Rig, *args: str) -> str:
    cameras = [f"{name}={source}" for name, source in rig.cameras.items()]
    command = [sys.executable, str(PACKAGE / "examples" / example), *args, *cameras]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_side_by_side(rig: Rig, tmp_path: Path) -> None:
    file = tmp_path / "view.png"
    run("side_by_side.py", rig, "--count=60", "--height=240", f"--save={file}")
    view = cv2.imread(str(file))
    assert view is not None and view.shape == (240, 640, 3)
    left, right = (timecode(np.asarray(half, np.uint8)) for half in (view[:, :320], view[:, 320:]))
    # Both run at 30 frames a second: the nearest two are never further apart than half a period, plus its jitter.
    assert abs(left.time_ns - right.time_ns) < 33_000_000


def test_detect(rig: Rig) -> None:
    output = run("detect.py", rig, "--count=40").splitlines()
    assert len(output) == 41
    assert any("left" in line and "right" in line for line in output[:-1])
    assert output[-1].startswith("skipped ")


def test_record_can_be_replayed(rig: Rig, tmp_path: Path) -> None:
    run("record.py", rig, "--count=60", str(tmp_path))
    with (tmp_path / "timestamps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {"cam_id", "frame_time"} and {row["cam_id"] for row in rows} == {"0", "1"}
    pictures = sorted(tmp_path.glob("*/*.jpg"))
    assert len(pictures) == len(rows)
    for camera in "01":
        times = [float(row["frame_time"]) for row in rows if row["cam_id"] == camera]
        for picture, seconds in zip(sorted((tmp_path / camera).iterdir()), times, strict=True):
            image = cv2.imread(str(picture))
            assert image is not None
            assert abs(timecode(np.asarray(image, np.uint8)).time_ns / 1e9 - seconds) < 0.1, picture
    replay = subprocess.run(
        [program("framelock-aggregator"), "replay", "--timestamps", str(tmp_path / "timestamps.csv")],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert replay.returncode == 0, replay.stderr
    packets = [json.loads(line) for line in replay.stdout.splitlines()]
    whole = sum(packet["complete"] for packet in packets)
    assert whole >= 0.9 * min(sum(row["cam_id"] == name for row in rows) for name in "01")
