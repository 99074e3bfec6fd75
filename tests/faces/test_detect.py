import importlib.util
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.errors import DfdcError
from faces import detect
from faces.blazeface import ANCHORS, anchors
from faces.boxes import iou_matrix
from faces.detect import (
    SURE,
    BlazeDetector,
    FrameFaces,
    MtcnnDetector,
    five_points,
)
from faces.tiles import focus, letterbox, look, short_side_tiles

Image = NDArray[np.uint8]
CPU = torch.device("cpu")
TILINGS = [letterbox, short_side_tiles]


def by_x(faces: FrameFaces) -> tuple[NDArray, NDArray]:
    """Boxes and points from left to right."""
    order = np.argsort(faces.boxes_xyxy[:, 0])
    return faces.boxes_xyxy[order], faces.points_xy[order]


# --- tiles and what the network sees of them

sizes = st.integers(1, 4000)


@given(width=sizes, height=sizes)
def test_a_letterbox_is_one_tile_around_the_frame(width: int, height: int) -> None:
    (tile,) = letterbox(width, height)
    assert tile.left <= 0 and tile.left + tile.side >= width
    assert tile.top <= 0 and tile.top + tile.side >= height
    assert tile.side == max(width, height)


@given(width=sizes, height=sizes)
@example(1920, 1080)
@example(300, 100)
def test_tiles_cover_every_pixel_and_nothing_else(width: int, height: int) -> None:
    tiles = short_side_tiles(width, height)
    long, short = max(width, height), min(width, height)
    assert len(tiles) == (1 if long == short else 3 if long <= 2 * short else math.ceil(long / short) + 1)
    assert all(tile.side == short for tile in tiles)
    along, across = ("left", "top") if width >= height else ("top", "left")
    starts = [getattr(tile, along) for tile in tiles]
    assert all(getattr(tile, across) == 0 for tile in tiles)
    assert starts[0] == 0 and starts[-1] + short == long
    assert all(later - earlier <= short for earlier, later in pairwise(starts))


@pytest.mark.parametrize(("width", "height"), [(640, 360), (360, 640)])
def test_tiles_lie_along_the_long_side(width: int, height: int) -> None:
    starts = [(t.left, t.top) for t in short_side_tiles(width, height)]
    expected = [(0, 0), (140, 0), (280, 0)]
    assert starts == (expected if width > height else [(y, x) for x, y in expected])


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 700),
    height=st.integers(1, 700),
    tiles=st.sampled_from(TILINGS),
    size=st.sampled_from([128, 256]),
)
@example(642, 361, short_side_tiles, 256)  # the middle tile begins between two pixels
@example(361, 642, short_side_tiles, 256)
@example(1000, 1, letterbox, 128)
def test_a_look_has_the_size_of_the_network(width: int, height: int, tiles, size: int) -> None:
    image = np.full((height, width, 3), 9, np.uint8)
    for tile in tiles(width, height):
        seen = look(image, tile, size)
        assert seen.shape == (size, size, 3) and seen.dtype == np.uint8
        assert set(np.unique(seen)) <= {0, 9} and seen.any()


@pytest.mark.parametrize(
    ("width", "height", "rows", "columns"),
    [(200, 100, (64, 192), (0, 256)), (100, 200, (0, 256), (64, 192)), (300, 300, (0, 256), (0, 256))],
)
def test_a_letterboxed_look_is_centred_on_black(width, height, rows, columns) -> None:
    expected = np.zeros((256, 256, 3), np.uint8)
    expected[slice(*rows), slice(*columns)] = 255
    image = np.full((height, width, 3), 255, np.uint8)
    assert (look(image, letterbox(width, height)[0], 256) == expected).all()


