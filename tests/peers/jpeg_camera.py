#!/usr/bin/python3
"""A camera script such as people write in an afternoon: JPEG pictures over ZeroMQ or a bare TCP connection. Each
carries a timecode strip of the instant at which it was made.

    jpeg_camera.py zmq --port 5555 --bind --encoding base64     a publisher that others connect to
    jpeg_camera.py zmq --port 5555 --encoding imagezmq          a publisher that connects to a bound subscriber
    jpeg_camera.py tcp --port 9000 --bind                       four bytes of length, then the picture

Prints "ready PORT" once it can be connected to, or at once.
"""

import argparse
import base64
import json
import socket
import struct
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
from gi.repository import Gst, GstApp  # noqa: E402,F401

import timecode  # noqa: E402

WIDTH, HEIGHT = 320, 240


def pictures(fps):
    """JPEG pictures, one when it is due."""
    Gst.init(None)
    caps = f"video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate={fps}/1"
    pipeline = Gst.parse_launch(
        f"appsrc name=in format=time caps={caps} ! jpegenc quality=90 ! appsink name=out sync=false"
    )
    source, sink = pipeline.get_by_name("in"), pipeline.get_by_name("out")
    pipeline.set_state(Gst.State.PLAYING)
    start, frame = time.monotonic(), 0
    while True:
        time.sleep(max(0.0, start + frame / fps - time.monotonic()))
        raw = timecode.picture(WIDTH, HEIGHT, 0, frame, time.time_ns())
        buffer = Gst.Buffer.new_wrapped(raw)
        buffer.pts = frame * Gst.SECOND // fps
        source.emit("push-buffer", buffer)
        sample = sink.emit("pull-sample").get_buffer()
        yield sample.extract_dup(0, sample.get_size())
        frame += 1


def zmq_messages(encoding, jpeg):
    if encoding == "raw":
        return [jpeg]
    if encoding == "base64":
        return [base64.b64encode(jpeg)]
    # imagezmq's send_jpg in PUB mode: a header in JSON, then the picture.
    return [json.dumps({"msg": "camera"}).encode(), jpeg]


def over_zmq(args):
    import zmq

    publisher = zmq.Context().socket(zmq.PUB)
    publisher.setsockopt(zmq.SNDHWM, 2)
    if args.bind:
        port = args.port or publisher.bind_to_random_port("tcp://127.0.0.1")
        if args.port:
            publisher.bind(f"tcp://127.0.0.1:{args.port}")
    else:
        port = args.port
        publisher.connect(f"tcp://127.0.0.1:{port}")
    print("ready", port, flush=True)
    for jpeg in pictures(args.fps):
        publisher.send_multipart(zmq_messages(args.encoding, jpeg))


def over_tcp(args):
    if args.bind:
        listener = socket.create_server(("127.0.0.1", args.port))
        print("ready", listener.getsockname()[1], flush=True)
        connection, _ = listener.accept()
    else:
        print("ready", args.port, flush=True)
        connection = socket.create_connection(("127.0.0.1", args.port))
    for jpeg in pictures(args.fps):
        connection.sendall(struct.pack(">I", len(jpeg)) + jpeg)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("how", choices=["zmq", "tcp"])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--bind", action="store_true")
    parser.add_argument("--encoding", choices=["raw", "base64", "imagezmq"], default="raw")
    parser.add_argument("--fps", type=int, default=25)
    args = parser.parse_args()
    {"zmq": over_zmq, "tcp": over_tcp}[args.how](args)


main()
