"""The skeleton of an object detection loop over many cameras.

    python detect.py left=rtp://:5000 right=rtp://:5002

Put your network into `Detector.detect`. What stands there finds whatever moves before a still background.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import cv2
import framelock
import numpy as np
from numpy.typing import NDArray


class Box(NamedTuple):
    """Where something is in an image, in pixels."""

    x: int
    y: int
    width: int
    height: int


class Detector:
    """Finds things in the images of one camera."""

    def __init__(self) -> None:
        self._background = cv2.createBackgroundSubtractorMOG2(detectShadows=False)

    def detect(self, image: NDArray[np.uint8]) -> list[Box]:
        """What is seen in a BGR image of shape (height, width, 3)."""
        moving = self._background.apply(image)
        outlines, _ = cv2.findContours(moving, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        return [Box(*cv2.boundingRect(outline)) for outline in outlines if cv2.contourArea(outline) >= 100]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cameras", nargs="+", metavar="NAME=SOURCE")
    parser.add_argument("--count", type=int, help="end after so many packets")
    args = parser.parse_args()
    cameras = dict(camera.split("=", 1) for camera in args.cameras)

    detectors = {name: Detector() for name in cameras}
    with framelock.Aggregator(cameras) as aggregator:
        for done, packet in enumerate(aggregator, start=1):
            # All boxes of a packet are of one instant, known to within spread_bound: they can be matched.
            boxes = {frame.camera: detectors[frame.camera].detect(frame.image) for frame in packet if frame}
            found = ", ".join(f"{name}: {len(there)}" for name, there in boxes.items())
            print(f"{packet.time:.3f} within {packet.spread_bound * 1e3:.1f} ms: {found}", flush=True)
            if done == args.count:
                break
        # How many packets the detectors were too slow for:
        print(f"skipped {aggregator.counters().skipped} of {aggregator.counters().offered} packets")


if __name__ == "__main__":
    main()
