"""Framelock's Python package, as `make bench` measures it: packets of four cameras, every frame as a BGR array.

    ours.py SECONDS PORT...

Prints frames and CPU seconds as JSON.
"""

import json
import resource
import sys
import time

import framelock


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def images(packet):
    """How many arrays the packet gives; each is made."""
    made = [frame.image for frame in packet if frame]
    assert all(image.shape == (480, 640, 3) for image in made)
    return len(made)


def main():
    seconds, ports = float(sys.argv[1]), sys.argv[2:]
    cameras = {f"cam{number}": f"rtp://127.0.0.1:{port}" for number, port in enumerate(ports)}
    with framelock.Aggregator(cameras, pixels="bgr", queue=4) as aggregator:
        whole = 0
        while whole < 60:
            packet = aggregator.next(timeout=60)
            images(packet)
            whole += packet.complete
        frames, used, end = 0, cpu(), time.monotonic() + seconds
        while time.monotonic() < end:
            frames += images(aggregator.next(timeout=60))
        print(json.dumps({"frames": frames, "cpu": cpu() - used}))


main()
