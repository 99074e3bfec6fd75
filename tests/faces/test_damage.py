"""Damaged videos: what can be read of them, and what is said."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from common.errors import DfdcError
from faces.video import VideoError, choose_frames, decode, probe
from tests.faces.streams import PYRAMID
from tests.media import all_frames, spoil_packets, truncate, write_audio, write_video


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
        said = frames.note.split("; ")
        assert (f"header says 48 frames, {there} readable" in said) == (there < 48)
    assert fewer


def test_errors_that_a_decoder_conceals_are_noted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """All frames come out, some of them made up from their neighbours."""
    concealed = 0
    for position in range(1, 9):
        path = write_video(tmp_path / f"{position}.mp4", options=PYRAMID)
        whole = decode(path, 48, threads=1)
        assert whole.note == ""
        frames = decode(spoil_packets(path, [position]), 48, threads=1)
        assert "the decoder reports errors, first" in frames.note
        concealed += len(frames.images) == 48
    assert concealed
    assert av.logging.get_level() is None
    assert capfd.readouterr() == ("", "")  # the library's own complaints stay away from the user


def test_a_packet_that_is_given_up_is_noted_for_any_number_of_threads(tmp_path: Path) -> None:
    path = spoil_packets(write_video(tmp_path / "a.mp4", options=PYRAMID), range(10, 30))
    assert "the decoder gave up a packet (" in decode(path, 8, threads=2).note


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
