import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faces.crop import (
    ALIGNED_POINTS,
    CropSpec,
    box_inside_crop,
    cut,
    square_around,
)
from tests.faces.crops import IMAGE, INF, MEGAPIXEL_MB, NAN, RNG, SPEC, WIDE, box

# --- CropSpec


@pytest.mark.parametrize(
    ("field", "value"),
    [("size", 7), ("size", 0), ("size", -8), ("margin", -0.5), ("margin", -2), ("align", "3pt"), ("pad", "white")],
)
def test_a_wrong_field_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"'test'.*{field}"):
        replace(SPEC, **{field: value})


SPECS = [
    SPEC,
    CropSpec("all", 224, margin=0.3, shift_y=-0.1, align="5pt", pad="edge", mean=(0.5, 0.4, 0.3), std=(1.0, 2.0, 3.0)),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_round_trip_through_a_dict_and_json(spec: CropSpec) -> None:
    assert CropSpec.from_dict(spec.to_dict()) == spec
    back = CropSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert back == spec
    assert hash(back) == hash(spec)  # lists would not hash


def test_missing_fields_have_their_defaults() -> None:
    assert CropSpec.from_dict({"name": "test", "size": 8}) == SPEC


def test_an_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'margins'"):
        CropSpec.from_dict({"name": "a", "size": 8, "margins": 0.1})


def test_a_wrong_value_in_a_dict_is_refused() -> None:
    with pytest.raises(ValueError, match="size 4"):
        CropSpec.from_dict({"name": "a", "size": 4})


# --- cut, pixel by pixel


@pytest.mark.parametrize("size", [8, 9, 31])
def test_a_square_that_is_the_image_gives_the_image(size: int) -> None:
    image = RNG.integers(0, 256, (size, size, 3), dtype=np.uint8)
    out = cut(image, box(0, 0, size, size), CropSpec("same", size))
    assert (out == image).all()


@pytest.mark.parametrize(
    ("face", "options", "rows", "columns"),
    [
        (box(6, 4, 14, 12), {}, (4, 12), (6, 14)),
        (box(8, 9, 12, 13), {"margin": 0.5}, (7, 15), (6, 14)),
        (box(2, 2, 18, 18), {"margin": -0.25}, (6, 14), (6, 14)),
        (box(6, 6, 14, 14), {"shift_y": 0.25}, (8, 16), (6, 14)),
        (box(6, 6, 14, 14), {"shift_y": -0.5}, (2, 10), (6, 14)),
        (box(8, 8, 12, 12), {"margin": 0.5, "shift_y": 0.5}, (8, 16), (6, 14)),  # the shift is in sides of the box
        (box(8, 4, 12, 16), {}, (6, 14), (6, 14)),  # 4 x 12: the side is the mean of both
        (box(6.2, 3.8, 14.2, 11.8), {}, (4, 12), (6, 14)),
    ],
)
def test_pixels_where_nothing_is_resized(face, options, rows, columns) -> None:
    out = cut(IMAGE, face, CropSpec("test", 8, **options))
    assert (out == IMAGE[slice(*rows), slice(*columns)]).all()


def test_shrinking_takes_the_mean_of_the_area() -> None:
    out = cut(IMAGE, box(0, 0, 16, 16), SPEC)
    means = IMAGE[:16, :16].reshape(8, 2, 8, 2, 3).mean(axis=(1, 3))
    assert np.abs(out - means).max() <= 0.5


def test_growing_keeps_values_in_range_and_in_place() -> None:
    out = cut(IMAGE, box(4, 4, 8, 8), CropSpec("test", 32))
    assert (out[:4, :4] == IMAGE[4, 4]).all()  # beyond the centre of the corner pixel nothing is blended
    assert (out[-4:, -4:] == IMAGE[7, 7]).all()


@pytest.mark.parametrize("pad", ["black", "edge"])
@pytest.mark.parametrize(
    "face",
    [
        box(-4, 6, 4, 14),
        box(16, 6, 24, 14),
        box(6, -4, 14, 4),
        box(6, 16, 14, 24),
        box(-5, -3, 3, 5),
        box(17, 15, 25, 23),
        box(-8, 6, 0, 14),  # touches the image from outside
        box(20, 6, 28, 14),
        box(6, -8, 14, 0),
        box(6, 20, 14, 28),
        box(-30, 6, -22, 14),
        box(40, 6, 48, 14),
        box(6, -30, 14, -22),
        box(6, 40, 14, 48),
        box(-30, -30, -22, -22),
        box(40, 40, 48, 48),
        box(-30, 40, -22, 48),
    ],
    ids=lambda b: ",".join(f"{v:.0f}" for v in b) if isinstance(b, np.ndarray) else b,
)
def test_padding(face: np.ndarray, pad: str) -> None:
    around = ((60, 60), (60, 60), (0, 0))
    padded = np.pad(IMAGE, around, mode="edge" if pad == "edge" else "constant")
    left, top = int(face[0]) + 60, int(face[1]) + 60
    out = cut(IMAGE, face, replace(SPEC, pad=pad))
    assert (out == padded[top : top + 8, left : left + 8]).all()


def test_padding_on_all_sides_at_once() -> None:
    out = cut(IMAGE, box(-6, -6, 26, 26), CropSpec("test", 32))
    assert (out[6:26, 6:26] == IMAGE).all()
    out[6:26, 6:26] = 0
    assert not out.any()


@pytest.mark.parametrize("size", [8, 33])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (5, 7)], ids=str)
def test_odd_sizes_and_tiny_images(shape: tuple[int, int], size: int) -> None:
    image = np.full((*shape, 3), 77, np.uint8)
    out = cut(image, box(0, 0, shape[1], shape[0]), CropSpec("test", size, pad="edge"))
    assert out.shape == (size, size, 3)
    assert (out == 77).all()


