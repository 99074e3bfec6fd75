"""Face detectors compared: the same frames of every video under each, with the time that each takes."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from common.errors import DfdcError
from common.files import write_text
from faces.cascade import Cascade
from faces.crop import Image
from faces.detect import NO_FACES, BlazeDetector, Detector, FrameFaces, MtcnnDetector
from faces.tiles import letterbox, short_side_tiles
from faces.video import VideoError, decode

CPU = torch.device("cpu")

# Goes up when a detector is set differently, so that what an older cache holds is looked at again.
SETTINGS = 1

# What libraries raise over damaged media beside VideoError.
DAMAGE = (OSError, MemoryError, OverflowError, ValueError)

# Pixels. Haar's window is 24 and dlib's 80 at twice the size; OpenCV and dlib fail on pictures smaller than a window.
SMALLEST = 40


NO_DLIB = "dlib is not installed; run: pip install dlib-bin"


class HaarDetector:
    """The frontal Haar cascade of OpenCV (Viola and Jones 2001; Lienhart 2002) with OpenCV's default settings.

    A score is the number of windows that agreed on the box, not a probability: detectMultiScale3 gives the weight of
    the last stage, but also counts windows which that stage refused, so its boxes are others than detectMultiScale's.
    """

    name = "haar"

    def __init__(self) -> None:
        path = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"
        self._cascade = cv2.CascadeClassifier(str(path))
        if self._cascade.empty():
            raise DfdcError(f"OpenCV cannot read {path}; run: pip install 'opencv-python-headless<5'")

    def __call__(self, images: Sequence[Image]) -> list[FrameFaces]:
        """images: (H, W, 3) uint8 RGB each. Returns one FrameFaces per image, its points NaN."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Image) -> FrameFaces:
        if min(image.shape[:2]) < SMALLEST:
            return NO_FACES
        rects, windows = self._cascade.detectMultiScale2(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        boxes = [(x, y, x + width, y + height) for x, y, width, height in rects]
        return _without_points(boxes, [float(count) for count in windows], self.name)


class DlibDetector:
    """The HOG face detector of dlib (King 2015), frames enlarged twice so that faces from 40 pixels on are seen.

    A score is the distance from the separating plane, above 0 and mostly below 3, not a probability.
    """

    name = "dlib_hog"

    def __init__(self) -> None:
        try:
            import dlib
        except ImportError as error:
            raise DfdcError(NO_DLIB) from error
        self._network = dlib.get_frontal_face_detector()

    def __call__(self, images: Sequence[Image]) -> list[FrameFaces]:
        """images: (H, W, 3) uint8 RGB each. Returns one FrameFaces per image, its points NaN."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Image) -> FrameFaces:
        if min(image.shape[:2]) < SMALLEST:
            return NO_FACES
        rects, scores, _ = self._network.run(image, 1, 0.0)
        # dlib's right and bottom are the last pixels inside.
        boxes = [(r.left(), r.top(), r.right() + 1, r.bottom() + 1) for r in rects]
        return _without_points(boxes, list(scores), self.name)


def _without_points(boxes: Sequence[Sequence[float]], scores: Sequence[float], detector: str) -> FrameFaces:
    """Faces with points that are NaN, best score first, the order the same whatever thread was first."""
    order = sorted(range(len(boxes)), key=lambda i: (-scores[i], tuple(boxes[i])))
    if not order:
        return NO_FACES
    found = np.array([boxes[i] for i in order], dtype=np.float32)
    points = np.full((len(order), 5, 2), np.nan, dtype=np.float32)
    return FrameFaces(found, np.array([scores[i] for i in order], dtype=np.float32), points, detector)


# All on the CPU, so that their times can be compared.
DETECTORS: dict[str, Callable[[], Detector]] = {
    "haar": HaarDetector,
    "mtcnn": lambda: MtcnnDetector(CPU),
    "blazeface_front": lambda: BlazeDetector("front", letterbox, CPU),
    "blazeface_back": lambda: BlazeDetector("back", letterbox, CPU),
    "blazeface_back_tiles": lambda: BlazeDetector("back", short_side_tiles, CPU),
    "cascade": lambda: Cascade(CPU),  # what predict and extract use
}
ABSENT: dict[str, str] = {}  # detectors that are not installed, with what to do about it
if importlib.util.find_spec("dlib"):
    DETECTORS["dlib_hog"] = DlibDetector
else:
    ABSENT["dlib_hog"] = NO_DLIB


@dataclass(frozen=True, eq=False)
class Compared:
    """The tables of a comparison; every detector looked at every row of `looked`."""

    boxes: pd.DataFrame  # BOX_COLUMNS, a row per box
    looked: pd.DataFrame  # LOOKED_COLUMNS, a row per frame
    timing: pd.DataFrame  # TIMING_COLUMNS, a row per detector
    videos: pd.DataFrame  # VIDEO_COLUMNS, a row per file


BOX_COLUMNS = ("filename", "frame", "second", "detector", "x0", "y0", "x1", "y1", "score")
LOOKED_COLUMNS = ("filename", "frame", "second", "width", "height")
TIMING_COLUMNS = ("detector", "frames", "seconds", "ms_per_frame")
VIDEO_COLUMNS = ("filename", "status", "reason", "frames")


def compare(
    videos: Sequence[Path],
    frames: int,
    names: Sequence[str],
    cache: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> Compared:
    """Run detectors over the same evenly spread frames of every video.

    Args:
        videos: files of different names. One that cannot be read is a row of `videos` with the status "unreadable".
        frames: frames per video.
        names: keys of DETECTORS.
        cache: a folder that keeps one file per video; frames that it knows are not looked at again.
        progress: called with 1 after each video.

    Returns:
        Boxes in pixels with scores on the detector's own scale, and times: wall clock on all cores, without decoding
        and without a detector's first calls; ms_per_frame is the median over the videos.

    Raises:
        ValueError: an unknown name, no name, frames below 1, or files of the same name.
    """
    if unknown := [name for name in names if name not in DETECTORS]:
        raise ValueError(ABSENT.get(unknown[0], f"no detector {unknown[0]!r}; known: {', '.join(DETECTORS)}"))
    if not names or frames < 1:
        raise ValueError(f"{len(names)} detectors on {frames} frames of each video: at least 1 of both is needed")
    filenames = [video.name for video in videos]
    if twice := sorted({name for name in filenames if filenames.count(name) > 1}):
        raise ValueError(f"two videos are called {twice[0]!r}; give one folder at a time, or rename one")
    built: dict[str, Detector] = {}
    known = []
    for video in videos:
        known.append(_look_at(video, frames, names, cache, built))
        progress(1)
    return _tables(known, names)


def _look_at(
    video: Path, wanted: int, names: Sequence[str], cache: Path, built: dict[str, Detector]
) -> list[dict[str, Any]]:
    """What is known of one video: facts of the file and its frames, then one entry per detector."""
    path = cache / f"{video.name}.jsonl"
    try:
        stat = video.stat()
        about = {"settings": SETTINGS, "wanted": wanted, "bytes": stat.st_size, "changed": stat.st_mtime_ns}
    except OSError as error:
        return [_unreadable({"filename": video.name}, error)]
    known = _cached(path, about)
    missing = [name for name in names if name not in {entry.get("detector") for entry in known}]
    if known and (known[0]["status"] != "ok" or not missing):
        return known
    try:
        shots = decode(video, wanted)
    except (VideoError, *DAMAGE) as error:
        known = [_unreadable({"filename": video.name, **about}, error)]
    else:
        height, width = shots.images[0].shape[:2]
        head = {"filename": video.name, **about, "status": "ok", "reason": shots.note, "width": width, "height": height}
        head |= {"frames": shots.indices.tolist(), "seconds": shots.seconds.tolist()}
        known = [head, *known[1:], *(_timed(name, shots.images, built) for name in missing)]
    write_text(path, "".join(f"{json.dumps(entry)}\n" for entry in known))
    return known


def _unreadable(head: dict[str, Any], error: Exception) -> dict[str, Any]:
    reason = str(error) if isinstance(error, VideoError | OSError) else f"{type(error).__name__}: {error}"
    return head | {"status": "unreadable", "reason": reason, "frames": []}


def _cached(path: Path, about: dict[str, int]) -> list[dict[str, Any]]:
    """What an earlier run wrote down, if it was about the same bytes and the same frames; else nothing."""
    try:
        known = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (FileNotFoundError, ValueError):
        return []
    head = known[0] if known else None
    return known if isinstance(head, dict) and about.items() <= head.items() else []


def _timed(name: str, images: Sequence[Image], built: dict[str, Detector]) -> dict[str, Any]:
    if name not in built:
        built[name] = DETECTORS[name]()
        # The first calls load and compile. On a black frame the cascade goes through all its steps.
        for warm_up in (np.zeros((360, 640, 3), dtype=np.uint8), images[0]):
            built[name]([warm_up])
    start = time.perf_counter()
    found = built[name](images)
    seconds = time.perf_counter() - start
    faces = [[*_row(faces.boxes_xyxy), *_row(faces.scores)] for faces in found]
    return {"detector": name, "seconds": seconds, "faces": faces}


def _row(values: NDArray[np.float32]) -> list[Any]:
    return [values.round(4).tolist()]


def _tables(known: list[list[dict[str, Any]]], names: Sequence[str]) -> Compared:
    boxes, looked = [], []
    spent: dict[str, list[tuple[int, float]]] = {name: [] for name in names}
    for head, *entries in known:
        moments = list(zip(head["frames"], head.get("seconds", []), strict=True))
        looked += [(head["filename"], *moment, head["width"], head["height"]) for moment in moments]
        answers = {entry["detector"]: entry for entry in entries}
        for name in names if entries else ():
            spent[name].append((len(moments), answers[name]["seconds"]))
            for moment, (corners, scores) in zip(moments, answers[name]["faces"], strict=True):
                boxes += [
                    (head["filename"], *moment, name, *box, score) for box, score in zip(corners, scores, strict=True)
                ]
    # The median over videos: other work on the machine at times makes one video take a hundred times as long.
    each = {name: [1000 * seconds / count for count, seconds in pairs] for name, pairs in spent.items()}
    timing = [
        (name, len(looked), sum(s for _, s in pairs), float(np.median(each[name])) if pairs else np.nan)
        for name, pairs in spent.items()
    ]
    videos = [(head["filename"], head["status"], head["reason"], len(head["frames"])) for head, *_ in known]
    return Compared(
        pd.DataFrame(boxes, columns=list(BOX_COLUMNS)),
        pd.DataFrame(looked, columns=list(LOOKED_COLUMNS)),
        pd.DataFrame(timing, columns=list(TIMING_COLUMNS)),
        pd.DataFrame(videos, columns=list(VIDEO_COLUMNS)),
    )
