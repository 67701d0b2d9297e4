"""Images and motion vectors as numpy arrays."""

from __future__ import annotations

import threading
from typing import Any

import cv2
import framelock
import numpy as np
import pytest
from conftest import Rig, complete
from support import PATIENCE


def test_an_image_is_an_array_of_ones_own(rig: Rig) -> None:
    with framelock.Aggregator(rig.cameras) as aggregator:
        packet = complete(aggregator, 1)[0]
    # The aggregator is closed; what was taken remains.
    image = packet["left"].image
    assert isinstance(image, np.ndarray)
    assert image.dtype == np.uint8 and image.shape == (240, 320, 3)
    assert image.flags.c_contiguous and image.flags.writeable
    assert packet["left"].image is image, "made once"
    before = packet["right"].image.copy()
    image[:] = 7
    assert (packet["right"].image == before).all()
    del packet
    assert (image == 7).all(), "it outlives its frame"


def test_layouts_show_the_same_picture(rig: Rig) -> None:
    layouts: tuple[framelock.Pixels, ...] = ("bgr", "rgb", "gray")
    with framelock.Aggregator(rig.cameras, pixels=None) as aggregator:
        consumers = [aggregator.subscribe(pixels=layout, queue=200) for layout in layouts]
        bgr, rgb, gray = ({p.number: p for p in complete(consumer, 30)} for consumer in consumers)
    both = bgr.keys() & rgb.keys() & gray.keys()
    assert both
    for number in both:
        for camera in rig.cameras:
            image = bgr[number][camera].image
            assert (image[..., ::-1] == rgb[number][camera].image).all()
            levels = gray[number][camera].image
            assert levels.shape == (240, 320)
            by_opencv = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(int)
            # Colours that luma and chroma describe but BGR cannot hold are clipped: not in every pixel are they equal.
            assert np.median(np.abs(by_opencv - levels)) <= 1


def test_the_picture_is_the_one_that_opencv_decodes(rig: Rig, tmp_path: object) -> None:
    # One camera alone: where two are put together, a frame that one of them skipped costs the other one its own.
    with framelock.Aggregator({"left": rig.cameras["left"]}, queue=200) as aggregator:
        frames = [packet["left"] for packet in complete(aggregator, 90)]
    runs: list[list[framelock.Frame]] = []
    for frame in frames:
        if frame.key:
            runs.append([frame])
        elif runs and frame.sequence == runs[-1][-1].sequence + 1:
            runs[-1].append(frame)
    run = max(runs, key=len)
    assert len(run) >= 5
    file = f"{tmp_path}/left.h264"
    with open(file, "wb") as video:
        video.writelines(frame.data for frame in run)
    capture = cv2.VideoCapture(file, cv2.CAP_FFMPEG)
    for frame in run:
        okay, image = capture.read()
        assert okay
        error = np.abs(image.astype(int) - frame.image)
        # Another conversion, with another way to scale chroma.
        assert np.mean(error) < 2.5, np.mean(error)
    capture.release()


def test_motion_vectors_are_what_ffmpeg_says_they_are(rig: Rig) -> None:
    with framelock.Aggregator(rig.cameras, pixels=None, motion_vectors=True, queue=200) as aggregator:
        packets = complete(aggregator, 40)
    frames = [frame for packet in packets for frame in packet]
    assert any(len(frame.motion_vectors) for frame in frames)
    for frame in frames:
        vectors = frame.motion_vectors
        assert vectors.dtype == np.int64 and vectors.ndim == 2 and vectors.shape[1] == 10
        assert frame.motion_vectors is vectors
        if frame.frame_type is framelock.FrameType.I:
            assert vectors.shape == (0, 10)
            continue
        source, w, h, src_x, src_y, dst_x, dst_y, motion_x, motion_y, scale = vectors.T
        assert (source < 0).all(), "from the past: there are no B-frames"
        assert np.isin(w, (4, 8, 16)).all() and np.isin(h, (4, 8, 16)).all()
        assert (abs(dst_x + motion_x / scale - src_x) < 1).all()
        assert (abs(dst_y + motion_y / scale - src_y) < 1).all()
        assert ((0 <= dst_x) & (dst_x < 320) & (0 <= dst_y) & (dst_y < 240)).all()


def test_what_was_not_asked_for_is_not_there(rig: Rig) -> None:
    with framelock.Aggregator(rig.cameras, pixels=None) as aggregator:
        frame = complete(aggregator, 1)[0]["left"]
        with pytest.raises(framelock.NotRequestedError, match="pixels"):
            frame.image  # noqa: B018
        with pytest.raises(framelock.NotRequestedError, match="motion_vectors=True"):
            frame.motion_vectors  # noqa: B018


def test_threads_that_ask_for_one_image_get_one(rig: Rig) -> None:
    with framelock.Aggregator(rig.cameras) as aggregator:
        frames = [frame for packet in complete(aggregator, 8) for frame in packet]
    images: list[list[object]] = [[] for _ in frames]
    start = threading.Barrier(4)

    def look() -> None:
        start.wait(PATIENCE)
        for frame, found in zip(frames, images):
            found.append(frame.image)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(found) == 4 and len({id(image) for image in found}) == 1 for found in images)


def test_memory_of_images_is_used_again_but_not_while_anything_refers_to_it(rig: Rig) -> None:
    with framelock.Aggregator({"left": rig.cameras["left"]}, queue=200) as aggregator:
        frames = [packet["left"] for packet in complete(aggregator, 12)]

    def memory(image: np.ndarray[Any, Any]) -> int:
        return int(image.ctypes.data)

    # One after the other, and nobody has the last one any more: one place will do. CPython frees at once what nobody has.
    places = {memory(frames.pop().image) for _ in range(3)}
    assert len(places) == 1, "memory is used again"
    # Whatever refers to an image keeps it: itself, a row, its buffer, a view of a view.
    kept = frames.pop().image
    row = frames.pop().image[100]
    view = frames.pop().image.data
    red = frames.pop().image[..., 2].T
    before = [kept.copy(), row.copy(), bytes(view), red.copy()]
    others = [frames.pop().image for _ in range(4)]
    for image in others:
        image[:] = 255
    assert (kept == before[0]).all() and (row == before[1]).all() and bytes(view) == before[2]
    assert (red == before[3]).all()
    assert len({memory(image) for image in [*others, kept]}) == 5
