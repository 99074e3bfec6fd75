"""The parts of the page on faces: detectors compared, and points on the face."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from common.html import Cell, Table
from explore.drawing import COLOURS, GREY
from explore.gallery import Gallery
from explore.page_parts import Section, number

# What the columns of votes.summary mean, in the page's words; other columns are shown as they are called.
HEADS = {
    "frames_with_face": "frames with a box",
    "videos_with_face": "videos with a box",
    "faces_per_frame": "boxes per frame",
    "faces_per_video": "boxes per video",
    "median_side": "median side, px",
    "median_score": "median score",
    "ms_per_frame": "ms per frame",
}
DARKEST = 0.55  # how strongly a cell of the agreement is coloured where all boxes are shared: letters stay readable


@dataclass(frozen=True, eq=False)
class Detected:
    """What the detectors' part of a run came to."""

    names: tuple[str, ...]
    frames: int  # asked for per video
    least: int  # detectors that must agree
    iou: float
    looked: pd.DataFrame
    faces: pd.DataFrame  # by the vote
    summary: pd.DataFrame
    agreement: pd.DataFrame  # share of the row's boxes that the column has too
    overlap: pd.DataFrame  # mean intersection over union of those
    false: pd.DataFrame
    gallery: Gallery
    absent: Mapping[str, str]  # detectors that are not installed, with what to do


def detectors_section(found: Detected | None, order: Sequence[str], anchors: Mapping[str, str]) -> Section:
    """The part on detectors.

    Args:
        found: what the detectors saw; None when nothing could be looked at.
        order: filenames as in the table.
        anchors: filename -> id of the video's frame, which its row links to.
    """
    title = "Detectors compared"
    if found is None or found.looked.empty:
        return Section(title, notes=("No frame could be looked at.",))
    lead = (
        f"{len(found.looked)} frames of {found.looked['filename'].nunique()} videos, the same for each. The vote keeps "
        f"a face where at least {found.least} kinds of detector have a box, at an intersection over union of "
        f"{found.iou:g} or more; found, missed and false are counted against it, so a face that one detector alone is "
        "right about counts as false. Scores are on each detector's own scale."
    )
    frames = [found.gallery.frames[name] for name in order if name in found.gallery.frames]
    values = {
        "summary": _summary(found.summary),
        "absent": [f"{name}: {why}" for name, why in sorted(found.absent.items())],
        "agreement": _agreement(found.agreement, found.overlap),
        "false": _false(found),
        "false_pictures": found.gallery.false,
        "frames": [(drawn, anchors.get(drawn.title, "")) for drawn in frames],
    }
    return Section(title, lead, (), "explore/page_detectors.html.j2", values)


def _summary(summary: pd.DataFrame) -> Table:
    head = [HEADS.get(str(column), str(column).replace("_", " ")) for column in summary.columns]
    rows = [
        [_detector(str(row[0])), *(number(value) for value in row[1:])]
        for row in summary.itertuples(index=False, name=None)
    ]
    return Table(("detector", *head[1:]), rows, "numbers", "detectors")


def _detector(name: str) -> Cell:
    red, green, blue = COLOURS.get(name, GREY)
    return Cell(name, swatch=f"rgb({red} {green} {blue})")


def _agreement(agreement: pd.DataFrame, overlap: pd.DataFrame) -> Table:
    rows = []
    for name in agreement.index:
        line = [_detector(str(name))]
        for other in agreement.columns:
            share, mean = float(agreement.loc[name, other]), float(overlap.loc[name, other])
            small = f"{mean:.2f}" if math.isfinite(mean) else ""
            known = Cell(f"{share:.0%}", small=small, kind="above", strength=DARKEST * share)
            line.append(known if math.isfinite(share) else Cell("n/a"))
        rows.append(line)
    return Table(("", *map(str, agreement.columns)), rows, "heat", "agreement of detectors")


def _false(found: Detected) -> Table | None:
    """How many boxes of each kind each detector alone got wrong; None where there are none."""
    if found.false.empty:
        return None
    counts = found.false.groupby(["detector", "kind"]).size().unstack(fill_value=0)
    rows = [
        [_detector(str(name)), *(str(int(n)) for n in counts.loc[name])] for name in found.names if name in counts.index
    ]
    return Table(("detector", *map(str, counts.columns)), rows, "numbers", "false boxes")


def landmarks_section(found: Detected | None, absent: Mapping[str, str]) -> Section:
    """The part on points of the face. absent: sets of points that cannot be had here, with what to do about it."""
    title = "Points on the face"
    pictures = found.gallery.landmarks if found else []
    missing = tuple(f"{name}: {why}" for name, why in sorted(absent.items()))
    if not pictures:
        return Section(title, notes=("The vote found no face to put points on.", *missing))
    lead = (
        "Five points of MTCNN, six of BlazeFace, and a dense mesh of 468, on the face with the most votes of the first "
        "videos."
    )
    return Section(title, lead, missing, "explore/page_landmarks.html.j2", {"pictures": pictures})
