"""Pictures of what detectors saw: a frame of every video with all boxes, the false boxes close to, points on faces."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.files import atomic_path
from explore.drawing import COLOURS, GREY, draw_boxes, draw_points
from explore.page_parts import Drawn
from explore.votes import CORNERS
from faces.crop import CropSpec, Image, cut, square_around
from faces.video import VideoError, decode

Points = Callable[[Image, Sequence[float]], Mapping[str, NDArray[np.floating]]]

WIDTH = 640  # pixels: the longer side of a drawn frame
SIDE = 240  # pixels: a false box and what is around it
SETTINGS = 3  # goes up when pictures are drawn differently, so that old ones are drawn anew


@dataclass(frozen=True)
class GalleryOptions:
    """How much is drawn."""

    frames: int  # per video, as many as the detectors saw
    names: tuple[str, ...]  # the detectors, in the order of the legend
    false_boxes: int = 48  # at most, spread over detectors and kinds
    landmarks: int = 12  # videos at most


@dataclass
class Gallery:
    """What was drawn, in the order of the videos."""

    frames: dict[str, Drawn] = field(default_factory=dict)  # by filename
    false: list[Drawn] = field(default_factory=list)
    landmarks: list[Drawn] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Task:
    """One picture: where it goes, and how it is made of the frame with that number."""

    part: str  # frames, false or landmarks
    frame: int
    title: str
    caption: str
    rows: pd.DataFrame


def draw_gallery(
    videos: Sequence[Path],
    boxes: pd.DataFrame,
    looked: pd.DataFrame,
    faces: pd.DataFrame,
    false: pd.DataFrame,
    points: Points,
    report: Path,
    options: GalleryOptions,
    progress: Callable[[int], None] = lambda _: None,
) -> Gallery:
    """Draw what detectors saw into report/pictures; pictures that are no longer wanted are removed.

    Args:
        videos: the files that were looked at. A picture that is there already, of the same file and boxes, is kept.
        boxes: of `detectors.compare`.
        looked: of `detectors.compare`.
        faces: of `votes.vote`.
        false: of `votes.false_boxes`.
        points: finds the points of a face, as `landmarks.all_points` does.
        report: folder of the page.
        options: how much is drawn.
        progress: called with 1 for each video.
    """
    gallery, wanted = Gallery(), set()
    shown = _spread(false, options.false_boxes)
    with_points = list(dict.fromkeys(faces["filename"]))[: options.landmarks]
    for video in videos:
        mine = looked[looked["filename"] == video.name]
        tasks = _tasks(video.name, mine, boxes, faces, shown, video.name in with_points) if len(mine) else []
        wanted |= _draw_video(video, tasks, points, report, options, gallery)
        progress(1)
    for part in ("frames", "false", "landmarks"):
        for path in (report / "pictures" / part).glob("*.jpg"):
            if f"pictures/{part}/{path.name}" not in wanted:
                path.unlink()
    return gallery


def _spread(false: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many rows: first one of each detector, kind and video, then a second of each."""
    order = false.groupby(["detector", "kind", "filename"]).cumcount().sort_values(kind="stable").index
    return false.loc[order[:most]]


def _tasks(
    name: str, looked: pd.DataFrame, boxes: pd.DataFrame, faces: pd.DataFrame, false: pd.DataFrame, with_points: bool
) -> list[_Task]:
    boxes, faces, false = (table[table["filename"] == name] for table in (boxes, faces, false))
    frame = _telling(looked, boxes, false)
    seen, agreed = boxes[boxes["frame"] == frame], faces[faces["frame"] == frame]
    at = dict(zip(looked["frame"], looked["second"], strict=True))
    rows = pd.concat([seen[["detector", *CORNERS]], agreed[CORNERS].assign(detector="vote")])
    words = f"{at[frame]:.1f} s, frame {frame}: boxes {len(seen)}, faces by the vote {len(agreed)}"
    tasks = [_Task("frames", frame, name, words, rows)]
    for row in false.to_dict("records"):
        words = f"{row['kind']}, score {row['score']:.3g}, frame {row['frame']} of {name}"
        tasks.append(_Task("false", int(row["frame"]), str(row["detector"]), words, pd.DataFrame([row])))
    if with_points and len(faces):
        area = (faces["x1"] - faces["x0"]) * (faces["y1"] - faces["y0"])
        best = faces.assign(area=area).sort_values(["votes", "area", "frame"], ascending=[False, False, True]).iloc[[0]]
        frame = int(best["frame"].iloc[0])
        tasks.append(_Task("landmarks", frame, name, f"{at[frame]:.1f} s, frame {frame}", best[CORNERS]))
    return tasks


