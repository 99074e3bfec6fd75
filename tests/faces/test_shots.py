"""Cuts between frames that lie far apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from faces.shots import cuts
from faces.video import decode
from tests.media import Image, picture


def scene(seed: int) -> Image:
    """A picture of a few large areas of colour."""
    areas = np.random.default_rng(seed).integers(0, 255, (3, 4, 3))
    return np.kron(areas, np.ones((60, 80, 1))).astype(np.uint8)


def test_cuts_are_found_between_scenes_and_nowhere_else() -> None:
    shots = [scene(1), scene(1), scene(2), scene(2), scene(2), scene(3)]
    grain = np.random.default_rng(0).integers(0, 8, (6, 180, 320, 3), dtype=np.uint8)
    images = [np.minimum(shot, 240) + noise for shot, noise in zip(shots, grain, strict=True)]
    assert cuts(images).tolist() == [False, False, True, False, False, True]


def test_motion_and_light_are_no_cuts() -> None:
    assert not cuts([picture(number, 96, 64) for number in range(0, 200, 10)]).any()
    assert not cuts([np.roll(scene(1), 8 * step, axis=1) for step in range(6)]).any()
    assert not cuts([(scene(1) * light).astype(np.uint8) for light in (1.0, 0.9, 0.8, 0.7)]).any()


def test_another_size_is_a_cut() -> None:
    assert cuts([scene(1), scene(1)[:90], scene(1)[:90]]).tolist() == [False, True, False]


def test_few_images() -> None:
    assert cuts([]).tolist() == []
    assert cuts([scene(1)]).tolist() == [False]
    assert cuts([np.zeros((1, 1, 3), np.uint8)] * 2).tolist() == [False, False]


@pytest.mark.parametrize("name", ["single_face.mp4", "WolfgangLanger_Pexels.mp4", "no_face.mp4"])
def test_ordinary_clips_have_none(media: Path, name: str) -> None:
    assert not cuts(decode(media / name, 16).images).any()
