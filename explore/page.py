"""The page of `dfdc explore`: one HTML file for all that was found, with pictures and videos linked beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from common.files import write_text
from common.html import html
from explore import markup
from explore.charts import Picture
from explore.leak import Leak
from explore.markup import section
from explore.page_faces import Detected, detectors_section, landmarks_section
from explore.page_pairs import pairs_section

# The browser itself then refuses every request to a network; files beside the page are what it may read.
CONTENT_POLICY = (
    "default-src 'none'; img-src 'self' file: data:; media-src 'self' file:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'"
)
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
    css, script = (Path(__file__).with_name(f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    gallery = found.detected.gallery.frames if found.detected else {}
    anchors = {name: f"frame-{at}" for at, name in enumerate(found.table["filename"]) if name in gallery}
    sections = [
        _files(found, anchors),
        _charts(found, folder),
        _leak(found),
        detectors_section(found.detected, found.table["filename"].tolist(), anchors),
        landmarks_section(found.detected, found.no_points),
        pairs_section(found.pairs, found.pair_frames, found.table, found.videos, folder),
        _unread(found.table),
    ]
    target = folder / "index.html"
    write_text(target, _page(html(found.title), css, script, sections))
    return target


def _page(title: str, css: str, script: str, sections: Sequence[str]) -> str:
    heads = [part.split("</h2>", 1)[0].split('<section id="', 1)[1].split('"><h2>', 1) for part in sections]
    contents = "".join(f'<a href="#{anchor}">{name}</a>\n' for anchor, name in heads)
    body = "\n".join(sections)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="{CONTENT_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>
{css}</style></head>
<body><header><h1>{title}</h1>
<p class="lead">What the files are, what detectors see on them, and what a fake changed.
The tables lie beside this page as CSV.</p>
<nav aria-label="contents">{contents}</nav></header>
<main>
{body}
</main>
<script>
{script}</script></body></html>
"""


def _files(found: Findings, anchors: Mapping[str, str]) -> str:
    table = found.table
    lead = (
        f"{len(table)} files, as their own headers describe them. A click on a column's head sorts; metadata.csv and "
        "metadata.parquet have all columns."
    )
    return section("What the files are", lead, markup.tiles(_facts(table)), _table(table, anchors))


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


def _table(table: pd.DataFrame, anchors: Mapping[str, str]) -> str:
    rows = [dict(row) for row in table.to_dict("records")]
    filled = [{column: _value(column, row) for column in COLUMNS} for row in rows]
    # A column that says nothing of any file would only make the table wide.
    empty = {name for name in ("status", "format") if table[name].nunique() == 1}
    shown = [column for column in COLUMNS if column not in empty and any(cells[column][0] for cells in filled)]
    heads = "".join(
        f'<th scope="col"{" class=number" * number} aria-sort="none"><button type="button">{html(name)}</button></th>\n'
        for name, number in [("file", False), *(COLUMNS[column] for column in shown)]
    )
    body = []
    for row, cells in zip(rows, filled, strict=True):
        name = markup.name(row["filename"])
        name = f'<a href="#{anchors[row["filename"]]}">{name}</a>' if row["filename"] in anchors else name
        line = "".join(_cell(column, *cells[column]) for column in shown)
        body.append(f'<tr><th scope="row">{name}</th>{line}</tr>\n')
    return f"""<p class="filter" hidden><output></output>
<label>Filter <input type="search" placeholder="name, label, codec ..." autocomplete="off"></label></p>
<div class="scroll tall" tabindex="0" role="region" aria-label="all files"><table class="sortable">
<thead><tr>
{heads}</tr></thead>
<tbody>
{"".join(body)}</tbody></table></div>"""


def _cell(column: str, shown: str, value: Any) -> str:
    kind = ' class="number"' if COLUMNS[column][1] else ""
    sort = f' data-value="{float(value):.6g}"' if kind and shown and pd.notna(value) else ""
    return f"<td{kind}{sort}>{shown}</td>"


