"""A folder of small videos, and a plan to predict them."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import pytest

from faces.video import decode
from scale.plan import PlanRequest, make_plan
from tests.media import write_video

NAMES = ["a.mp4", "b.mp4", "broken.mp4", "c.mp4", "comma, name.mp4"]


@pytest.fixture(scope="session")
def videos(media, tmp_path_factory) -> Path:
    """Five videos, one of which is broken."""
    folder = tmp_path_factory.mktemp("videos")
    pictures = [cv2.resize(image, (320, 180)) for image in decode(media / "single_face.mp4", 6).images]
    write_video(folder / "a.mp4", 6, (320, 180), draw=lambda number, *_: pictures[number])
    write_video(folder / "b.mp4", 6, (320, 180), draw=lambda number, *_: pictures[-1 - number])
    write_video(folder / "c.mp4", 6, (64, 64))
    (folder / "broken.mp4").write_bytes(b"no video at all")
    shutil.copy(folder / "a.mp4", folder / "comma, name.mp4")
    return folder


def plan(videos: Path | str, store: Path | str, members: Path, **how) -> PlanRequest:
    """Plan to predict, two videos a unit and two frames a video."""
    request = PlanRequest(str(videos), str(store), frames=2, members=members, **{"unit_videos": 2, **how})
    make_plan(request)
    return request
