"""GStreamer, as `make bench` measures it: the pipelines run in C, Python only reads their counters.

    gstreamer.py pixels|coded SECONDS PORT...

`pixels` makes BGR pictures in memory, `coded` takes the frames as they were sent. Prints frames and CPU seconds as JSON.
"""

import json
import resource
import sys
import time

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rendered(sinks):
    return [sink.get_property("stats").get_value("rendered") for sink in sinks]


CAPS = "application/x-rtp,media=video,clock-rate=90000,encoding-name=MP2T,payload=33"


def pixels(ports):
    return " ".join(
        f'udpsrc address=127.0.0.1 port={port} caps="{CAPS}" ! rtpjitterbuffer ! rtpmp2tdepay ! tsdemux ! h264parse'
        f" ! avdec_h264 max-threads=1 ! videoconvert ! video/x-raw,format=BGR ! fakesink name=sink{port} sync=false"
        for port in ports
    )


def coded(ports):
    """Of each pipeline, with RTP and RTCP on one port as they are sent."""
    return " ".join(
        f'udpsrc address=127.0.0.1 port={port} caps="{CAPS}" ! rtpbin{port}.recv_rtp_sink_0 rtpbin name=rtpbin{port}'
        f" rtpbin{port}. ! rtpmp2tdepay ! tsdemux ! h264parse ! fakesink name=sink{port} sync=false"
        for port in ports
    )


def main():
    Gst.init(None)
    job, seconds, ports = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
    pipeline = Gst.parse_launch({"pixels": pixels, "coded": coded}[job](ports))
    pipeline.set_state(Gst.State.PLAYING)
    sinks = [pipeline.get_by_name(f"sink{port}") for port in ports]
    deadline = time.monotonic() + 60
    while min(rendered(sinks)) < 60:
        if time.monotonic() > deadline:
            sys.exit(f"gstreamer.py: frames so far: {rendered(sinks)}")
        time.sleep(0.05)
    frames, used = sum(rendered(sinks)), cpu()
    time.sleep(seconds)
    print(json.dumps({"frames": sum(rendered(sinks)) - frames, "cpu": cpu() - used}))
    pipeline.set_state(Gst.State.NULL)


main()
