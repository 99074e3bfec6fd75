"""Faces in the frames of a video: BlazeFace and MTCNN behind one call, and the cascade of both with its reasons."""

from __future__ import annotations

import copy
import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from dfdc_common import DfdcError, sha256_of
from dfdc_runtime import Engine, make_runner
from faces.blazeface import decode_boxes, load_blazeface, merge_groups, weighted_nms
from faces.crop import ALIGNED_POINTS, Image

Floats = NDArray[np.float32]

# The back model gives round letters up to 0.80, and a small face in the dark 0.60 to 0.79 in the letterbox but 0.78 to
# 0.92 in tiles. So a box counts from LIKELY on, but a person, and a video, need one box of at least SURE.
LIKELY = 0.6
SURE = 0.82

# Half the distance between the mouth's corners in units of that between the eyes, in the alignment template.
HALF_MOUTH = float((ALIGNED_POINTS[4, 0] - ALIGNED_POINTS[3, 0]) / (ALIGNED_POINTS[1, 0] - ALIGNED_POINTS[0, 0]) / 2)


@dataclass(frozen=True)
class FrameFaces:
    """The faces of one frame, best score first."""

    boxes_xyxy: Floats  # (N, 4) pixels, may reach outside the frame
    scores: Floats  # (N,) 0..1
    points_xy: Floats  # (N, 5, 2) pixels: right eye, left eye, nose, right and left mouth corner (the person's right)
    step: str = ""  # what found them, empty when there are none

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes_xyxy.shape != (count, 4) or self.points_xy.shape != (count, 5, 2):
            raise ValueError(f"faces do not fit together: {self!r}")

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def best(self) -> float:
        """The highest score, 0 without faces."""
        return float(self.scores.max(initial=0.0))

    def __repr__(self) -> str:
        return f"FrameFaces(boxes {self.boxes_xyxy.shape}, points {self.points_xy.shape}, step {self.step!r})"


NO_FACES = FrameFaces(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))

Detector = Callable[[Sequence[Image]], list[FrameFaces]]


@dataclass(frozen=True)
class Tile:
    """A square of a frame that the network sees at its input size; what lies outside the frame is black."""

    left: float
    top: float
    side: float


def letterbox(width: int, height: int) -> list[Tile]:
    """The whole frame in one square."""
    side = max(width, height)
    return [Tile((width - side) / 2, (height - side) / 2, side)]


def short_side_tiles(width: int, height: int) -> list[Tile]:
    """Overlapping squares of the short side along the long one: one for a square frame, three up to 2:1, then more."""
    side = min(width, height)
    count = 1 if width == height else max(3, math.ceil(max(width, height) / side) + 1)
    steps = np.linspace(0, 1, count)
    return [Tile(float(s) * (width - side), float(s) * (height - side), side) for s in steps]


class BlazeDetector:
    """BlazeFace over tiles of each frame: the same tiles, threshold and suppression whatever the frame's shape."""

    def __init__(
        self,
        variant: Literal["front", "back"],
        tiles: Callable[[int, int], list[Tile]],
        device: torch.device,
        threshold: float = LIKELY,
        engine: Engine | None = None,
        threads: int = 0,
    ) -> None:
        network = load_blazeface(variant)
        self.size, self.tiles, self.threshold = network.variant.size, tiles, threshold
        self._variant, self.step = variant, _step_name(variant, tiles)
        self._run = make_runner(network, self.size, device, engine=engine, threads=threads)

    def with_tiles(self, tiles: Callable[[int, int], list[Tile]]) -> BlazeDetector:
        """The same network over other tiles."""
        other = copy.copy(self)
        other.tiles, other.step = tiles, _step_name(self._variant, tiles)
        return other

    def __call__(self, images: Sequence[Image]) -> list[FrameFaces]:
        """images: (H, W, 3) uint8 RGB each. Returns one FrameFaces per image."""
        if not images:
            return []
        tiles = [self.tiles(image.shape[1], image.shape[0]) for image in images]
        inputs = [look(image, tile, self.size) for image, mine in zip(images, tiles, strict=True) for tile in mine]
        raw, logits = self._run(np.stack(inputs))
        found, start = [], 0
        for mine in tiles:
            rows = slice(start, start + len(mine))
            found.append(self._merge(raw[rows], logits[rows], mine))
            start += len(mine)
        return found

    def _merge(self, raw: Floats, logits: Floats, tiles: list[Tile]) -> FrameFaces:
        """Candidates of all tiles of one frame, in the frame's pixels, merged across tiles."""
        scores = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
        tile, anchor = np.nonzero(scores > self.threshold)
        if not len(tile):
            return NO_FACES
        frame = np.array([(t.left, t.top, t.side) for t in tiles], dtype=np.float32)[tile]
        detections = decode_boxes(raw, self.size)[tile, anchor]
        detections[:, 0::2] = detections[:, 0::2] * frame[:, 2:] + frame[:, :1]
        detections[:, 1::2] = detections[:, 1::2] * frame[:, 2:] + frame[:, 1:2]
        kept = scores[tile, anchor].astype(np.float32)
        merged, best = merge_groups(detections, kept, weighted_nms(detections, kept))
        if not len(best):
            return NO_FACES
        return FrameFaces(merged[:, :4], best, five_points(merged[:, 4:].reshape(-1, 6, 2)), self.step)


