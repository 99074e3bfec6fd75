"""Where the drawings of a report have their lines, bars and boxes: in percent, so that text keeps its size."""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from common.html import number
from inference.result import ScoredFace, Thumbnail, VideoResult
from inference.verdict import clock, person_name

BINS = 20  # of the histogram over 0..1: each is 0.05 wide
PERSON_STYLES = 6  # .p0 to .p5 in common/html/style.css; a seventh person looks like the first
LABEL = 12  # percent of a picture's height that the label above a box needs


def percent(share: float) -> float:
    """A share as 0..100, the middle for NaN, so that nothing drawn leaves its frame."""
    return 50.0 if math.isnan(share) else 100 * min(max(share, 0.0), 1.0)


@dataclass(frozen=True)
class Bar:
    """A part of a frame, in percent of it from its left or its bottom."""

    side: str  # real or fake: the CSS class
    start: float
    length: float
    label: str = ""


@dataclass(frozen=True)
class Histogram:
    """How many videos have which P(fake)."""

    videos: int
    highest: int  # videos of the tallest bar
    width: float  # percent, of each bar
    bars: list[tuple[float, Bar]]  # the bar's left side in percent, and the bar from the bottom


@dataclass(frozen=True)
class Box:
    """A face on a picture."""

    kind: str  # CSS classes
    style: str  # its place, in percent of the picture
    title: str
    label: str


@dataclass(frozen=True)
class Picture:
    """A thumbnail as the page embeds it."""

    width: int  # pixels
    height: int  # pixels
    second: str
    moment: str  # behind the address of a video: a browser plays it from there
    frame: int
    jpeg: str  # base64
    boxes: list[Box]


@dataclass(frozen=True)
class Curve:
    """One person's faces over time, in percent of the chart."""

    kind: str  # CSS class
    path: str  # of an SVG <path>; empty for a single face
    dots: list[tuple[float, float, str]]  # x, y from the top, what the dot says


@dataclass(frozen=True)
class Chart:
    """P(fake) of every face over time."""

    faces: int
    span: float  # seconds
    final: str  # the video's P(fake)
    final_y: float  # percent from the top
    curves: list[Curve]
    ticks: list[tuple[int, str]]  # percent from the left, seconds


def side_of(prob_fake: float) -> str:
    """The CSS class for the side of 0.5 that `prob_fake` is on."""
    return "fake" if prob_fake >= 0.5 else "real"


def probability_bar(prob_fake: float) -> Bar:
    """A bar from the middle: to the left is real, to the right is fake."""
    at = percent(prob_fake)
    return Bar(side_of(at / 100), min(at, 50), abs(at - 50))


def histogram_of(probabilities: Sequence[float]) -> Histogram:
    """Count the finite ones of `probabilities` in bins."""
    known = [prob_fake for prob_fake in probabilities if math.isfinite(prob_fake)]
    counts = Counter(min(int(percent(prob_fake) * BINS / 100), BINS - 1) for prob_fake in known)
    highest = max(counts.values(), default=0)
    bars = []
    for index, count in sorted(counts.items()):
        label = f"{index / BINS:.2f} to {(index + 1) / BINS:.2f}: {count}"
        # A tenth of its width stays free on each side of a bar.
        bar = Bar(side_of((index + 0.5) / BINS), 0.0, 100 * count / highest, label)
        bars.append((100 * (index + 0.1) / BINS, bar))
    return Histogram(len(known), highest, 80 / BINS, bars)


def picture_of(result: VideoResult, thumbnail: Thumbnail) -> Picture:
    """One frame with the boxes of its faces."""
    width, height = (max(1, round(side * thumbnail.scale)) for side in (result.width, result.height))
    faces = [face for face in result.faces if face.frame == thumbnail.frame]
    boxes = [box for face in faces if (box := _box(face, result))]
    jpeg = base64.b64encode(thumbnail.jpeg).decode("ascii")
    return Picture(width, height, clock(thumbnail.second), _moment(thumbnail.second), thumbnail.frame, jpeg, boxes)


def telling_pictures(result: VideoResult) -> list[tuple[str, str, str]]:
    """The closeups of a video, each followed by its heat map: caption, moment as in `Picture`, base64 of a JPEG."""
    name = (lambda one: f"{person_name(one.person)}, ") if len(result.people) > 1 else (lambda _: "")
    pictures = []
    for one in result.closeups:
        when = f"{name(one)}{clock(one.second)}"
        pictures.append((f"{when}: {number(one.prob_fake, 2)}", one.second, one.jpeg))
        if one.heat:
            pictures.append((f"{when}: what it hangs on", one.second, one.heat))
    return [(words, _moment(second), base64.b64encode(jpeg).decode("ascii")) for words, second, jpeg in pictures]


def _moment(second: float) -> str:
    """A second as a media fragment (https://www.w3.org/TR/media-frags/): #t=4.25; empty for one that nobody knows."""
    return f"#t={second:.2f}" if math.isfinite(second) else ""


def _box(face: ScoredFace, result: VideoResult) -> Box | None:
    corners = [float(value) for value in face.box_xyxy]
    if not (result.width and result.height and all(map(math.isfinite, corners))):
        return None
    x0, x1 = (percent(x / result.width) for x in corners[::2])
    y0, y1 = (percent(y / result.height) for y in corners[1::2])
    kind = f"p{face.person % PERSON_STYLES}" + (" inside" if y0 < LABEL else "")
    place = f"left:{x0:.1f}%;top:{y0:.1f}%;width:{x1 - x0:.1f}%;height:{y1 - y0:.1f}%"
    return Box(kind, place, _face_words(face), number(face.prob_fake, 2))


def _face_words(face: ScoredFace) -> str:
    found = f"found by {face.detector} at {number(face.score, 2)}"
    return f"{person_name(face.person)}, {clock(face.second)}: P(fake) {number(face.prob_fake, 3)}, {found}"


def chart_of(result: VideoResult) -> Chart | None:
    """P(fake) over time; None where no face was scored."""
    faces = [face for face in result.faces if math.isfinite(face.prob_fake) and math.isfinite(face.second)]
    if not faces:
        return None
    faces.sort(key=lambda face: (face.person, face.second))
    ends = [second for second in (result.duration, *(face.second for face in faces)) if math.isfinite(second)]
    span = max(ends) if max(ends) > 0 else 1.0  # one frame of a video without duration still needs an axis
    curves = [_curve(list(group), span) for _, group in groupby(faces, key=lambda face: face.person)]
    ticks = [(at, clock(span * at / 100)) for at in (0, 25, 50, 75, 100)]
    return Chart(len(faces), span, number(result.prob_fake, 3), 100 - percent(result.prob_fake), curves, ticks)


def _curve(faces: Sequence[ScoredFace], span: float) -> Curve:
    """One person's line and dots; a single face is a dot alone."""
    points = [(percent(face.second / span), 100 - percent(face.prob_fake)) for face in faces]
    path = "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points) if len(points) > 1 else ""
    dots = [(x, y, _face_words(face)) for face, (x, y) in zip(faces, points, strict=True)]
    return Curve(f"p{faces[0].person % PERSON_STYLES}", path, dots)