class Finder:
    """In place of a network: its one box is the white rectangle that it sees, the score grows with the area."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, images: Image) -> list[NDArray[np.float32]]:
        raw = np.zeros((len(images), ANCHORS, 16), np.float32)
        logits = np.full((len(images), ANCHORS), -20, np.float32)
        for i, image in enumerate(images):
            y, x = np.nonzero(image[..., 0] > 127)
            if len(x):
                centre = np.array([x.min() + x.max() + 1, y.min() + y.max() + 1]) / 2 - anchors()[0] * self.size
                raw[i, 0] = [*centre, np.ptp(x) + 1, np.ptp(y) + 1, *np.tile(centre, 6)]
                logits[i, 0] = 2 + len(x) / 1e4
        return [raw, logits]


@pytest.mark.parametrize("tiles", TILINGS)
@pytest.mark.parametrize(
    ("width", "height"), [(640, 360), (360, 640), (1920, 1080), (1080, 1920), (500, 500), (643, 362), (1000, 350)]
)
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_boxes_map_back_within_a_pixel_of_the_network(back, tiles, width, height, place) -> None:
    side = min(width, height) // 8  # so small that no tile sees a part of it
    left, top = round(place * (width - side)), round(place * (height - side))
    image = np.zeros((height, width, 3), np.uint8)
    image[top : top + side, left : left + side] = 255
    detector = back.with_tiles(tiles)
    detector._run = Finder(back.size)
    (faces,) = detector([image])
    pixel = tiles(width, height)[0].side / back.size
    assert len(faces) == 1
    assert faces.boxes_xyxy[0] == pytest.approx([left, top, left + side, top + side], abs=pixel + 0.5)
    assert faces.points_xy[0, 2] == pytest.approx([left + side / 2, top + side / 2], abs=pixel + 0.5)


@given(st.integers(1, 3000), st.integers(1, 3000), st.floats(-500, 3500), st.floats(-500, 3500), st.floats(1, 2000))
def test_focus_stays_inside_the_frame(width: int, height: int, x: float, y: float, side: float) -> None:
    (tile,) = focus(width, height, np.array([x, y, x + side, y + side], np.float32), 256)
    assert 0 <= tile.left <= width - tile.side + 1e-3
    assert 0 <= tile.top <= height - tile.side + 1e-3
    assert tile.side == pytest.approx(min(max(4 * side, 256), width, height), rel=1e-3)


# --- BlazeFace on a photograph


@pytest.mark.parametrize("tiles", TILINGS)
def test_finds_the_five_people(back: BlazeDetector, five_people: Image, tiles) -> None:
    (faces,) = back.with_tiles(tiles)([five_people])
    assert len(faces) == 5 and faces.scores.min() > SURE
    assert faces.scores.tolist() == sorted(faces.scores.tolist(), reverse=True)
    assert faces.detector == ("back_letterbox" if tiles is letterbox else "back_tiles")
    assert faces.best == faces.scores[0]


@pytest.mark.parametrize("tiles", TILINGS)
@pytest.mark.parametrize(
    ("width", "height", "x", "y"),
    [(1300, 700, 200, 20), (1000, 1300, 0, 400), (1200, 900, 120, 100), (1300, 1300, 100, 500)],
    ids=["wide", "portrait", "landscape", "square"],
)
def test_faces_stay_in_place_on_a_larger_canvas(back, five_people, tiles, width, height, x, y) -> None:
    detector = back.with_tiles(tiles)
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[y : y + five_people.shape[0], x : x + five_people.shape[1]] = five_people
    before, after = detector([five_people, canvas])  # frames of unequal size in one call
    assert len(after) == 5
    (old, _), (new, _) = by_x(before), by_x(after)
    new = new - [x, y, x, y]
    middle = np.abs((old[:, :2] + old[:, 2:]) - (new[:, :2] + new[:, 2:])) / 2
    assert middle.max() < 8  # of faces 80 to 108 wide
    assert np.abs(old - new).max() < 15


def test_several_frames_are_each_frame_alone(back: BlazeDetector, five_people: Image) -> None:
    blank = np.zeros_like(five_people)
    together = back.with_tiles(short_side_tiles)([blank, five_people, blank])
    (alone,) = back.with_tiles(short_side_tiles)([five_people])
    assert [len(f) for f in together] == [0, 5, 0]
    np.testing.assert_allclose(together[1].boxes_xyxy, alone.boxes_xyxy, atol=0.01)


def test_the_engines_agree(back: BlazeDetector, five_people: Image) -> None:
    pytest.importorskip("openvino")
    (torchs,), (openvinos,) = (
        back([five_people]),
        BlazeDetector("back", letterbox, CPU, engine="openvino")([five_people]),
    )
    np.testing.assert_allclose(openvinos.scores, torchs.scores, atol=1e-3)
    np.testing.assert_allclose(openvinos.boxes_xyxy, torchs.boxes_xyxy, atol=1e-3)
    np.testing.assert_allclose(openvinos.points_xy, torchs.points_xy, atol=1e-3)


def test_other_tiles_leave_the_first_detector_alone(back: BlazeDetector) -> None:
    other = back.with_tiles(short_side_tiles)
    assert (back.name, other.name) == ("back_letterbox", "back_tiles")
    assert back.tiles is letterbox


def test_no_images_no_answers(back: BlazeDetector) -> None:
    assert back([]) == []


def test_five_points_of_an_upright_and_a_turned_face() -> None:
    """Right eye, left eye, nose stay; the mouth's corners lie on both sides of its centre, along the eyes."""
    upright = np.array([[[40, 50], [80, 50], [60, 70], [60, 90], [20, 60], [100, 60]]], np.float32)
    five = five_points(upright)[0]
    assert (five[:3] == upright[0, :3]).all()
    assert five[3:].mean(axis=0) == pytest.approx([60, 90])
    assert five[3, 0] < 60 < five[4, 0] and five[3, 1] == five[4, 1] == 90
    turned = five_points(upright[..., ::-1])[0]
    assert turned == pytest.approx(five[:, ::-1])


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        FrameFaces(np.zeros((2, 4), np.float32), np.zeros(1, np.float32), np.zeros((1, 5, 2), np.float32))


