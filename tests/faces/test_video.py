"""Videos of every sort, encoded here: what `decode` gives equals a decode from start to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from faces.media import STAND_INS, open_video
from faces.packets import PacketIndex
from faces.video import Frames, decode, probe
from faces.wanted import choose_frames
from tests.faces.streams import FAST_VP, OPEN_GOP, PYRAMID, assert_same
from tests.media import (
    all_frames,
    claim_frames,
    set_h264_header,
    write_video,
)

# The short way: equal pixels from fewer packets


@pytest.mark.usefixtures("no_full_decode")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("pyramid.mp4", {"options": PYRAMID}),
        ("pyramid.mkv", {"options": PYRAMID}),
        ("fragments.mp4", {"options": PYRAMID, "container_options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("open_gop.mp4", {"options": OPEN_GOP}),
        ("headers_in_band.mp4", {"options": {"g": "10", "x264-params": "repeat-headers=1"}}),
        ("slices.mp4", {"options": {**PYRAMID, "slices": "4"}}),
        ("interlaced.mp4", {"options": {"flags": "+ildct+ilme", "x264-params": "tff=1"}}),
        ("late_start.mp4", {"options": PYRAMID, "shift": 400}),
        ("ten_bit.mp4", {"options": PYRAMID, "pixel_format": "yuv420p10le"}),
        ("odd_444.mp4", {"options": PYRAMID, "pixel_format": "yuv444p", "size": (321, 241)}),
        ("gray.mp4", {"options": PYRAMID, "pixel_format": "gray"}),
        ("one_frame.mp4", {"frames": 1}),
        ("three_frames.mp4", {"frames": 3}),
    ],
)
def test_wanted_frames_of_h264_are_bit_identical(
    tmp_path: Path, name: str, options: dict[str, Any], threads: int
) -> None:
    path = write_video(tmp_path / name, **options)
    reference = all_frames(path)
    for wanted in (1, 8, 100):
        frames = decode(path, wanted, threads)
        assert_same(frames, reference, wanted)
        assert frames.note == ""


@pytest.mark.usefixtures("no_full_decode")
def test_frames_hidden_by_an_edit_list_are_not_counted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "cut.mp4", options=PYRAMID, shift=-400)
    reference = all_frames(path)
    assert len(reference) == 38
    frames = decode(path, 8)
    assert_same(frames, reference, 8)
    assert frames.note == ""


# Other codecs and containers: everything is fed


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mpeg4.mp4", {"codec": "mpeg4", "options": {"bf": "2"}, "size": (321, 241)}),
        ("mpeg4.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
        ("vp8.webm", {"codec": "libvpx", "options": FAST_VP | {"auto-alt-ref": "1", "lag-in-frames": "12"}}),
        ("vp9.webm", {"codec": "libvpx-vp9", "options": FAST_VP}),
        ("mjpeg.avi", {"codec": "mjpeg", "pixel_format": "yuvj420p"}),
        ("h264.ts", {"options": PYRAMID}),
        ("h264.avi", {"options": {"bf": "0"}}),
        ("hevc.mp4", {"codec": "libx265", "options": {"preset": "ultrafast", "x265-params": "log-level=none"}}),
    ],
)
def test_other_codecs_and_containers_are_bit_identical(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    path = write_video(tmp_path / name, **options)
    reference = all_frames(path)
    assert len(reference) == 48
    frames = decode(path, 8)
    assert_same(frames, reference, 8)
    assert frames.note == ""
    assert np.all(np.diff(frames.seconds) > 0)


@pytest.mark.parametrize("options", [PYRAMID, {"bf": "3", "g": "30"}, {"bf": "2", "b_strategy": "0", "g": "100"}])
def test_an_avi_with_reordered_frames_is_bit_identical(tmp_path: Path, options: dict[str, str]) -> None:
    """AVI keeps no times of frames. Those of its packets are made up, in decoding order, which is not theirs."""
    path = write_video(tmp_path / "a.avi", options=options)
    reference = all_frames(path)
    with open_video(path) as (container, stream):
        assert not PacketIndex.read(container, stream).sound, "nothing is decoded by such times"
    for count in (1, 2, 3, 5, 8, 13, 48):
        frames = decode(path, count)
        assert_same(frames, reference, count)
        np.testing.assert_allclose(frames.seconds, choose_frames(48, count) / 25, atol=0.09)
        assert np.all(np.diff(frames.seconds) > 0)


# Colours, the shape of pixels, large pictures


@pytest.mark.parametrize("matrix", [*range(1, 18), 200])
def test_every_colour_matrix_gives_pictures(tmp_path: Path, matrix: int) -> None:
    """What the library converts stays as it is; for the others another matrix stands in, and the note says so."""
    path = write_video(tmp_path / "a.mp4", frames=4)
    plain = all_frames(path)
    frames = decode(set_h264_header(path, f"matrix_coefficients={matrix}"), 2)
    assert np.abs(frames.images[0].astype(int) - plain[1]).mean() < 40  # another tint, the same picture
    if matrix in STAND_INS:
        assert STAND_INS[matrix][0] in frames.note
        assert "is converted as" in frames.note
        with pytest.raises(av.FFmpegError):
            all_frames(path)
    else:
        assert frames.note == ""
        assert_same(frames, all_frames(path), 2)


@pytest.mark.parametrize(
    ("aspect", "size"),
    [("2/1", (192, 64)), ("16/11", (140, 64)), ("1/2", (96, 128)), ("1/1", (96, 64)), ("9/1", (96, 64))],
)
@pytest.mark.parametrize("rotation", [0, 90])
def test_pixels_that_are_no_squares(tmp_path: Path, aspect: str, size: tuple[int, int], rotation: int) -> None:
    path = write_video(tmp_path / "a.mp4", frames=4, rotation=rotation)
    plain = decode(path, 2).images[0]
    frames = decode(set_h264_header(path, f"sample_aspect_ratio={aspect}"), 2)
    size = size if rotation == 0 else size[::-1]
    assert (frames.info.width, frames.info.height) == (probe(path).width, probe(path).height) == size
    assert frames.images[0].shape == (size[1], size[0], 3)
    back = cv2.resize(frames.images[0], (plain.shape[1], plain.shape[0]), interpolation=cv2.INTER_AREA)
    assert np.abs(back.astype(int) - plain).mean() < 4


def test_large_pictures_give_fewer_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    frames = decode(path, 8, most_bytes=3 * 96 * 64 * 3)
    assert_same(frames, all_frames(path), 3)
    assert frames.note == "3 of 8 frames, since more of 96 x 64 take too much memory"
    assert len(decode(path, 8, most_bytes=1).images) == 1
    assert decode(path, 8, most_bytes=8 * 96 * 64 * 3).note == ""
    # A video that has no more frames anyway lacks nothing.
    assert decode(write_video(tmp_path / "b.mp4", frames=3), 8, most_bytes=3 * 96 * 64 * 3).note == ""


@pytest.mark.parametrize(("name", "length"), [("a.mp4", 1.88), ("a.webm", 1.88), ("a.ts", 1.88)])
def test_the_length_is_told_before_anything_is_decoded(tmp_path: Path, name: str, length: float) -> None:
    codec = "libvpx" if name == "a.webm" else "libx264"
    told: list[float] = []
    decode(write_video(tmp_path / name, codec=codec, options=FAST_VP), 2, on_length=told.append)
    assert told == [pytest.approx(length, abs=0.01)]


# Times, rotation, header


def test_times_of_a_variable_frame_rate_are_the_files(tmp_path: Path) -> None:
    times = [40 * number + (number % 3) * 13 for number in range(48)]
    frames = decode(write_video(tmp_path / "vfr.mp4", times=times, options=PYRAMID), 8)
    np.testing.assert_allclose(frames.seconds, [times[i] / 1000 for i in frames.indices], atol=1e-3)


@pytest.mark.parametrize(("counterclockwise", "clockwise"), [(0, 0), (90, 270), (180, 180), (-90, 90)])
def test_rotation_is_applied_like_opencv_does(tmp_path: Path, counterclockwise: int, clockwise: int) -> None:
    path = write_video(tmp_path / "turned.mp4", size=(96, 64), rotation=counterclockwise)
    frames = decode(path, 1)
    capture = cv2.VideoCapture(str(path))
    for _ in range(int(frames.indices[0]) + 1):
        capture.grab()
    theirs = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
    capture.release()
    assert frames.images[0].shape == theirs.shape
    # OpenCV converts colours slightly differently; another rotation would differ by tens.
    assert np.abs(frames.images[0].astype(int) - theirs).mean() < 4
    assert frames.info.rotation == clockwise
    assert (frames.info.height, frames.info.width) == theirs.shape[:2]
    assert probe(path) == frames.info


def test_probe_says_what_the_header_says(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "a.mp4", audio=True))
    assert (info.frames, info.fps, info.width, info.height, info.rotation) == (48, 25.0, 96, 64, 0)
    assert info.duration == pytest.approx(1.92)
    assert (info.codec, info.pixel_format, info.has_audio, info.audio_codec) == ("h264", "yuv420p", True, "aac")
    silent = probe(write_video(tmp_path / "b.mkv"))
    assert (silent.frames, silent.has_audio, silent.audio_codec) == (48, False, "")


def test_a_wrong_count_in_the_header_is_noted(tmp_path: Path) -> None:
    path = claim_frames(write_video(tmp_path / "a.avi", codec="mjpeg", pixel_format="yuvj420p"), 90)
    assert probe(path).frames == 90
    frames = decode(path, 8)
    assert_same(frames, all_frames(path), 8)
    assert frames.note == "header says 90 frames, 48 readable"


# The value


def test_frames_check_themselves_and_show_shapes(tmp_path: Path) -> None:
    frames = decode(write_video(tmp_path / "a.mp4", frames=4), 2)
    assert repr(frames) == "Frames(2 images [(64, 96, 3)], indices 1..3, note='')"
    image, info = frames.images[0], frames.info
    good = (np.array([3]), np.array([0.1]))
    Frames((image,), *good, info)
    bad: tuple[Any, ...] = (
        ((image[..., 0],), *good),
        ((image.astype(np.float32),), *good),
        ((image,), np.array([3.0]), good[1]),
        ((image,), good[0], np.array([np.nan])),
        ((image, image), *good),
        ((image, image), np.array([3, 3]), np.array([0.1, 0.2])),
        ((image,), np.array([-1]), good[1]),
    )
    for images, indices, seconds in bad:
        with pytest.raises(ValueError, match="Frames: "):
            Frames(images, indices, seconds, info)