def _step_name(variant: str, tiles: Callable[[int, int], list[Tile]]) -> str:
    return f"{variant}_{'letterbox' if tiles is letterbox else 'tiles'}"


def look(image: Image, tile: Tile, size: int) -> Image:
    """A tile of a frame at the network's input size: (size, size, 3) uint8."""
    height, width = image.shape[:2]
    left, top = max(0, round(tile.left)), max(0, round(tile.top))
    # From the rounded corner, not rounded again: a tile that begins between two pixels must not gain a third.
    right, bottom = min(width, left + round(tile.side)), min(height, top + round(tile.side))
    view = image[top:bottom, left:right]
    scale = size / tile.side
    inner = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    small = _shrink(view, inner[0], inner[1])
    if inner == (size, size):
        return small
    canvas = np.zeros((size, size, 3), dtype=np.uint8)
    x, y = round(max(0.0, -tile.left) * scale), round(max(0.0, -tile.top) * scale)
    x, y = min(x, size - inner[0]), min(y, size - inner[1])
    canvas[y : y + inner[1], x : x + inner[0]] = small
    return canvas


def _shrink(view: Image, width: int, height: int) -> Image:
    """Area averaging; in two steps where the factor is large, as whole factors are several times faster."""
    factor = min(view.shape[1] // width, view.shape[0] // height)
    if factor >= 4:
        whole = factor // 2
        rows, columns = view.shape[0] // whole, view.shape[1] // whole
        view = np.asarray(
            cv2.resize(view[: rows * whole, : columns * whole], (columns, rows), interpolation=cv2.INTER_AREA),
            dtype=np.uint8,
        )
    method = cv2.INTER_AREA if view.shape[0] > height else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(view, (width, height), interpolation=method), dtype=np.uint8)


def five_points(six: Floats) -> Floats:
    """BlazeFace's six points (N, 6, 2) as five: the mouth's corners are set along the line of the eyes.

    BlazeFace gives the mouth's centre only; the corners are where the alignment template has them.
    """
    across = (six[:, 1] - six[:, 0]) * np.float32(HALF_MOUTH)
    return np.stack([six[:, 0], six[:, 1], six[:, 2], six[:, 3] - across, six[:, 3] + across], axis=1)


