"""A folder of small videos, and a plan to predict them."""

from __future__ import annotations

import json
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


@pytest.fixture(scope="session")
def part(media, tmp_path_factory) -> Path:
    """A part of DFDC: a family of two, one that is broken, one that is missing, and another."""
    folder = tmp_path_factory.mktemp("data") / "dfdc_train_part_03"
    folder.mkdir()
    pictures = [cv2.resize(image, (320, 180)) for image in decode(media / "single_face.mp4", 6).images]
    for name in ("real", "fake", "other"):
        write_video(folder / f"{name}.mp4", 6, (320, 180), draw=lambda number, *_: pictures[number])
    (folder / "broken.mp4").write_bytes(b"no video at all")
    entries = {name: {"label": "REAL"} for name in ("real.mp4", "other.mp4", "broken.mp4", "gone.mp4")}
    (folder / "metadata.json").write_text(json.dumps(entries | {"fake.mp4": {"label": "FAKE", "original": "real.mp4"}}))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """What `dfdc extract` or a merge has written."""
    left_out = {".lock", "plan.json"}
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name not in left_out}


def plan(videos: Path | str, store: Path | str, members: Path, **how) -> PlanRequest:
    """Plan to predict, two videos a unit and two frames a video."""
    request = PlanRequest(str(videos), str(store), frames=2, members=members, **{"unit_videos": 2, **how})
    make_plan(request)
    return request