def _telling(looked: pd.DataFrame, boxes: pd.DataFrame, false: pd.DataFrame) -> int:
    """The frame with the most false boxes, then the most boxes, then the one in the middle."""
    frames = looked["frame"].tolist()
    middle = frames[len(frames) // 2]
    wrong, all_boxes = false["frame"].value_counts(), boxes["frame"].value_counts()
    return int(max(frames, key=lambda f: (wrong.get(f, 0), all_boxes.get(f, 0), f == middle, -f)))


def _draw_video(
    video: Path, tasks: Sequence[_Task], points: Points, report: Path, options: GalleryOptions, gallery: Gallery
) -> set[str]:
    """Draw what is missing, decoding only then; returns the files of this video's pictures."""
    files = [_file(video, task, options) for task in tasks]
    if any(not (report / file).is_file() for file in files):
        try:
            shots = decode(video, options.frames)
        except VideoError:  # it was readable when the detectors looked: gone meanwhile
            return set()
        images = dict(zip(shots.indices.tolist(), shots.images, strict=True))
        for task, file in zip(tasks, files, strict=True):
            if not (report / file).is_file() and task.frame in images:
                _write(report / file, _picture(task, images[task.frame], points, options))
    for task, file in zip(tasks, files, strict=True):
        if (image := cv2.imread(str(report / file))) is None:
            continue
        drawn = Drawn(file, image.shape[1], image.shape[0], task.title, task.caption)
        if task.part == "frames":
            gallery.frames[task.title] = drawn
        else:
            getattr(gallery, task.part).append(drawn)
    return set(files)


def _file(video: Path, task: _Task, options: GalleryOptions) -> str:
    """A name that changes with anything that the picture shows."""
    state = video.stat() if video.exists() else None
    about = [video.name, state and [state.st_size, state.st_mtime_ns], task.frame, task.rows.to_csv(), options.names]
    digest = sha256(json.dumps([SETTINGS, *about]).encode()).hexdigest()
    return f"pictures/{task.part}/{digest[:20]}.jpg"


def _picture(task: _Task, image: Image, points: Points, options: GalleryOptions) -> Image:
    box = np.array(task.rows[CORNERS].iloc[0], dtype=np.float32) if len(task.rows) else np.zeros(4, np.float32)
    if task.part == "landmarks":
        return draw_points(image, points(image, box.tolist()), box.tolist())
    if task.part == "false":
        spec = CropSpec("false-box", size=SIDE, margin=0.8)
        x, y, whole = square_around(box, spec)
        inside = (box - np.array([x - whole / 2, y - whole / 2] * 2)) * (SIDE / whole)
        low, high = ([round(float(value)) for value in corner] for corner in (inside[:2], inside[2:]))
        view = cut(image, box, spec)
        for colour, width in (((0, 0, 0), 5), (COLOURS.get(task.title, GREY), 3)):  # the dark line shows on any skin
            cv2.rectangle(view, low, high, colour, width)
        return view
    scale = min(1.0, WIDTH / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    rows = task.rows.assign(**{name: task.rows[name] * scale for name in CORNERS})
    return draw_boxes(small, rows, [*options.names, "vote"])


def _write(path: Path, image: Image) -> None:
    with atomic_path(path) as temporary:
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        temporary.write_bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())