class MtcnnDetector:
    """MTCNN (Zhang et al. 2016) of facenet-pytorch behind the same call: slower by an order, finds what others miss."""

    step = "mtcnn"

    def __init__(self, device: torch.device, scale: float = 0.5, threshold: float = 0.9) -> None:
        """scale: frames are shrunk by this before detection. threshold: of the last network's probability."""
        check_mtcnn_weights()
        from facenet_pytorch import MTCNN

        self.scale, self.threshold = scale, threshold
        self._network = MTCNN(keep_all=True, min_face_size=20, device=device)

    def __call__(self, images: Sequence[Image]) -> list[FrameFaces]:
        """images: (H, W, 3) uint8 RGB each. Returns one FrameFaces per image."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Image) -> FrameFaces:
        height, width = image.shape[:2]
        small = (max(1, round(width * self.scale)), max(1, round(height * self.scale)))
        # Below its smallest face MTCNN builds no pyramid and fails on an empty list.
        if min(small) < 40:
            small = (width, height)
        if min(small) < 20:
            return NO_FACES
        view = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        boxes, scores, points = self._network.detect(view, landmarks=True)
        if boxes is None:
            return NO_FACES
        kept = scores.astype(np.float32) >= self.threshold
        if not kept.any():
            return NO_FACES
        grow = np.array([width / small[0], height / small[1]], dtype=np.float32)
        # facenet-pytorch gives the left of the picture first, as the person's right eye and mouth corner are.
        return FrameFaces(
            (boxes[kept].astype(np.float32).reshape(-1, 2, 2) * grow).reshape(-1, 4),
            scores[kept].astype(np.float32),
            points[kept].astype(np.float32) * grow,
            self.step,
        )


class Cascade:
    """The detector of the pipeline: cheap first, dearer steps only where the cheap ones found nothing sure.

    1. BlazeFace back on the letterboxed frame, on all frames.
    2. BlazeFace back on three tiles, on the frames without a sure face, when they are more than `bearable` of the
       video; the surer of the two answers stays.
    3. MTCNN, on a few frames of a video without any sure face, on the rest when that finds one; else what was found
       so far is given up as chance.
    """

    def __init__(self, device: torch.device, engine: Engine | None = None, threads: int = 0) -> None:
        self._device = device
        self._first = BlazeDetector("back", letterbox, device, engine=engine, threads=threads)
        self._second = self._first.with_tiles(short_side_tiles)
        self._third: MtcnnDetector | None = None
        self.bearable = 0.1  # share of frames without a face that changes no verdict
        self.probes = 4  # frames that MTCNN looks at before it is given the whole video

    def __call__(self, images: Sequence[Image]) -> list[FrameFaces]:
        """The frames of one video, (H, W, 3) uint8 RGB each, to one FrameFaces each; `step` tells what found it."""
        found = self._first(images)
        unsure = [i for i, faces in enumerate(found) if faces.best < SURE]
        if len(unsure) > self.bearable * len(images):
            again = self._second([images[i] for i in unsure])
            for i, faces in zip(unsure, again, strict=True):
                found[i] = max(found[i], faces, key=lambda f: f.best)
        if images and max(faces.best for faces in found) < SURE:
            return self._last_resort(images)
        return found

    def _last_resort(self, images: Sequence[Image]) -> list[FrameFaces]:
        if self._third is None:
            self._third = MtcnnDetector(self._device)
        found = [NO_FACES] * len(images)
        probes = sorted({round(i) for i in np.linspace(0, len(images) - 1, self.probes)})
        _fill(found, probes, self._third, images)
        if any(len(faces) for faces in found):
            _fill(found, [i for i in range(len(images)) if i not in probes], self._third, images)
        return found


def _fill(found: list[FrameFaces], frames: list[int], detector: Detector, images: Sequence[Image]) -> None:
    for i, faces in zip(frames, detector([images[i] for i in frames]), strict=True):
        found[i] = faces


# SHA-256 of the weights inside the facenet-pytorch 2.5.3 wheel, which loads them by pickle.
MTCNN_FILES = {
    "pnet.pt": "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f",
    "rnet.pt": "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86",
    "onet.pt": "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d",
}


def check_mtcnn_weights() -> None:
    """DfdcError unless facenet-pytorch is installed and its MTCNN weights are the known ones."""
    spec = importlib.util.find_spec("facenet_pytorch")
    if spec is None or not spec.submodule_search_locations:
        raise DfdcError("MTCNN needs facenet-pytorch; run: pip install --no-deps facenet-pytorch==2.5.3")
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    for name, expected in MTCNN_FILES.items():
        if (actual := sha256_of(folder / name)) != expected:
            raise DfdcError(
                f"{folder / name} has SHA-256 {actual}, expected {expected}; reinstall facenet-pytorch 2.5.3"
            )
