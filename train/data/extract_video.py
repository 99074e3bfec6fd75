"""One video to the face crops that training reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from common.errors import DfdcError
from faces.cascade import Cascade
from faces.crop import Boxes, CropSpec, Image, Rect, inside, reach
from faces.decode.watchdog import VideoLimits
from faces.decode.worker import Decoded, Job
from faces.detect import FrameFaces
from faces.remote import SPAN
from faces.track import STRAY, track
from faces.turned import find_upright, turn_frames
from faces.video import Frames
from train.data.metadata import Video, face_stem
from train.data.table import BOX_COLUMNS, PLACE_COLUMNS, POINT_COLUMNS

# All frames of ten seconds of 1080p take 2 GB, and the decoder as much again while it hands them over.
EXTRACT_LIMITS = VideoLimits(memory=8 << 30)
ALL_FRAMES = 2**31 - 1
ImageFormat = Literal["jpg", "png"]

VIDEO_FACTS = ("filename", "label", "original", "original_group", "part", "split")
INDEX_COLUMNS = (
    "face", *VIDEO_FACTS, "frame", "second", "person", "score", "step", "boxes_from",
    *PLACE_COLUMNS, *BOX_COLUMNS, *POINT_COLUMNS, "md5", *SPAN,
)  # fmt: skip
VIDEO_COLUMNS = (
    *VIDEO_FACTS, "status", "reason", "faces", "frames", "people", "boxes_from", "steps",
    "width", "height", "fps", "length", "md5",
)  # fmt: skip


@dataclass(frozen=True)
class ExtractOptions:
    """What decides the bytes that come out."""

    frames: int = 32  # per video, evenly spread
    fps: float | None = None  # frames per second of video instead
    every_frame: bool = False  # all of them instead
    image_format: ImageFormat = "jpg"  # png keeps every pixel, at four times the bytes or more
    quality: int = 95  # of a jpg
    margin: float = 0.75  # kept around the box on each side at least, a share of its side
    shard_videos: int = 64  # a shard is closed when it has so many; a family is never split
    specs: tuple[CropSpec, ...] = ()  # what must be cut out of a stored crop without loss

    def __post_init__(self) -> None:
        if self.frames < 1 or self.shard_videos < 1 or not 1 <= self.quality <= 100:
            raise ValueError(f"frames {self.frames} and shard_videos {self.shard_videos} start at 1, quality 1 to 100")
        if self.fps is not None and not self.fps > 0:
            raise ValueError(f"fps {self.fps} must be above 0")
        if self.fps is not None and self.every_frame:
            raise ValueError("--fps and --every-frame exclude each other; give one")
        if self.image_format not in ("jpg", "png"):
            raise ValueError(f"format is {self.image_format!r}; it must be jpg or png")
        if not 0 <= self.margin <= 10:
            raise ValueError(f"margin {self.margin} must be 0 to 10 of the box's side")


class Decodes(Protocol):
    """What decodes a video: `faces.decode.decoder.Decoder` does so in a process of its own."""

    def decode(self, job: Job) -> Decoded:
        """The frames, or why there are none."""


@dataclass(frozen=True, eq=False)
class FacesInVideo:
    """Who is where in the frames of a video: what a fake takes over from its original."""

    indices: NDArray[np.int64]  # (N,) frame numbers
    shapes: tuple[tuple[int, ...], ...]  # N of (H, W, 3), as the file says that they are upright
    length: int  # frames of the video, as its header says
    faces: list[FrameFaces]  # N
    people: list[NDArray[np.intp]]  # N of (faces,), STRAY for nobody
    turns: int = 0  # quarters clockwise that made the video upright, beyond what its file says

    @property
    def count(self) -> int:
        """Faces that are somebody's."""
        return sum(int((people != STRAY).sum()) for people in self.people)

    def fits(self, frames: Frames) -> bool:
        """Whether these are the same moments of a video of the same size and length."""
        return (
            np.array_equal(self.indices, frames.indices)
            and self.shapes == tuple(image.shape for image in frames.images)
            and self.length == frames.info.frames
        )


@dataclass
class Extracted:
    """What is known of one video, a row of videos.csv, and its faces: rows of the index with the encoded crops."""

    row: dict[str, Any]
    faces: list[tuple[dict[str, Any], bytes]] = field(default_factory=list)
    seen: FacesInVideo | None = None  # None unless the video could be read


def extract_video(
    video: Video, options: ExtractOptions, decoder: Decodes, detector: Cascade, original: FacesInVideo | None
) -> Extracted:
    """Decode, find the faces (or take the original's, where it fits and has any), cut and encode them.

    A video that is missing, broken or shows nobody, or that its decoder does not survive, is a row that says so, never
    an exception.
    """
    out = _empty(video)
    if video.path is None:
        return _ended(out, "missing", "the metadata names it, but no file is there")
    if not video.known:
        return _ended(out, "unlabelled", "the file is there, but has no label")
    wanted = ALL_FRAMES if options.every_frame else options.frames
    job = Job(str(video.path), wanted, options.fps, most_bytes=None, md5=True)
    decoded = decoder.decode(job)
    if decoded.outcome == "crashed":  # the system may have ended it for want of memory, and has some now
        decoded = decoder.decode(job)
    out.row["md5"], frames = decoded.md5, decoded.frames
    if frames is None:
        return _ended(out, decoded.outcome, decoded.reason.removeprefix(f"{video.path}: "))
    borrowed = original if original is not None and original.count and original.fits(frames) else None
    if borrowed is None:
        frames, out.seen = look(frames, detector)
    else:
        frames, out.seen = turn_frames(frames, borrowed.turns), borrowed
    out.row["boxes_from"] = "original" if borrowed else "own"
    return _cut_all(out, out.seen, frames, options)


