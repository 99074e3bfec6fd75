"""Crops that are turned and scaled so that five points lie where a template has them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from faces.crop import (
    ALIGNED_POINTS,
    ALIGNED_SIDE,
    CropSpec,
    cut,
    similarity,
)
from tests.faces.crops import IMAGE, INF, NAN, RNG, SPEC, box, centroid, dots, moved


@pytest.mark.parametrize(("angle", "scale"), [(0, 1), (30, 1), (-75, 0.7), (180, 1.2), (20, 2.2), (-50, 4)])
@pytest.mark.parametrize(
    "spec",
    [
        CropSpec("plain", 112, align="5pt"),
        CropSpec("wide", 160, margin=0.4, align="5pt"),
        CropSpec("lower", 112, margin=0.2, shift_y=0.1, align="5pt", pad="edge"),
    ],
    ids=lambda s: s.name,
)
def test_a_turned_face_comes_back_upright(spec: CropSpec, angle: float, scale: float) -> None:
    """Its points land on the template, widened by the margin; large faces take the way over an area shrink."""
    side = int(180 * scale) + 40
    centre = (side / 2, side / 2)
    points = moved(ALIGNED_POINTS - ALIGNED_SIDE / 2, angle, scale, centre)
    grow = spec.size / (ALIGNED_SIDE * (1 + 2 * spec.margin))
    template = (ALIGNED_POINTS - ALIGNED_SIDE / 2 - [0, spec.shift_y * ALIGNED_SIDE]) * grow + spec.size / 2
    for image, expected in zip(dots(points, 3 * scale, side), template, strict=True):
        out = cut(image, box(0, 0, side, side), spec, points.astype(np.float32))
        assert out.shape == (spec.size, spec.size, 3) and out.dtype == np.uint8
        assert centroid(out) == pytest.approx(expected, abs=1)


def test_a_mirrored_face_is_turned_but_not_mirrored() -> None:
    mirrored = ALIGNED_POINTS * [-1, 1] + [ALIGNED_SIDE, 0]
    assert np.linalg.det(similarity(mirrored, ALIGNED_POINTS)[:, :2]) > 0


@pytest.mark.parametrize(("pad", "corner"), [("black", 0), ("edge", 200)])
def test_aligned_padding(pad: str, corner: int) -> None:
    image = np.full((112, 112, 3), 200, np.uint8)
    out = cut(image, box(0, 0, 112, 112), CropSpec("p", 112, 0.5, align="5pt", pad=pad), ALIGNED_POINTS)
    assert (out[0, 0] == corner).all()
    assert (out[56, 56] == 200).all()


@pytest.mark.parametrize("points", [None, "same", "nan"])
def test_alignment_without_usable_points_is_refused(points: str | None) -> None:
    given_points = {None: None, "same": np.full((5, 2), 7.0), "nan": np.full((5, 2), NAN)}[points]
    with pytest.raises(ValueError, match="points"):
        cut(IMAGE, box(0, 0, 8, 8), replace(SPEC, align="5pt"), given_points)


def test_points_are_not_needed_without_alignment() -> None:
    assert (cut(IMAGE, box(2, 2, 10, 10), SPEC, np.full((5, 2), NAN)) == IMAGE[2:10, 2:10]).all()


@settings(max_examples=60, deadline=None)
@given(angle=st.floats(-180, 180), scale=st.floats(0.01, 100), x=st.floats(-1e4, 1e4), y=st.floats(-1e4, 1e4))
@example(angle=90, scale=2, x=5, y=-3)
def test_similarity_finds_a_known_transform(angle: float, scale: float, x: float, y: float) -> None:
    target = moved(ALIGNED_POINTS, angle, scale, (x, y))
    matrix = similarity(ALIGNED_POINTS, target)
    c, s = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
    assert matrix == pytest.approx(np.array([[c, -s, x], [s, c, y]]), rel=1e-6, abs=1e-6)


def test_similarity_is_the_least_squares_answer() -> None:
    """Against OpenCV-free algebra: the normal equations of the four unknowns."""
    source, target = RNG.normal(size=(5, 2)), RNG.normal(size=(5, 2))
    rows = [([x, -y, 1, 0], [y, x, 0, 1]) for x, y in source]
    a, b, tx, ty = np.linalg.lstsq(np.array(rows).reshape(10, 4), target.ravel(), rcond=None)[0]
    assert similarity(source, target) == pytest.approx(np.array([[a, -b, tx], [b, a, ty]]))


@pytest.mark.parametrize("bad", [0.0, NAN, INF])
def test_similarity_refuses_points_that_coincide_or_are_not_finite(bad: float) -> None:
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="coincide or are not finite"):
        similarity(np.full((5, 2), bad), ALIGNED_POINTS)


def test_opencv_agrees_on_the_direction_of_the_warp() -> None:
    """`similarity` maps source to target, which is what warpAffine wants without WARP_INVERSE_MAP."""
    image = dots(np.array([[30.0, 20.0]]), 2, 60)[0]
    matrix = similarity(np.array([[30.0, 20.0], [0, 0]]), np.array([[35.0, 28.0], [5, 8]]))
    assert centroid(cv2.warpAffine(image, matrix, (60, 60))) == pytest.approx((35, 28), abs=0.1)
