"""The page of `dfdc explore`: one HTML file for all that was found, with pictures and videos linked beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from common.files import write_text
from common.html import Cell, Table, render
from explore.charts import Picture
from explore.leak import Leak
from explore.page_faces import Detected, detectors_section, landmarks_section
from explore.page_pairs import pairs_section
from explore.page_parts import Section, number

# The columns of the table in the page: head, whether it is sorted as a number. metadata.csv has all of them.
COLUMNS = {
    "label": ("label", False),
    "status": ("status", False),
    "size": ("size", True),
    "fps": ("fps", True),
    "duration": ("seconds", True),
    "frames": ("frames", True),
    "bit_rate": ("kbit/s", True),
    "bytes": ("MB", True),
    "video_codec": ("video", False),
    "video_streams": ("video streams", True),
    "rotation": ("rotation", True),
    "audio_codec": ("sound", False),
    "sample_rate": ("Hz", True),
    "channels": ("channels", True),
    "fakes_of_original": ("fakes of its original", True),
    "original": ("original", False),
    "group": ("group", False),
    "split": ("split", False),
    "format": ("format", False),
}
NAMES = 12  # files named of those that share an oddity


@dataclass(frozen=True, eq=False)
class Findings:
    """All that the page tells."""

    title: str
    videos: Mapping[str, Path]  # by filename
    table: pd.DataFrame  # of metadata.metadata_table
    charts: Sequence[Picture]
    leak: Leak | None
    why_no_leak: str  # "" when there is one
    detected: Detected | None
    no_points: Mapping[str, str]  # sets of landmarks that are not installed, with what to do
    pairs: pd.DataFrame | None  # None without labels
    pair_frames: pd.DataFrame


def write_page(folder: Path, found: Findings) -> Path:
    """Write folder/index.html, whole or not at all, and return its path; the same findings give the same bytes."""
    gallery = found.detected.gallery.frames if found.detected else {}
    anchors = {name: f"frame-{at}" for at, name in enumerate(found.table["filename"]) if name in gallery}
    sections = [
        _files(found, anchors),
        _charts(found),
        _leak(found),
        detectors_section(found.detected, found.table["filename"].tolist(), anchors),
        landmarks_section(found.detected, found.no_points),
        pairs_section(found.pairs, found.pair_frames, found.table, found.videos, folder),
        _unread(found.table),
    ]
    target = folder / "index.html"
    write_text(target, render("explore/page.html.j2", title=found.title, sections=sections))
    return target


def _files(found: Findings, anchors: Mapping[str, str]) -> Section:
    table = found.table
    lead = (
        f"{len(table)} files, as their own headers describe them. A click on a column's head sorts; metadata.csv and "
        "metadata.parquet have all columns."
    )
    values = {"cards": _facts(table), "table": _table(table, anchors)}
    return Section("What the files are", lead, template="explore/page_files.html.j2", values=values)


def _facts(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    labels, ok = table["label"].value_counts(), table[table["status"] == "ok"]
    unlabelled = int((table["label"] == "").sum())
    minutes = float(ok["duration"].sum()) / 60
    sizes = [f"{int(w)}x{int(h)} ({n})" for (w, h), n in _counts(list(zip(ok["width"], ok["height"], strict=True)))]
    codecs = ", ".join(f"{codec} {count}" for codec, count in _counts(ok["video_codec"].tolist()))
    more = f" and {len(sizes) - 3} more" if len(sizes) > 3 else ""
    other = len(table) - len(ok)
    kinds = ", ".join(f"{n} {kind}" for kind, n in table["status"].value_counts().sort_index().items() if kind != "ok")
    return [
        ("Videos", str(len(ok)), f"of {len(table)} files"),
        ("Real", str(labels.get("REAL", 0)), f"{unlabelled} files without a label" if unlabelled else "by the labels"),
        ("Fake", str(labels.get("FAKE", 0)), "by the labels"),
        ("Minutes", f"{minutes:.1f}", f"{float(table['bytes'].sum()) / 1e6:.1f} MB"),
        ("Frame sizes", str(len(sizes)), ", ".join(sizes[:3]) + more),
        ("Codecs", str(ok["video_codec"].nunique()), codecs or "none"),
        ("With sound", str(int((ok["audio_streams"] > 0).sum())), f"of {len(ok)} videos"),
        ("No video", str(other), kinds or "all could be read"),
    ]


def _counts(values: Sequence[Any]) -> list[tuple[Any, int]]:
    """Each value with its count, the most frequent first, then in order."""
    return sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))


def _table(table: pd.DataFrame, anchors: Mapping[str, str]) -> Table:
    rows = [dict(row) for row in table.to_dict("records")]
    filled = [{column: _cell(column, row) for column in COLUMNS} for row in rows]
    # A column that says nothing of any file would only make the table wide.
    empty = {name for name in ("status", "format") if table[name].nunique() == 1}
    shown = [
        column
        for column in COLUMNS
        if column not in empty and any(cells[column].text or cells[column].names for cells in filled)
    ]
    heads = [Cell(name, kind="number" if numeric else "") for name, numeric in (COLUMNS[column] for column in shown)]
    body = []
    for row, cells in zip(rows, filled, strict=True):
        anchor = anchors.get(row["filename"])
        name = Cell(names=(row["filename"],), href=f"#{anchor}" if anchor else "")
        body.append([name, *(cells[column] for column in shown)])
    return Table([Cell("file"), *heads], body, "sortable", "all files")


def _cell(column: str, row: Mapping[Any, Any]) -> Cell:
    kind = "number" if COLUMNS[column][1] else ""
    if column == "size":
        return _size_cell(row["width"], row["height"])
    value = row[column]
    if column == "audio_codec" and row["status"] == "ok" and not value:
        return Cell("none")
    if isinstance(value, str):
        words = Cell(names=(value,) if value else (), kind=kind)
        return _badge(value) if column in ("label", "status") and value else words
    if pd.isna(value) or (column in ("rotation", "video_streams") and value == (column == "video_streams")):
        return Cell(kind=kind)  # upright, and one stream, go without saying
    scale, digits = {"bit_rate": (1e3, 0), "bytes": (1e6, 2), "duration": (1, 2), "fps": (1, 3)}.get(column, (1, 0))
    shown = f"{float(value) / scale:.{digits}f}"
    return Cell(shown, kind=kind, value=float(value) if kind else None)


def _size_cell(width: Any, height: Any) -> Cell:
    if pd.isna(width) or pd.isna(height):
        return Cell(kind="number")
    return Cell(f"{width}\u00d7{height}", kind="number", value=float(width * height))


def _badge(word: str) -> Cell:
    return Cell(word, badge=word.lower())


def _charts(found: Findings) -> Section:
    title, lead = "Distributions", "How labels, sizes, rates and lengths are distributed."
    if not found.charts:
        return Section(title, lead, ("There is nothing to draw.",))
    return Section(title, lead, template="explore/page_charts.html.j2", values={"charts": found.charts})


def _leak(found: Findings) -> Section:
    """Whether a model that sees no picture can tell fakes from reals."""
    title, leak = "Does metadata give the label away?", found.leak
    if leak is None:
        return Section(title, notes=(f"Not measured: {found.why_no_leak}.",))
    lead = (
        "A small model that sees the columns of the table and no picture, on groups that it was not trained on: "
        f"AUC {leak.auc.value:.3f}, 95 % {leak.auc.low:.3f} to {leak.auc.high:.3f} "
        f"({leak.videos} videos in {leak.groups} groups; 0.5 is chance)."
    )
    rows = [[c.name, f"{round(c.importance, 3) + 0:.3f}", number(c.alone)] for c in leak.columns[:10]]
    table = Table(("column", "AUC lost when shuffled", "AUC of it alone"), rows, "numbers", title)
    notes = () if leak.warning else ("No clear sign of it.",)
    values = {"warning": leak.warning, "tables": [table]}
    return Section(title, lead, notes, "explore/page_tables.html.j2", values)


def _unread(table: pd.DataFrame) -> Section:
    """What is no video, and why; what is odd about the others."""
    bad = table[table["status"] != "ok"]
    ok = table[table["status"] == "ok"]
    rows = [[Cell(names=(str(r.filename),)), _badge(str(r.status)), r.reason] for r in bad.itertuples()]
    odd = {
        "more than one video stream; the first is described and looked at": ok["video_streams"] > 1,
        "more than one sound track; the first is described": ok["audio_streams"] > 1,
        "no sound": ok["audio_streams"] == 0,
        "turned by a display matrix": ok["rotation"].fillna(0) != 0,
        "no label": ok["label"] == "",
    }
    lines = [
        [what, str(int(of.sum())), _named(ok.loc[of, "filename"].tolist())] for what, of in odd.items() if of.any()
    ]
    tables = [
        Table(("file", "what it is", "why"), rows, "words", "files that are no readable video"),
        Table(("oddity", "files", "which"), lines, "words", "oddities"),
    ]
    notes = () if rows else ("Every file is a video that can be read.",)
    values = {"warning": "", "tables": tables}
    return Section("What could not be read, and what is odd", "", notes, "explore/page_tables.html.j2", values)


def _named(names: Sequence[str]) -> Cell:
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return Cell(names=tuple(names[:NAMES]), after=more)