def _value(column: str, row: Mapping[Any, Any]) -> tuple[str, Any]:
    """What a cell shows, ready HTML, and the number that it is sorted by."""
    if column == "size":
        known = pd.notna(row["width"]) and pd.notna(row["height"])
        return (f"{row['width']}&times;{row['height']}", row["width"] * row["height"]) if known else ("", None)
    value = row[column]
    if column == "audio_codec" and row["status"] == "ok" and not value:
        return "none", None
    if isinstance(value, str):
        return (_badge(value) if column in ("label", "status") and value else markup.name(value) if value else ""), None
    if pd.isna(value) or (column in ("rotation", "video_streams") and value == (column == "video_streams")):
        return "", None  # upright, and one stream, go without saying
    scale, digits = {"bit_rate": (1e3, 0), "bytes": (1e6, 2), "duration": (1, 2), "fps": (1, 3)}.get(column, (1, 0))
    return f"{float(value) / scale:.{digits}f}", value


def _badge(word: str) -> str:
    return f'<span class="badge {html(word.lower())}">{html(word)}</span>'


def _charts(found: Findings, folder: Path) -> str:
    images = []
    for picture in found.charts:
        source, title, caption = markup.link(picture.file, folder), html(picture.title), html(picture.caption)
        height, width = np.asarray(cv2.imread(str(picture.file))).shape[:2]  # its place is kept free until it is loaded
        image = f'<img loading="lazy" width="{width}" height="{height}" alt="{title}" src="{source}">'
        images.append(f"<figure><figcaption>{title}</figcaption>{image}<small>{caption}</small></figure>\n")
    lead = "How labels, sizes, rates and lengths are distributed."
    body = f'<div class="charts">{"".join(images)}</div>' if images else markup.note("There is nothing to draw.")
    return section("Distributions", lead, body)


def _leak(found: Findings) -> str:
    """Whether a model that sees no picture can tell fakes from reals."""
    title, leak = "Does metadata give the label away?", found.leak
    if leak is None:
        return section(title, "", markup.note(f"Not judged: {found.why_no_leak}."))
    known = f"AUC {leak.auc.value:.3f}, 95 % {leak.auc.low:.3f} to {leak.auc.high:.3f}"
    lead = (
        "A small model that sees the columns of the table and no picture, on groups that it was not trained on: "
        f"{known} ({leak.videos} videos in {leak.groups} groups; 0.5 is chance)."
    )
    warning = f'<p class="warning" role="alert">{html(leak.warning)}</p>' if leak.warning else ""
    rows = [[html(c.name), f"{round(c.importance, 3) + 0:.3f}", markup.number(c.alone)] for c in leak.columns[:10]]
    head = ("column", "AUC lost when shuffled", "AUC of it alone")
    return section(
        title, lead, warning or markup.note("No clear sign of it."), markup.cells(head, rows, "numbers", title)
    )


def _unread(table: pd.DataFrame) -> str:
    """What is no video, and why; what is odd about the others."""
    bad = table[table["status"] != "ok"]
    ok = table[table["status"] == "ok"]
    rows = [[markup.name(r.filename), _badge(str(r.status)), html(r.reason)] for r in bad.itertuples()]
    main = (
        markup.cells(("file", "what it is", "why"), rows, "words", "files that are no readable video") if rows else ""
    )
    odd = {
        "more than one video stream; the first is described and looked at": ok["video_streams"] > 1,
        "more than one sound track; the first is described": ok["audio_streams"] > 1,
        "no sound": ok["audio_streams"] == 0,
        "turned by a display matrix": ok["rotation"].fillna(0) != 0,
        "no label": ok["label"] == "",
    }
    lines = [
        [html(what), str(int(of.sum())), _named(ok.loc[of, "filename"].tolist())]
        for what, of in odd.items()
        if of.any()
    ]
    rest = markup.cells(("oddity", "files", "which"), lines, "words", "oddities") if lines else ""
    said = "" if rows else markup.note("Every file is a video that can be read.")
    return section("What could not be read, and what is odd", "", main, said, rest)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return ", ".join(markup.name(name) for name in names[:NAMES]) + more
