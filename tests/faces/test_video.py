"""Videos of every sort, encoded and damaged here: what `decode` gives equals a decode from start to end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import DfdcError
from faces import video
from faces.media import open_video
from faces.video import Frames, VideoError, choose_frames, decode, probe
from tests.media import all_frames, claim_frames, join_flv, spoil_packets, truncate, write_audio, write_video

PYRAMID = {"bf": "3", "b-pyramid": "normal", "b-adapt": "0", "g": "20"}
FAST_VP = {"cpu-used": "8", "deadline": "realtime"}
OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:bframes=3:b-adapt=0"}


@pytest.fixture
def no_full_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it an error to fall back on decoding everything."""

    def refuse(*_: object) -> None:
        raise AssertionError("decoded everything where the needed packets would have done")

    monkeypatch.setattr(video, "_decode_all", refuse)


def assert_same(frames: Frames, reference: list[np.ndarray], wanted: int) -> None:
    """The chosen frames, bit for bit."""
    assert frames.indices.tolist() == choose_frames(len(reference), wanted).tolist()
    for number, image in zip(frames.indices, frames.images, strict=True):
        assert image.flags.c_contiguous
        np.testing.assert_array_equal(image, reference[number])


# Choosing


@given(count=st.integers(0, 5000), wanted=st.integers(1, 400))
def test_chosen_frames_are_sorted_unique_in_range_and_spread(count: int, wanted: int) -> None:
    chosen = choose_frames(count, wanted)
    assert chosen.dtype == np.int64
    assert len(chosen) == min(count, wanted)
    if count == 0:
        return
    gaps = np.diff(np.concatenate([[-1], chosen, [count]]))
    assert chosen[0] >= 0
    assert chosen[-1] < count
    assert gaps.min() >= 1
    assert gaps.max() <= count / len(chosen) + 1
    # Neither end is favoured: what lies before the first and after the last is equal but for rounding.
    assert abs(chosen[0] - (count - 1 - chosen[-1])) <= 1


def test_the_last_frames_of_a_clip_are_spared() -> None:
    assert choose_frames(300, 32)[[0, -1]].tolist() == [4, 295]


@pytest.mark.parametrize(("count", "wanted"), [(10, 0), (10, -1), (-1, 3)])
def test_nothing_to_choose_is_an_error(count: int, wanted: int) -> None:
    with pytest.raises(ValueError, match=f"cannot choose {wanted} of {count}"):
        choose_frames(count, wanted)


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


def fed_packets(monkeypatch: pytest.MonkeyPatch, path: Path, wanted: int) -> tuple[int, int]:
    """How many packets the decoder is fed, and how many there are."""
    plans = []
    needed = video._Index.needed

    def spy(index: video._Index, wanted: int) -> Any:
        plans.append((needed(index, wanted), len(index.pts)))
        return plans[-1][0]

    monkeypatch.setattr(video._Index, "needed", spy)
    decode(path, wanted)
    ((fed, _), packets) = plans[-1]
    return len(fed), packets


@pytest.mark.usefixtures("no_full_decode")
def test_fewer_packets_than_all_are_fed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", frames=200, options={**PYRAMID, "g": "100"})
    fed, packets = fed_packets(monkeypatch, path, 8)
    # With three B-frames, of which one is a reference, every second packet is referred to.
    assert packets == 200
    assert fed <= 112


@pytest.mark.usefixtures("no_full_decode")
def test_what_follows_the_last_wanted_frame_of_a_group_is_not_fed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", frames=120, options={"bf": "0", "g": "20", "sc_threshold": "0"})
    # The middle is frame 60, the first of its group: beside it only the stream's first packet is fed.
    assert fed_packets(monkeypatch, path, 1) == (2, 120)


