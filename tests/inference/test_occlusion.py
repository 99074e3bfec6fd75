"""The heat map of a face: a member that looks at one spot, and where the map shows it."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ensemble.blend import Blend
from faces.crop import ALIGNED_POINTS, ALIGNED_SIDE, CropSpec, cut
from inference.occlusion import occlusion_map, paint
from inference.pictures import CLOSEUP, face_picture, heat_picture

BOX = np.array([300, 200, 500, 420], dtype=np.float32)
# The five points of a face that lies turned by 20 degrees in that box.
TURN = cv2.getRotationMatrix2D((ALIGNED_SIDE / 2, ALIGNED_SIDE / 2), 20, 1.6)
SHIFT = np.array([400, 310]) - ALIGNED_SIDE / 2
POINTS = (ALIGNED_POINTS @ TURN[:, :2].T + TURN[:, 2] + SHIFT).astype(np.float32)
SPECS = [
    CropSpec("tight", size=64, margin=-0.1, shift_y=0.05),
    CropSpec("wide", size=128, margin=0.2, pad="edge"),
    CropSpec("turned", size=112, margin=0.2, align="5pt"),
]


def sees_spots(name, spec):
    """A member whose logit is the brightest pixel that it sees."""
    return SimpleNamespace(
        card=SimpleNamespace(name=name, crop=spec),
        logits=lambda crops: np.array([float(crop.max()) for crop in crops]) / 32,
    )


def frame_with_spot(x, y):
    frame = np.full((600, 800, 3), 60, dtype=np.uint8)
    return cv2.circle(frame, (x, y), 6, (250, 250, 250), -1)


def heat_of(spec, spot, mirrored=False):
    frame = frame_with_spot(*spot)
    crop = cut(frame, BOX, spec, POINTS)
    crops = {spec: np.ascontiguousarray(crop[:, ::-1]) if mirrored else crop}
    return occlusion_map([sees_spots("one", spec)], Blend.equal(["one"]), crops, BOX, POINTS, CLOSEUP, mirrored)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("spot", [(350, 260), (440, 350)])
def test_the_map_is_hottest_where_the_member_looks(spec, spot, mirrored):
    heat = heat_of(spec, spot, mirrored)
    seen = cut(frame_with_spot(*spot), BOX, CLOSEUP)[..., 0]
    wanted = np.argwhere(seen > 200).mean(axis=0)
    hottest = np.argwhere(heat > 0.9 * heat.max()).mean(axis=0)
    assert heat.max() > 1
    assert np.abs(hottest - wanted).max() < CLOSEUP.size / 10


def test_nothing_falls_where_nobody_looks():
    spec = SPECS[0]
    crops = {spec: np.full((64, 64, 3), 90, dtype=np.uint8)}
    heat = occlusion_map([sees_spots("one", spec)], Blend.equal(["one"]), crops, BOX, None, CLOSEUP)
    assert heat.shape == (CLOSEUP.size, CLOSEUP.size) and not heat.any()
    picture = np.full((CLOSEUP.size, CLOSEUP.size, 3), 90, dtype=np.uint8)
    assert np.array_equal(paint(picture, heat), picture)


def test_the_answer_is_the_blend_s():
    """A member without weight does not colour the map."""
    blind = SimpleNamespace(card=SimpleNamespace(name="two", crop=SPECS[1]), logits=lambda crops: np.zeros(len(crops)))
    frame = frame_with_spot(350, 260)
    crops = {spec: cut(frame, BOX, spec, POINTS) for spec in SPECS[:2]}
    members = [sees_spots("one", SPECS[0]), blind]
    both = occlusion_map(members, Blend.equal(["one", "two"]), crops, BOX, POINTS, CLOSEUP)
    assert both.max() == pytest.approx(heat_of(SPECS[0], (350, 260)).max() / 2)


def test_the_painted_picture_is_red_where_it_is_hot():
    heat = heat_of(SPECS[1], (350, 260))
    jpeg = heat_picture(face_picture(frame_with_spot(350, 260), BOX), heat)
    painted = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    hot, cold = np.unravel_index(heat.argmax(), heat.shape), (CLOSEUP.size - 8, CLOSEUP.size - 8)
    blue, _, red = (int(value) for value in painted[hot])
    assert red > blue + 60
    assert np.abs(painted[cold].astype(int) - 60).max() < 8
