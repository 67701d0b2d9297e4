"""Framelock's Python package, as `make bench` measures it: packets of four cameras.

    ours.py pixels|coded SECONDS PORT...

`pixels` makes every frame a BGR array, `coded` takes the frames as they were sent. Prints frames and CPU seconds as
JSON.
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


def coded(packet):
    """How many compressed frames the packet has; each is taken out."""
    taken = [frame.data for frame in packet if frame]
    assert all(taken)
    return len(taken)


def main():
    job, seconds, ports = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
    take, pixels = {"pixels": (images, "bgr"), "coded": (coded, None)}[job]
    cameras = {f"cam{number}": f"rtp://127.0.0.1:{port}" for number, port in enumerate(ports)}
    with framelock.Aggregator(cameras, pixels=pixels, queue=4) as aggregator:
        whole = 0
        while whole < 60:
            packet = aggregator.next(timeout=60)
            take(packet)
            whole += packet.complete
        frames, used, end = 0, cpu(), time.monotonic() + seconds
        while time.monotonic() < end:
            frames += take(aggregator.next(timeout=60))
        print(json.dumps({"frames": frames, "cpu": cpu() - used}))


main()