@pytest.mark.parametrize(
    ("units", "kind"),
    [
        ([0x01], 0),  # a picture that nothing refers to
        ([0x06, 0x01], 0),  # the same after a comment
        ([0x21], video.REFERENCE),
        ([0x41], video.REFERENCE),
        ([0x01, 0x41], video.REFERENCE),  # two fields, of which one is referred to
        ([0x65], video.REFERENCE | video.START),
        ([0x67, 0x68, 0x65], video.REFERENCE | video.PARAMETERS | video.START),
        ([0x68, 0x01], video.REFERENCE | video.PARAMETERS),
    ],
)
@pytest.mark.parametrize("length_bytes", [1, 2, 4])
def test_units_say_what_a_packet_is_to_others(units: list[int], kind: int, length_bytes: int) -> None:
    data = b"".join((5).to_bytes(length_bytes) + bytes([unit, 0x41, 0x65, 0x67, 0x68]) for unit in units)
    assert video._kind(memoryview(data), length_bytes) == kind
    # Damaged lengths: never skipped.
    assert video._kind(memoryview(data[:-1]), length_bytes) == kind | video.REFERENCE


LIVE = {"profile": "baseline", "g": "3", "sc_threshold": "0", "bf": "0"}


@pytest.mark.usefixtures("no_full_decode")
@pytest.mark.parametrize("size", [(96, 64), (64, 48)])
def test_parameters_that_change_beside_the_packets_are_fed(tmp_path: Path, size: tuple[int, int]) -> None:
    first = write_video(tmp_path / "1.flv", frames=40, options=LIVE)
    second = write_video(tmp_path / "2.flv", frames=40, size=size, options=LIVE | {"crf": "40"})
    path = join_flv(tmp_path / "both.flv", first, second)
    reference = all_frames(path)
    assert len(reference) == 80
    for wanted in range(1, 41):
        assert_same(decode(path, wanted), reference, wanted)


def test_the_first_packet_is_always_fed(tmp_path: Path) -> None:
    """It says which build of x264 made the stream: decoders read 4:4:4 of builds before 151 in another way."""
    path = write_video(tmp_path / "a.mp4", frames=60, pixel_format="yuv444p", options={"g": "10"})
    with open_video(path) as (container, stream):
        index = video._Index.read(container, stream)
    for wanted in range(1, 41):
        assert 0 in index.needed(wanted)[0]


def test_user_data_that_names_the_encoder_is_a_parameter() -> None:
    for text, kind in ((b"x264 - core 148", video.PARAMETERS), (b"made at noon", 0)):
        unit = b"\x06\x05" + bytes(16) + text
        assert video._kind(memoryview(len(unit).to_bytes(4) + unit), 4) == kind


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


# Damage


@pytest.mark.usefixtures("no_full_decode")
def test_a_cut_off_tail_leaves_the_rest(tmp_path: Path) -> None:
    write: dict[str, Any] = {"frames": 100, "options": PYRAMID, "container_options": {"movflags": "faststart"}}
    path = write_video(tmp_path / "cut.mp4", **write)
    whole = all_frames(path)
    frames = decode(truncate(path, 0.6), 8)
    assert frames.note.startswith("header says 100 frames, ")
    readable = int(frames.note.split()[-2])
    assert 40 < readable < 70
    assert frames.indices.tolist() == choose_frames(readable, 8).tolist()
    for second, image in zip(frames.seconds, frames.images, strict=True):
        np.testing.assert_array_equal(image, whole[round(second * 25)])
    # The frame that the cut went through is not made up from the one before.
    every = decode(tmp_path / "cut.mp4", 100)
    assert len(every.images) == readable
    for second, image in zip(every.seconds, every.images, strict=True):
        np.testing.assert_array_equal(image, whole[round(second * 25)])


@pytest.mark.parametrize("name", ["a.ts", "a.mkv"])
def test_a_cut_off_tail_without_a_header_count(tmp_path: Path, name: str) -> None:
    frames = decode(truncate(write_video(tmp_path / name, options=PYRAMID), 0.6), 8)
    assert len(frames.images) == 8
    assert frames.seconds[-1] < 1.3


