"""A crop of a part of the frame has the pixels of a crop of the frame, and takes little memory."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faces.crop import (
    ALIGNED_POINTS,
    ALIGNED_SIDE,
    CropSpec,
    cut,
    inside,
    reach,
)
from tests.faces.crops import MEGAPIXEL_MB, SPEC, WIDE, box, moved

FRAME = np.random.default_rng(1).integers(0, 256, (150, 210, 3), dtype=np.uint8)


def same_from_a_part(frame: np.ndarray, face: np.ndarray, spec: CropSpec, points: np.ndarray, extra: tuple) -> None:
    """Cut from the frame, and from the part of it that the cut reads, widened by `extra` pixels on each side."""
    left, top, right, bottom = reach(face, spec, points)
    wider = (left - extra[0], top - extra[1], right + extra[2], bottom + extra[3])
    part = inside(wider, frame.shape[1], frame.shape[0])
    stored = frame[part[1] : part[3], part[0] : part[2]].copy()
    corner = np.array(part[:2], dtype=np.float64)
    again = cut(stored, face.astype(np.float64) - np.tile(corner, 2), spec, points.astype(np.float64) - corner)
    assert (again == cut(frame, face, spec, points)).all()


@settings(max_examples=300, deadline=None)
@given(
    centre=st.tuples(st.floats(-30, 240, width=32), st.floats(-30, 180, width=32)),
    sides=st.tuples(st.floats(4, 180, width=32), st.floats(4, 180, width=32)),
    angle=st.floats(-180, 180),
    spec=st.builds(
        CropSpec,
        name=st.just("any"),
        size=st.integers(8, 48),
        margin=st.sampled_from([-0.2, 0.0, 0.035, 0.25, 0.5, 1.3]),
        shift_y=st.sampled_from([-0.4, -0.047, 0.0, 0.25]),
        align=st.sampled_from(["none", "5pt"]),
        pad=st.sampled_from(["black", "edge"]),
    ),
    extra=st.tuples(*[st.integers(0, 9)] * 4),
)
def test_a_part_of_the_frame_gives_the_same_pixels(centre, sides, angle, spec, extra) -> None:
    x, y = centre
    face = box(x - sides[0] / 2, y - sides[1] / 2, x + sides[0] / 2, y + sides[1] / 2)
    points = moved(ALIGNED_POINTS - ALIGNED_SIDE / 2, angle, sides[0] / ALIGNED_SIDE, centre).astype(np.float32)
    same_from_a_part(FRAME, face, spec, points, extra)


@pytest.mark.parametrize("left", range(4))
@pytest.mark.parametrize("side", [8, 9])
def test_a_corner_between_two_pixels_is_rounded_the_same_way_everywhere(left: int, side: int) -> None:
    """Python's round would take 0.5 down and 1.5 up."""
    face = box(left + 0.5, 3.5, left + 0.5 + side, 3.5 + side)
    assert reach(face, SPEC)[:2] == (left + 1, 4)
    same_from_a_part(FRAME, face, SPEC, ALIGNED_POINTS, (1, 0, 0, 0))


@pytest.mark.parametrize("align", ["none", "5pt"])
@pytest.mark.parametrize("pad", ["black", "edge"])
def test_a_face_larger_than_can_be_padded_gives_the_same_pixels(align: str, pad: str) -> None:
    """The way round the padding of huge windows."""
    spec = CropSpec("huge", 64, margin=4.3, align=align, pad=pad)
    points = moved(ALIGNED_POINTS, 15, 2.5, (-20, -10)).astype(np.float32)
    face = box(-30.3, -40.1, 260.2, 190.7)
    assert max(np.diff(np.reshape(reach(face, spec, points), (2, 2)), axis=0)[0]) > 2048
    same_from_a_part(FRAME, face, spec, points, (3, 1, 0, 2))


@pytest.mark.parametrize("pad", ["black", "edge"])
def test_averaging_in_place_is_area_averaging(monkeypatch, pad: str) -> None:
    """Both ways of shrinking agree to a grey level; one pads in memory, the other does not."""
    spec, face = CropSpec("test", 40, pad=pad), box(-60, -70, 180, 170)
    padded = cut(FRAME, face, spec).astype(int)
    monkeypatch.setattr("faces.crop.LARGEST", 8)
    assert np.abs(cut(FRAME, face, spec).astype(int) - padded).max() <= 1


@pytest.mark.parametrize("spread", [1e-6, 1e4, 1e12, 1e30])
def test_points_near_or_far_apart_take_little_memory(spread: float) -> None:
    tracemalloc.start()
    try:
        out = cut(WIDE, box(0, 0, 8, 8), replace(SPEC, align="5pt"), ALIGNED_POINTS * spread)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
    assert out.shape == (8, 8, 3)
    assert peak < MEGAPIXEL_MB


def test_reach_is_what_is_read() -> None:
    """Pixels outside it do not change the crop; for a plain square, each one inside does."""
    face, spec = box(60.4, 50.2, 92.7, 90.1), CropSpec("test", 16, margin=0.2, shift_y=0.1)
    left, top, right, bottom = reach(face, spec)
    black = FRAME.copy()
    black[top:bottom, left:right] = 0
    assert not cut(black, face, spec).any()
    for ring in ((left, top), (right - 1, bottom - 1)):
        dotted = np.zeros_like(FRAME)
        dotted[ring[1], ring[0]] = 255
        assert cut(dotted, face, spec).any()