# --- MTCNN


def test_mtcnn_finds_the_five_people_where_blazeface_does(back, mtcnn, five_people) -> None:
    (theirs,), (ours,) = mtcnn([five_people]), back([five_people])
    assert len(theirs) == 5 and theirs.detector == "mtcnn"
    (boxes, points), (blaze_boxes, blaze_points) = by_x(theirs), by_x(ours)
    for box, blaze in zip(boxes.astype(float), blaze_boxes.astype(float), strict=True):
        assert iou_matrix(box[None], blaze[None]).item() > 0.4
    # The same point at the same place, so the same order: right eye, left eye, nose, right and left mouth corner.
    width = (blaze_boxes[:, 2] - blaze_boxes[:, 0])[:, None]
    assert (np.linalg.norm(points - blaze_points, axis=2) / width).max() < 0.25
    for found in (points, blaze_points):
        assert (found[:, 0, 0] < found[:, 1, 0]).all() and (found[:, 3, 0] < found[:, 4, 0]).all()
        assert (found[:, :2, 1].max(axis=1) < found[:, 2, 1]).all()
        assert (found[:, 2, 1] < found[:, 3:, 1].min(axis=1)).all()


@pytest.mark.parametrize("shape", [(1, 1), (10, 10), (19, 300), (20, 20), (39, 40), (41, 80)], ids=str)
def test_mtcnn_on_tiny_images(mtcnn: MtcnnDetector, shape: tuple[int, int]) -> None:
    grain = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert [len(f) for f in mtcnn([grain, np.zeros_like(grain)])] == [0, 0]


def test_other_mtcnn_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("facenet_pytorch")
    detect.check_mtcnn_weights()
    monkeypatch.setitem(detect.MTCNN_FILES, "rnet.pt", "0" * 64)
    with pytest.raises(DfdcError, match=r"rnet\.pt has SHA-256 .* reinstall"):
        MtcnnDetector(CPU)


def test_a_missing_mtcnn_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DfdcError, match="pip install --no-deps facenet-pytorch"):
        detect.check_mtcnn_weights()