def test_the_image_is_left_alone_and_not_shared() -> None:
    image = IMAGE.copy()
    out = cut(image, box(0, 0, 20, 20), CropSpec("test", 20))
    before = image.copy()
    out[:] = 0
    assert (image == before).all()


# --- cut, whatever comes in

coordinates = st.floats(-300, 300, width=32)


@st.composite
def boxes_with_area(draw: st.DrawFn) -> np.ndarray:
    (x0, x1), (y0, y1) = (sorted(draw(st.lists(coordinates, min_size=2, max_size=2, unique=True))) for _ in "xy")
    return box(x0, y0, x1, y1)


@settings(max_examples=150, deadline=None)
@given(
    face=boxes_with_area(),
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    margin=st.floats(-0.49, 2),
    shift_y=st.floats(-1, 1),
    size=st.integers(8, 40),
    pad=st.sampled_from(["black", "edge"]),
)
def test_any_box_with_area_gives_a_crop(face, height, width, margin, shift_y, size, pad) -> None:
    out = cut(np.full((height, width, 3), 9, np.uint8), face, CropSpec("any", size, margin, shift_y, pad=pad))
    assert out.shape == (size, size, 3) and out.dtype == np.uint8
    assert set(np.unique(out)) <= set(range(10))
    assert pad == "black" or (out == 9).all()


@pytest.mark.parametrize("pad", ["black", "edge"])
@pytest.mark.parametrize(
    "face",
    [
        (0, 0, 3e3, 3e3),
        (0, 0, 1e6, 1e6),
        (-1e6, -1e6, 1e6, 1e6),
        (0, 0, 1e-3, 6e3),
        (0, 0, 3e38, 3e38),
        (2e6, 0, 2e6 + 8, 8),
        (-2e6, 0, -2e6 + 8, 8),
        (0, 2e6, 8, 2e6 + 8),
        (0, -2e6, 8, -2e6 + 8),
        (1e30, 1e30, 2e30, 2e30),
    ],
    ids=str,
)
def test_a_huge_or_far_box_takes_little_memory(face: tuple[float, ...], pad: str) -> None:
    """A detector's one bad box must not cost the run. The image has 9 kB."""
    tracemalloc.start()
    try:
        out = cut(WIDE, box(*face), replace(SPEC, pad=pad))
        peak = tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
    assert out.shape == (8, 8, 3) and out.dtype == np.uint8
    assert peak < MEGAPIXEL_MB


def test_a_huge_box_holds_the_frame_where_it_is() -> None:
    """White frame of 64 x 48 at the centre of a square 16 times as wide."""
    white = np.full((48, 64, 3), 255, np.uint8)
    out = cut(white, box(32 - 512, 24 - 512, 32 + 512, 24 + 512), CropSpec("test", 64))[..., 0] / 255
    y, x = np.mgrid[:64, :64] + 0.5
    assert out.sum() == pytest.approx(4 * 3, rel=0.15)
    assert (out * x).sum() / out.sum() == pytest.approx(32, abs=0.5)
    assert (out * y).sum() / out.sum() == pytest.approx(32, abs=0.5)


@pytest.mark.parametrize(
    "face",
    [
        (NAN, 0, 8, 8),
        (0, 0, 8, NAN),
        (0, 0, INF, 8),
        (-INF, 0, 8, 8),
        (8, 0, 0, 8),
        (0, 8, 8, 0),
        (4, 0, 4, 8),
        (0, 4, 8, 4),
        (0, 0, 0, 0),
    ],
    ids=str,
)
@pytest.mark.parametrize("align", ["none", "5pt"])
def test_a_box_without_area_is_refused(face: tuple[float, ...], align: str) -> None:
    with pytest.raises(ValueError, match="no area or is not finite"):
        cut(IMAGE, box(*face), replace(SPEC, align=align), ALIGNED_POINTS.astype(np.float32))


# --- box_inside_crop


def test_box_inside_crop_by_hand() -> None:
    face, spec = box(8, 9, 12, 13), CropSpec("test", 8, margin=0.5, shift_y=0.25)
    # The square is (6, 8) to (14, 16), so the face begins 2 to the right and 1 below.
    assert box_inside_crop(spec, 8, 8) == pytest.approx(face - box(6, 8, 6, 8))


@settings(max_examples=100, deadline=None)
@given(margin=st.floats(-0.4, 3), shift_y=st.floats(-1, 1), width=st.integers(8, 2000), height=st.integers(8, 2000))
def test_box_inside_crop_is_the_inverse_of_square_around(margin, shift_y, width, height) -> None:
    spec = CropSpec("any", 8, margin, shift_y)
    x, y, side = square_around(box_inside_crop(spec, width, height), spec)
    mean = (width + height) / 2
    assert (x, y, side) == pytest.approx((width / 2, height / 2, mean), rel=1e-5, abs=mean * 1e-4)


@pytest.mark.parametrize("spec", [CropSpec("a", 40, 0.25), CropSpec("b", 40, -0.1, 0.1)], ids=lambda s: s.name)
def test_a_crop_cut_again_by_its_own_spec_is_itself(spec: CropSpec) -> None:
    crop = RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    assert (cut(crop, box_inside_crop(spec, 40, 40), spec) == crop).all()