def test_a_damaged_reference_gives_frames_chosen_anew(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = spoil_packets(write_video(tmp_path / "a.mp4", options=PYRAMID), range(10, 30))
    frames = decode(path, 8)
    readable = int(frames.note.removeprefix("header says 48 frames, ").split()[0])
    assert 8 < readable < 48
    assert frames.indices.tolist() == choose_frames(readable, 8).tolist()
    assert capfd.readouterr() == ("", "")  # the library's own complaints stay away from the user


def test_a_frame_that_does_not_come_out_is_noted(tmp_path: Path) -> None:
    data = write_video(tmp_path / "a.mp4", options=PYRAMID).read_bytes()
    fewer = 0
    for position in range(1, 9):
        path = tmp_path / f"{position}.mp4"
        path.write_bytes(data)
        frames = decode(spoil_packets(path, [position]), 48)
        there = len(frames.images)
        fewer += there < 48
        assert frames.note == ("" if there == 48 else f"header says 48 frames, {there} readable")
    assert fewer


def test_frames_that_all_are_noise_never_hang(tmp_path: Path) -> None:
    path = spoil_packets(write_video(tmp_path / "a.mp4", codec="mpeg4"), range(48))
    try:
        assert decode(path, 8).note
    except VideoError as error:
        assert "a.mp4" in str(error)


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=1)
    with pytest.raises(VideoError, match=r"a\.mp4: no frame can be decoded"):
        decode(spoil_packets(path, [0]))


def test_a_change_of_size_is_noted(tmp_path: Path) -> None:
    parts = [write_video(tmp_path / f"{i}.ts", frames=20, size=size) for i, size in enumerate(((96, 64), (64, 48)))]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = decode(path, 8)
    assert {image.shape for image in frames.images} == {(64, 96, 3), (48, 64, 3)}
    assert "the frame size changes" in frames.note


@pytest.mark.parametrize("read", [probe, decode])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("zero.mp4", "has zero bytes"),
        ("text.mp4", "is not a video"),
        ("noise.mp4", "is not a video"),
        ("headless.mp4", "is not a video"),
        ("sound.mp4", "has no video stream"),
        ("folder", "is a folder"),
        ("missing.mp4", "does not exist"),
        ("pipe.mp4", "is not a regular file"),
    ],
)
def test_what_is_no_video_is_an_error_that_names_it(tmp_path: Path, read: Any, name: str, reason: str) -> None:
    (tmp_path / "zero.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")  # to open it would wait for ever
    (tmp_path / "text.mp4").write_text("not a video\n" * 500)
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(100_000))
    truncate(write_video(tmp_path / "headless.mp4"), 0.6)
    write_audio(tmp_path / "sound.mp4")
    (tmp_path / "folder").mkdir()
    with pytest.raises(VideoError, match=rf"{name}: {reason}") as caught:
        read(tmp_path / name)
    assert isinstance(caught.value, DfdcError)


def test_a_colon_in_a_name_is_no_protocol(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=3)
    assert len(decode(path.rename(tmp_path / "http:clip %d.mp4")).images) == 3


@pytest.mark.parametrize("options", [{"wanted": 0}, {"threads": -1}])
def test_less_than_one_is_refused(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="are needed"):
        decode(tmp_path / "a.mp4", **options)


@pytest.mark.parametrize("name", ["a.mp4", "broken.mp4"])
def test_containers_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = write_video(tmp_path / name, frames=24)
    if name == "broken.mp4":
        spoil_packets(path, range(5, 20))
    opened: list[Any] = []
    real = av.open

    def remember(*arguments: Any, **options: Any) -> Any:
        opened.append(real(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(av, "open", remember)
    decode(path, 4)
    probe(path)
    assert len(opened) >= 2
    for container in opened:
        with pytest.raises(AssertionError, match="Container is not open"):
            container.seek(0)


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
