"""The parts of the page on faces: detectors compared, and points on the face."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from common.html import html
from explore import markup
from explore.drawing import COLOURS, GREY
from explore.gallery import Gallery

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


def detectors_section(found: Detected | None, order: Sequence[str], anchors: Mapping[str, str]) -> str:
    """Ready HTML. order: filenames as in the table. anchors: the id of each video's frame, which its row links to."""
    title = "Detectors compared"
    if found is None or found.looked.empty:
        return markup.section(title, "", markup.note("No frame could be looked at."))
    lead = (
        f"{len(found.looked)} frames of {found.looked['filename'].nunique()} videos, the same for each. The vote keeps "
        f"a face where at least {found.least} kinds of detector have a box, at an intersection over union of "
        f"{found.iou:g} or more; found, missed and false are counted against it, so a face that one detector alone is "
        "right about counts as false. Scores are on each detector's own scale."
    )
    head = [html(HEADS.get(str(c), str(c).replace("_", " "))) for c in found.summary.columns]
    rows = [
        [_swatch(str(row[0])), *(markup.number(value) for value in row[1:])]
        for row in found.summary.itertuples(index=False, name=None)
    ]
    missing = "".join(markup.note(f"{name}: {why}") for name, why in sorted(found.absent.items()))
    frames = [found.gallery.frames[name] for name in order if name in found.gallery.frames]
    images = "".join(markup.figure(drawn, anchors.get(drawn.title, "")) for drawn in frames)
    return markup.section(
        title,
        lead,
        markup.cells(("detector", *head[1:]), rows, "numbers", "detectors"),
        missing,
        '<h3>Agreement</h3>\n<p class="lead">Of the row\'s boxes, the share that the column has too, and below it how '
        "well the two overlap (mean intersection over union).</p>",
        _heat(found.agreement, found.overlap),
        _false(found),
        f'<h3>A frame of each video</h3>\n<p class="lead">The one with the most false boxes, else the most boxes.</p>'
        f'\n<div class="gallery">{images}</div>',
    )


def _swatch(name: str) -> str:
    red, green, blue = COLOURS.get(name, GREY)
    return f'<i class="swatch" style="background:rgb({red} {green} {blue})"></i>{html(name)}'


def _heat(agreement: pd.DataFrame, overlap: pd.DataFrame) -> str:
    rows = []
    for name in agreement.index:
        line = [_swatch(str(name))]
        for other in agreement.columns:
            share, mean = float(agreement.loc[name, other]), float(overlap.loc[name, other])
            known = math.isfinite(share)
            small = f"<small>{mean:.2f}</small>" if math.isfinite(mean) else ""
            shade = f' style="--share:{share:.3f}"' if known else ""
            line.append(f"<td{shade}>{share:.0%}{small}</td>" if known else "<td>n/a</td>")
        rows.append(line)
    head = ("", *(html(column) for column in agreement.columns))
    return markup.cells(head, rows, "heat", "agreement of detectors")


def _false(found: Detected) -> str:
    """What each detector alone got wrong, counted by kind, and shown."""
    if found.false.empty:
        return markup.note("The vote calls no box false.")
    counts = found.false.groupby(["detector", "kind"]).size().unstack(fill_value=0)
    rows = [
        [_swatch(str(name)), *(str(int(n)) for n in counts.loc[name])] for name in found.names if name in counts.index
    ]
    images = "".join(markup.figure(drawn) for drawn in found.gallery.false)
    return f"""<h3>False boxes</h3>
<p class="lead">Boxes without a vote: over a face that another box of the same detector is of, inside, around or beside
a face, or elsewhere: on a shirt, on a board, or a face that one detector alone saw.</p>
{markup.cells(("detector", *map(html, counts.columns)), rows, "numbers", "false boxes")}
<div class="gallery small">{images}</div>"""


def landmarks_section(found: Detected | None, absent: Mapping[str, str]) -> str:
    """Ready HTML. absent: sets of points that cannot be had here, with what to do about it."""
    title = "Points on the face"
    images = "".join(markup.figure(drawn) for drawn in found.gallery.landmarks) if found else ""
    missing = "".join(markup.note(f"{name}: {why}") for name, why in sorted(absent.items()))
    if not images:
        return markup.section(title, "", markup.note("The vote found no face to put points on."), missing)
    lead = (
        "Five points of MTCNN, six of BlazeFace, and a dense mesh of 468, on the face with the most votes of the first "
        "videos."
    )
    return markup.section(title, lead, missing, f'<div class="gallery">{images}</div>')