def set_aside(video: Video, status: str, reason: str) -> Extracted:
    """Return the row of a video that is not looked at."""
    return _ended(_empty(video), status, reason)


def _empty(video: Video) -> Extracted:
    return Extracted(dict.fromkeys(VIDEO_COLUMNS, "") | facts_of(video) | {"faces": 0, "frames": 0, "people": 0})


def facts_of(video: Video) -> dict[str, str]:
    """The columns that every row about a video begins with."""
    values = (video.filename, video.label, video.original, video.group, video.part, video.split)
    return dict(zip(VIDEO_FACTS, values, strict=True))


def look(frames: Frames, detector: Cascade) -> tuple[Frames, FacesInVideo]:
    """Detect and track, as inference does; the frames come back upright."""
    shapes = tuple(image.shape for image in frames.images)
    frames, faces, turns = find_upright(detector, frames)
    people = track(faces, [float(s) for s in frames.seconds])
    return frames, FacesInVideo(frames.indices, shapes, frames.info.frames, faces, people, turns)


def window_around(box_xyxy: Boxes, points_xy: Boxes, options: ExtractOptions, width: int, height: int) -> Rect:
    """The part of a frame of that size that holds what every spec needs, the box with its margin, and the points."""
    rects = [reach(box_xyxy, spec, points_xy) for spec in options.specs]
    rects.append(reach(box_xyxy, CropSpec("margin", size=8, margin=options.margin)))
    low, high = np.floor(points_xy.min(axis=0)), np.ceil(points_xy.max(axis=0))
    rects.append((int(low[0]), int(low[1]), int(high[0]) + 1, int(high[1]) + 1))
    left, top, right, bottom = zip(*rects, strict=True)
    return inside((min(left), min(top), max(right), max(bottom)), width, height)


def _ended(out: Extracted, status: str, reason: str) -> Extracted:
    out.row |= {"status": status, "reason": reason}
    return out


def _cut_all(out: Extracted, seen: FacesInVideo, frames: Frames, options: ExtractOptions) -> Extracted:
    """Every face that is somebody's, as a row and an encoded crop."""
    notes = [frames.note] if frames.note else []
    detectors: Counter[str] = Counter()
    people: set[int] = set()
    for number in range(len(frames.images)):
        for index in np.flatnonzero(seen.people[number] != STRAY):
            try:
                out.faces.append(_cut_one(out.row, frames, number, seen, int(index), options))
            except ValueError as error:  # a box or points that no crop can be made of
                notes.append(f"frame {frames.indices[number]}: {error}")
                continue
            detectors[seen.faces[number].detector] += 1
            people.add(int(seen.people[number][index]))
    info = frames.info
    out.row |= {"faces": len(out.faces), "frames": len(frames.images), "people": len(people)}
    out.row |= {"width": info.width, "height": info.height, "fps": round(info.fps, 4), "length": info.frames}
    out.row["steps"] = " ".join(f"{detector}={count}" for detector, count in sorted(detectors.items()))
    if not out.faces:
        return _ended(out, "no_face", "; ".join([f"no face in {len(frames.images)} frames", *notes]))
    return _ended(out, "ok", "; ".join(notes))


def _cut_one(
    video_row: dict[str, Any], frames: Frames, number: int, seen: FacesInVideo, index: int, options: ExtractOptions
) -> tuple[dict[str, Any], bytes]:
    image, faces = frames.images[number], seen.faces[number]
    box, points = faces.boxes_xyxy[index], faces.points_xy[index]
    height, width = image.shape[:2]
    left, top, right, bottom = window_around(box, points, options, width, height)
    frame, person = int(frames.indices[number]), int(seen.people[number][index])
    row = {key: video_row[key] for key in (*VIDEO_FACTS, "boxes_from", "md5")}
    row["face"] = f"{face_stem(video_row['filename'])}_{frame:04d}_{person}.{options.image_format}"
    row |= {"frame": frame, "second": round(float(frames.seconds[number]), 6), "person": person}
    row |= {"score": round(float(faces.scores[index]), 6), "step": faces.detector}
    row |= dict(zip(PLACE_COLUMNS, (left, top, right - left, bottom - top, width, height), strict=True))
    # float64 holds a float32 less a whole number exactly, and Python writes enough digits.
    row |= dict(zip(BOX_COLUMNS, (box.astype(np.float64) - (left, top, left, top)).tolist(), strict=True))
    row |= dict(zip(POINT_COLUMNS, (points.astype(np.float64) - (left, top)).ravel().tolist(), strict=True))
    return row, _encoded(image[top:bottom, left:right], options)


def _encoded(image: Image, options: ExtractOptions) -> bytes:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    how: Sequence[int] = [cv2.IMWRITE_JPEG_QUALITY, options.quality] if options.image_format == "jpg" else []
    ok, data = cv2.imencode(f".{options.image_format}", bgr, how)
    if not ok:
        raise DfdcError(f"OpenCV could not encode a crop of {image.shape} as {options.image_format}")
    return bytes(data.tobytes())
