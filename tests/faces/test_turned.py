"""Videos that lie on their side without saying so: turned where both detectors then find upright faces, else left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from faces.cascade import Cascade
from faces.detect import SURE
from faces.turned import find_upright, turn_frames, turn_image
from faces.video import Frames, decode
from tests.media import write_video


@pytest.fixture(scope="module")
def detector() -> Cascade:
    return Cascade(torch.device("cpu"), threads=1)


def recorded(path: Path, frames: Frames, turns: int) -> Frames:
    """The frames as a file that lies on its side, and that says nothing of it; read again."""
    images = [turn_image(image, turns) for image in frames.images]
    height, width = images[0].shape[:2]
    write_video(path, frames=len(images), size=(width, height), draw=lambda number, *_: images[number])
    return decode(path, len(images))


@pytest.mark.parametrize(("turns", "said"), [(1, "lay on its side"), (2, "stood on its head"), (3, "lay on its side")])
def test_a_turned_clip_comes_back_upright(
    detector: Cascade, media: Path, tmp_path: Path, turns: int, said: str
) -> None:
    clip = decode(media / "single_face.mp4", 6)
    lying = recorded(tmp_path / "lying.mp4", clip, turns)
    frames, found, back = find_upright(detector, lying)
    assert back == 4 - turns
    assert f"the picture {said} and was turned by {90 * back} degrees" in frames.note
    assert (frames.info.width, frames.info.height) == (clip.info.width, clip.info.height)
    assert all(faces.best >= SURE for faces in found)
    upright = detector(clip.images)
    for ours, theirs in zip(found, upright, strict=True):
        assert np.abs(ours.boxes_xyxy[0] - theirs.boxes_xyxy[0]).max() < 4  # pixels: it was encoded once more
        assert np.abs(ours.points_xy[0] - theirs.points_xy[0]).max() < 4


@pytest.mark.parametrize("name", ["single_face.mp4", "face_noface.mov", "noface_face.mov", "WolfgangLanger_Pexels.mp4"])
def test_an_upright_clip_is_left_alone(detector: Cascade, media: Path, name: str) -> None:
    clip = decode(media / name, 6)
    frames, _, turns = find_upright(detector, clip)
    assert (turns, frames) == (0, clip)


def test_a_cartoon_in_which_one_detector_sees_a_lying_face_is_not_turned(detector: Cascade, media: Path) -> None:
    clip = decode(media / "no_face.mp4", 6)
    sideways = turn_frames(clip, 1)
    assert max(faces.best for faces in detector.first_look(sideways.images)) >= 0.7
    assert find_upright(detector, clip)[2] == 0


def test_a_run_that_is_short_of_time_turns_nothing(detector: Cascade, media: Path) -> None:
    lying = turn_frames(decode(media / "single_face.mp4", 4), 1)
    assert find_upright(detector, lying, thorough=False)[2] == 0


def test_turning_four_times_is_nothing() -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert turn_image(image, 1)[0, 1].tolist() == image[0, 0].tolist()  # the upper left corner goes to the upper right
    assert np.array_equal(turn_image(turn_image(image, 1), 3), image)
