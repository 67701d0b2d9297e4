"""OpenCV's VideoCapture, a thread for each camera, as `make bench` measures it.

    opencv.py SECONDS PORT...

Prints frames and CPU seconds as JSON.
"""

import json
import resource
import sys
import threading
import time

import cv2


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main():
    seconds, ports = float(sys.argv[1]), sys.argv[2:]
    counts = [0] * len(ports)
    over = threading.Event()

    def read(camera, port):
        capture = cv2.VideoCapture(f"rtp://127.0.0.1:{port}", cv2.CAP_FFMPEG)
        while not over.is_set():
            okay, image = capture.read()
            if okay:
                assert image.shape == (480, 640, 3), image.shape
                counts[camera] += 1
        capture.release()

    threads = [threading.Thread(target=read, args=it) for it in enumerate(ports)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while min(counts) < 60:
        if time.monotonic() > deadline:
            over.set()
            sys.exit(f"opencv.py: frames so far: {counts}")
        time.sleep(0.05)
    frames, used = sum(counts), cpu()
    time.sleep(seconds)
    print(json.dumps({"frames": sum(counts) - frames, "cpu": cpu() - used}), flush=True)
    over.set()
    for thread in threads:
        thread.join()


main()
