import json
import tracemalloc
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
    box_inside_crop,
    cut,
    inside,
    reach,
    similarity,
    square_around,
)

SPEC = CropSpec("test", 8)
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(1, 256, (20, 20, 3), dtype=np.uint8)  # no black pixel
WIDE = RNG.integers(1, 256, (48, 64, 3), dtype=np.uint8)


def box(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


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

MEGAPIXEL_MB = 3.0
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


NAN, INF = float("nan"), float("inf")


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


# --- five points


def moved(points: np.ndarray, angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """Turned by degrees, scaled, shifted."""
    c, s = np.cos(np.radians(angle)) * scale, np.sin(np.radians(angle)) * scale
    return points @ np.array([[c, -s], [s, c]]).T + shift


def dots(points: np.ndarray, radius: float, side: int) -> list[np.ndarray]:
    """One image per point, with a soft white dot there."""
    y, x = np.mgrid[:side, :side]
    squares = [(x - px) ** 2 + (y - py) ** 2 for px, py in points]
    return [np.repeat((255 * np.exp(-s / (2 * radius**2))).astype(np.uint8)[..., None], 3, axis=2) for s in squares]


def centroid(image: np.ndarray) -> tuple[float, float]:
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    weight = image[..., 0].astype(float)
    return float((x * weight).sum() / weight.sum()), float((y * weight).sum() / weight.sum())


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


# --- a part of the frame is as good as the frame

FRAME = RNG.integers(0, 256, (150, 210, 3), dtype=np.uint8)


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
