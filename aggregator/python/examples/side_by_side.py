"""Shows cameras side by side, always the frames of one instant.

    python side_by_side.py left=rtp://:5000 right=rtp://:5002

Press q to end. Without a screen, --save FILE writes the last view to a picture file after --count packets.
"""

from __future__ import annotations

import argparse

import cv2
import framelock
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cameras", nargs="+", metavar="NAME=SOURCE")
    parser.add_argument("--height", type=int, default=480, help="rows of the view")
    parser.add_argument("--count", type=int, help="end after so many packets")
    parser.add_argument("--save", metavar="FILE", help="write the last view there instead of showing it")
    args = parser.parse_args()
    cameras = dict(camera.split("=", 1) for camera in args.cameras)

    view = np.zeros((args.height, args.height, 3), np.uint8)
    # A program that is slower than the cameras always gets the newest packet.
    with framelock.Aggregator(cameras, pixels="bgr") as aggregator:
        for shown, packet in enumerate(aggregator, start=1):
            view = np.hstack([tile(frame, args.height) for frame in packet])
            label = f"spread {packet.spread * 1e3:.1f} ms, at most {packet.spread_bound * 1e3:.1f} ms"
            cv2.putText(view, label, (8, args.height - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255))
            if args.save is None:
                cv2.imshow("framelock", view)
                if cv2.waitKey(1) == ord("q"):
                    break
            if shown == args.count:
                break
    if args.save is not None:
        cv2.imwrite(args.save, view)


def tile(frame: framelock.Frame, height: int) -> Image:
    """The frame's image, scaled to `height` rows; where the camera has none, a black one that says why."""
    if not frame:
        image = np.zeros((height, height * 4 // 3, 3), np.uint8)
        text = f"{frame.camera}: {frame.status.value}"
        cv2.putText(image, text, (8, height // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255))
        return image
    rows, columns = frame.image.shape[:2]
    return np.asarray(cv2.resize(frame.image, (columns * height // rows, height)), np.uint8)


if __name__ == "__main__":
    main()
