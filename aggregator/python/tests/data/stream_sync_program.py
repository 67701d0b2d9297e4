"""A program as users of the library Stream-Synchronizer write them, after its documentation.

The tests run it unchanged but for the import. It was written for the tests; its arguments are the cameras' URLs.
"""

import sys

import cv2
import numpy as np

from stream_sync import StreamSynchronizer

if __name__ == "__main__":
    cams = [
        {"source": url, "calibration_parameters": "calibration/0", "frame_width": 320, "frame_rate": 30.0}
        for url in sys.argv[1:]
    ]
    stream_synchronizer = StreamSynchronizer(
        cams, max_initial_stream_offset=30, max_read_errors=3, frame_packet_buffer_maxsize=1
    )
    offsets = []
    step = 0
    while len(offsets) < 20:
        step += 1
        frame_packet = stream_synchronizer.get_frame_packet()
        if not frame_packet:
            raise RuntimeError("received an invalid frame packet")
        timestamps = []
        for cap_id, frame_data in frame_packet.items():
            print("step", step, "| cap_id", cap_id, "| frame_status", frame_data["frame_status"], end=" ")
            if frame_data["frame_status"] != "FRAME_OKAY":
                assert frame_data["frame"] is None and frame_data["timestamp"] is None
                print()
                continue
            timestamps.append(frame_data["timestamp"])
            vectors = frame_data["motion_vector"]
            print("| timestamp", frame_data["timestamp"], "| frame_type", frame_data["frame_type"],
                  "| mvs shape", np.shape(vectors))
            frame = frame_data["frame"]
            for source, w, h, src_x, src_y, dst_x, dst_y, *_ in vectors.tolist():
                cv2.arrowedLine(frame, (src_x, src_y), (dst_x, dst_y), (0, 0, 255), 1)
            cv2.resize(frame, (640, 360))
        if len(timestamps) == len(cams):
            offsets.append(np.max(timestamps) - np.min(timestamps))
    print("N =", len(offsets), "largest offset =", np.max(offsets))
