#!/usr/bin/python3
"""ffmpeg as a camera: pictures with a timecode strip of the instant at which each is made, encoded and sent by
ffmpeg as its own arguments behind -- say.

    ffmpeg_camera.py -- -c:v mjpeg -f mpjpeg -listen 1 http://127.0.0.1:8080/
    ffmpeg_camera.py --seconds 2 -- -c:v libx264 clip.mp4

With --seconds the pictures are made as fast as ffmpeg takes them, and their strips tell the times 0, 1/fps, ... s
after --start (in ns since 1970).
"""

import argparse
import itertools
import subprocess
import sys
import time

import timecode

WIDTH, HEIGHT = 320, 240


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--start", type=int, default=1_000_000_000)
    parser.add_argument("output", nargs="+")
    args = parser.parse_args()
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-f", "rawvideo", "-pix_fmt", "yuv420p"]
    command += ["-s", f"{WIDTH}x{HEIGHT}", "-r", str(args.fps), "-i", "pipe:0", *args.output]
    ffmpeg = subprocess.Popen(command, stdin=subprocess.PIPE)
    start = time.monotonic()
    frames = itertools.count() if args.seconds is None else range(round(args.seconds * args.fps))
    try:
        for frame in frames:
            if args.seconds is None:
                time.sleep(max(0.0, start + frame / args.fps - time.monotonic()))
                capture = time.time_ns()
            else:
                capture = args.start + frame * 1_000_000_000 // args.fps
            ffmpeg.stdin.write(timecode.picture(WIDTH, HEIGHT, 0, frame, capture))
            ffmpeg.stdin.flush()
        ffmpeg.stdin.close()
        sys.exit(ffmpeg.wait())
    except BrokenPipeError:
        sys.exit(ffmpeg.wait() or 1)
    finally:
        ffmpeg.kill()


main()
