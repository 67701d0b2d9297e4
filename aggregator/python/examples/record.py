"""Writes packets to disk: the picture of every frame, and when each was captured.

    python record.py DIRECTORY left=rtp://:5000 right=rtp://:5002

Makes DIRECTORY with one directory for each camera (0, 1, ... in the order given), in which a picture has the number of
its packet (`0/00000017.jpg` and `1/00000017.jpg` are of one instant), and `timestamps.csv` with a line for each
picture: `cam_id,frame_time`, the camera's number and seconds since the Unix epoch.

`framelock-aggregator replay --timestamps DIRECTORY/timestamps.csv` groups the recorded frames anew.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import cv2
import framelock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("cameras", nargs="+", metavar="NAME=SOURCE")
    parser.add_argument("--count", type=int, help="end after so many packets")
    args = parser.parse_args()
    cameras = dict(camera.split("=", 1) for camera in args.cameras)

    # A camera's name may be anything, so its number names its directory.
    directories = [args.directory / str(number) for number in range(len(cameras))]
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
    with (args.directory / "timestamps.csv").open("w", newline="") as file:
        times = csv.writer(file, lineterminator="\n")
        times.writerow(["cam_id", "frame_time"])
        # Every packet is wanted, not only the newest; a disk that is slow for a while may be 100 behind.
        with framelock.Aggregator(cameras, queue=100, newest=False) as aggregator:
            for done, packet in enumerate(aggregator, start=1):
                for camera, frame in enumerate(packet):
                    if frame:
                        cv2.imwrite(str(directories[camera] / f"{packet.number:08}.jpg"), frame.image)
                        times.writerow([camera, seconds(frame.time_ns)])
                if done == args.count:
                    break
            skipped = aggregator.counters().skipped
    if skipped:
        print(f"the disk was too slow for {skipped} packets")


def seconds(time_ns: int) -> str:
    """A time in seconds, to the nanosecond: more than a float could hold."""
    return f"{time_ns // 10**9}.{time_ns % 10**9:09}"


if __name__ == "__main__":
    main()
