#!/usr/bin/python3
"""An RTSP server: GStreamer's, with pictures that carry a timecode strip of the instant at which they are made.

Prints "ready PORT" once it listens on 127.0.0.1.
"""

import argparse
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

import timecode  # noqa: E402

WIDTH, HEIGHT, FPS = 320, 240, 25
CODECS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast bitrate=800 key-int-max=25 ! rtph264pay name=pay0 pt=96",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph265pay name=pay0 pt=96",
    "jpeg": "jpegenc quality=90 ! rtpjpegpay name=pay0 pt=26",
}


class Camera:
    """Feeds the pipeline of a media with pictures, each captured when its timestamp says so."""

    def __init__(self, media):
        self.source = media.get_element().get_by_name("source")
        self.frame = 0
        GLib.timeout_add(1000 // FPS, self.capture)

    def capture(self):
        clock = self.source.get_clock()
        if clock is None:
            return True
        now, running = time.time_ns(), clock.get_time() - self.source.get_base_time()
        buffer = Gst.Buffer.new_wrapped(timecode.picture(WIDTH, HEIGHT, 0, self.frame, now))
        buffer.pts, buffer.duration = running, Gst.SECOND // FPS
        self.frame += 1
        return self.source.emit("push-buffer", buffer) == Gst.FlowReturn.OK


def launch(codec):
    if codec == "audio":
        return "( audiotestsrc is-live=true ! alawenc ! rtppcmapay name=pay0 pt=8 )"
    caps = f"video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate={FPS}/1"
    return f"( appsrc name=source is-live=true format=time caps={caps} ! {CODECS[codec]} )"


def protect(server, factory, args):
    """Lets in only who knows the user's password, by Digest, or Basic where asked for."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    if args.user:
        method = GstRtsp.RTSPAuthMethod.BASIC if args.basic else GstRtsp.RTSPAuthMethod.DIGEST
        auth.set_supported_methods(method)
        if args.basic:
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(args.user, args.password), token)
        else:
            auth.add_digest(args.user, args.password, token)
    else:
        auth.set_default_token(token)
    if args.cert:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_files(args.cert, args.key))
    permissions = GstRtspServer.RTSPPermissions()
    for permission in ("access", "construct"):
        permissions.add_permission_for_role("user", f"media.factory.{permission}", True)
    factory.set_permissions(permissions)
    server.set_auth(auth)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", default="0")
    parser.add_argument("--codec", choices=[*CODECS, "audio"], default="h264")
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--basic", action="store_true")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    args = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(args.port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(launch(args.codec))
    factory.set_shared(True)
    factory.set_latency(0)
    if args.codec != "audio":
        factory.connect("media-configure", lambda _, media: setattr(media, "camera", Camera(media)))
    if args.user or args.cert:
        protect(server, factory, args)
    server.get_mount_points().add_factory("/cam", factory)
    server.attach(None)
    print("ready", server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


main()
