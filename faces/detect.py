"""Faces in the frames of a video: BlazeFace and MTCNN behind one call."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from common.device import Device
from common.engine import Engine, Recipe, make_runner
from common.errors import DfdcError
from common.files import sha256_of
from common.graphs import code_of
from faces.blazeface import VARIANTS, check_weights, decode_boxes, merge_groups, weighted_nms
from faces.crop import ALIGNED_POINTS, Image
from faces.tiles import Tile, letterbox, look

if TYPE_CHECKING:
    import torch
    from torch import nn

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
    detector: str = ""  # what found them, empty when there are none

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
        return f"FrameFaces(boxes {self.boxes_xyxy.shape}, points {self.points_xy.shape}, step {self.detector!r})"


@dataclass(frozen=True)
class Candidates:
    """What BlazeFace says of every place in the tiles of one frame, before any of it counts as a face."""

    raw: Floats  # (T, 896, 16) of T tiles: box and points at each anchor
    logits: Floats  # (T, 896)
    tiles: list[Tile]


NO_FACES = FrameFaces(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))

Detector = Callable[[Sequence[Image]], list[FrameFaces]]


class BlazeDetector:
    """BlazeFace over tiles of each frame: the same tiles, threshold and suppression whatever the frame's shape."""

    def __init__(
        self,
        variant: Literal["front", "back"],
        tiles: Callable[[int, int], list[Tile]],
        device: Device | torch.device,
        threshold: float = LIKELY,
        engine: Engine | None = None,
        threads: int = 0,
    ) -> None:
        self.size, self.tiles, self.threshold = VARIANTS[variant].size, tiles, threshold
        self._variant, self.name = variant, _detector_name(variant, tiles)
        # One tile at a time takes half as long per tile on a CPU as sixteen: its maps then fit into the caches.
        batch = 1 if device.type == "cpu" else 64
        self._run = make_runner(_recipe(variant), self.size, device, engine=engine, threads=threads, batch=batch)

    def with_tiles(self, tiles: Callable[[int, int], list[Tile]]) -> BlazeDetector:
        """The same network over other tiles."""
        other = copy.copy(self)
        other.tiles, other.name = tiles, _detector_name(self._variant, tiles)
        return other

    def __call__(self, images: Sequence[Image]) -> list[FrameFaces]:
        """images: (H, W, 3) uint8 RGB each. Returns one FrameFaces per image."""
        return [self.faces_of(candidates) for candidates in self.candidates(images)]

    def look_at(self, images: Sequence[Image], tiles: Sequence[list[Tile]], detector: str) -> list[FrameFaces]:
        """The same with tiles of the caller's choice for each image; `detector` is what the faces are marked with."""
        return [self.faces_of(candidates, detector) for candidates in self.candidates(images, tiles)]

    def candidates(self, images: Sequence[Image], tiles: Sequence[list[Tile]] | None = None) -> list[Candidates]:
        """Run the network.

        Args:
            images: (H, W, 3) uint8 RGB each.
            tiles: of each image; the detector's own without any.

        Returns:
            One for each image.
        """
        if not images:
            return []
        tiles = tiles or [self.tiles(image.shape[1], image.shape[0]) for image in images]
        inputs = [look(image, tile, self.size) for image, mine in zip(images, tiles, strict=True) for tile in mine]
        raw, logits = self._run(np.stack(inputs))
        ends = np.cumsum([len(mine) for mine in tiles])[:-1]
        parts = zip(np.split(raw, ends), np.split(logits, ends), tiles, strict=True)
        return [Candidates(*part) for part in parts]

    def faces_of(
        self, candidates: Candidates, detector: str | None = None, threshold: float | None = None
    ) -> FrameFaces:
        """Merge the candidates of one frame, across its tiles, into faces in the frame's pixels.

        Args:
            candidates: of the frame.
            detector: what the faces are marked with; this detector's own name without any.
            threshold: the score from which a candidate counts; this detector's own without any.
        """
        detector = self.name if detector is None else detector
        scores = 1 / (1 + np.exp(-np.clip(candidates.logits, -80, 80)))
        tile, anchor = np.nonzero(scores > (self.threshold if threshold is None else threshold))
        if not len(tile):
            return NO_FACES
        frame = np.array([(t.left, t.top, t.side) for t in candidates.tiles], dtype=np.float32)[tile]
        detections = decode_boxes(candidates.raw, self.size)[tile, anchor]
        detections[:, 0::2] = detections[:, 0::2] * frame[:, 2:] + frame[:, :1]
        detections[:, 1::2] = detections[:, 1::2] * frame[:, 2:] + frame[:, 1:2]
        kept = scores[tile, anchor].astype(np.float32)
        merged, best = merge_groups(detections, kept, weighted_nms(detections, kept))
        if not len(best):
            return NO_FACES
        return FrameFaces(merged[:, :4], best, five_points(merged[:, 4:].reshape(-1, 6, 2)), detector)


def _detector_name(variant: str, tiles: Callable[[int, int], list[Tile]]) -> str:
    return f"{variant}_{'letterbox' if tiles is letterbox else 'tiles'}"


def _recipe(variant: str) -> Recipe:
    """How a network is built, on a machine that has no compiled one of it."""

    def build() -> nn.Module:
        from faces.blazenet import load_blazeface

        return load_blazeface(variant)

    check_weights(VARIANTS[variant])
    here = Path(__file__)
    code = code_of(str(here.with_name("blazenet.py")), str(here.with_name("blazeface.py")))
    return Recipe(build, ("BlazeFace", variant, VARIANTS[variant].sha256, code))


def five_points(six: Floats) -> Floats:
    """BlazeFace's six points (N, 6, 2) as five: the mouth's corners are set along the line of the eyes.

    BlazeFace gives the mouth's centre only; the corners are where the alignment template has them.
    """
    across = (six[:, 1] - six[:, 0]) * np.float32(HALF_MOUTH)
    return np.stack([six[:, 0], six[:, 1], six[:, 2], six[:, 3] - across, six[:, 3] + across], axis=1)


class MtcnnDetector:
    """MTCNN (Zhang et al. 2016) of facenet-pytorch behind the same call: slower by an order, finds what others miss."""

    name = "mtcnn"

    def __init__(self, device: Device | torch.device, scale: float = 0.5, threshold: float = 0.9) -> None:
        """scale: frames are shrunk by this before detection. threshold: of the last network's probability."""
        check_mtcnn_weights()
        import torch
        from facenet_pytorch import MTCNN

        self.scale, self.threshold = scale, threshold
        self._network = MTCNN(keep_all=True, min_face_size=20, device=torch.device(str(device)))

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
            self.name,
        )


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
