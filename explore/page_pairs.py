"""The part of the page on pairs: the pictures, what changed over time, and both videos played in step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from common.html import html
from explore import markup
from explore.difference import AMPLIFIED, CHANGED, GAP, PANEL

# By codec: what a browser is asked whether it can play it; a codec that none of them plays is not here.
TYPES = {
    "h264": 'video/mp4; codecs="avc1.640028"',
    "hevc": 'video/mp4; codecs="hvc1.1.6.L123.B0"',
    "av1": 'video/mp4; codecs="av01.0.08M.08"',
    "vp8": 'video/webm; codecs="vp8"',
    "vp9": 'video/webm; codecs="vp9"',
}
COLUMNS = ("fake", "original", "status", "changed_share", "on_face", "reason")


def pairs_section(
    pairs: pd.DataFrame | None, frames: pd.DataFrame, table: pd.DataFrame, videos: Mapping[str, Path], folder: Path
) -> str:
    """Ready HTML; `pairs` None when nothing is known of which fake is of which original."""
    title = "Real beside fake"
    lead = (
        f"The same frame of an original and of its fake, and their absolute difference, brightened {AMPLIFIED} times. "
        f"A pixel counts as changed where a colour differs by more than {CHANGED} of 255; the frame around it is the "
        "largest region of them. On the face: of the changed pixels, those inside the box that BlazeFace finds on the "
        "original."
    )
    if pairs is None:
        why = "No labels that name fakes: give --labels a metadata.json or a CSV of filename, label, original."
        return markup.section(title, "", markup.note(why))
    if pairs.empty:
        return markup.section(title, "", markup.note("None of these videos is labelled FAKE, so there is no pair."))
    facts = {row["filename"]: row for row in _rows(table)}
    told = pairs[pairs["status"] != "ok"]
    articles = [
        _article(pair, frames[frames["fake"] == pair["fake"]], facts, videos, folder)
        for pair in _rows(pairs[pairs["status"] == "ok"])
    ]
    rest = [[markup.name(r["fake"]), markup.name(r["original"] or ""), html(r["reason"])] for r in _rows(told)]
    counts = markup.tiles(_counts(pairs))
    untold = markup.cells(("not compared", "original", "why"), rest, "words", "pairs not compared") if rest else ""
    return markup.section(title, lead, counts, *articles, untold)


def _rows(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return [dict(row) for row in frame.to_dict("records")]


def _counts(pairs: pd.DataFrame) -> list[tuple[str, str, str]]:
    good = pairs[pairs["status"] == "ok"]
    shares = pd.to_numeric(good["changed_share"])
    return [
        ("Fakes", str(len(pairs)), f"{len(good)} beside their original"),
        ("Pixels changed", markup.share(shares.median()), "median over pairs"),
        ("On the face", markup.share(pd.to_numeric(good["on_face"]).median()), "of the changed pixels, median"),
    ]


def _article(
    pair: dict[Any, Any], frames: pd.DataFrame, facts: Mapping[str, Any], videos: Mapping[str, Path], folder: Path
) -> str:
    shape = _shape(facts[pair["original"]])
    strips = "".join(_moment(row, shape) for row in _rows(frames[frames["whole"] != ""]))
    found = f"found by {pair['found_by']}"
    told = [
        f"changed: {markup.share(pair['changed_share'])} of the pixels",
        f"on the face: {markup.share(pair['on_face'])} of those",
        f"{pair['frames']} frames compared",
        found,
    ]
    if pd.notna(pair["x0"]):
        corners = ", ".join(str(int(pair[corner])) for corner in ("x0", "y0", "x1", "y1"))
        told.append(f"changed region over all frames: {corners} px")
    line = "".join(f"<span>{html(fact)}</span>" for fact in told)
    said = markup.note(str(pair["reason"])) if pair["reason"] else ""
    head = f"<h3>{markup.name(pair['fake'])} <small>beside</small> {markup.name(pair['original'])}</h3>"
    over_time = _over_time(frames)
    return f"""<article class="pairing">{head}
<p class="facts">{line}</p>{said}
<div class="moments">{strips}</div>
<div class="beneath">{over_time}{_players(pair, facts, videos, folder)}</div></article>
"""


def _shape(facts: Mapping[Any, Any]) -> str:
    """Width / height of a strip of whole frames, so that its place is kept free until it is loaded."""
    width, height = float(facts["width"]), float(facts["height"])
    if facts["rotation"] in (90, 270):
        width, height = height, width
    scale = PANEL / max(width, height)
    return f"{3 * round(width * scale) + 2 * GAP}/{round(height * scale)}"


def _moment(row: dict[Any, Any], shape: str) -> str:
    """The strips of one frame: the whole of it, and close to what is changed."""
    when = f"{row['second']:.2f} s" if pd.notna(row["second"]) else "no time"
    width = 3 * PANEL + 2 * GAP
    title = f"original, fake, difference at {when}, frame {row['frame']}"
    images = "".join(
        f'<a href="pictures/pairs/{row[kind]}"><img style="aspect-ratio:{ratio}" loading="lazy" decoding="async" '
        f'alt="{html(f"{title}, {words}")}" src="pictures/pairs/{row[kind]}"></a>'
        for kind, words, ratio in (("whole", "whole frames", shape), ("close", "close view", f"{width}/{PANEL}"))
    )
    names = "<span>original</span><span>fake</span><span>difference</span>"
    words = f"{when} <small>frame {row['frame']}, {markup.share(row['changed_share'])} changed</small>"
    return (
        f'<figure class="strip" tabindex="0"><figcaption>{words}</figcaption>'
        f'<p class="columns">{names}</p>{images}</figure>\n'
    )


def _over_time(frames: pd.DataFrame) -> str:
    """The share of changed pixels over seconds, drawn in percent so that lines keep their width on any screen."""
    points = [(row["second"], row["changed_share"]) for row in _rows(frames) if pd.notna(row["second"])]
    if len(points) < 2:
        return ""
    first, last = points[0][0], points[-1][0]
    highest = max(value for _, value in points) or 1.0
    spots = [(100 * (at - first) / ((last - first) or 1.0), 100 - 100 * value / highest) for at, value in points]
    path = "L".join(f"{x:.2f} {y:.2f}" for x, y in spots)
    top = markup.share(highest)
    return f"""<figure class="over"><figcaption>Changed pixels over time <small>top: {top}</small></figcaption>
<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="changed pixels over time, {top} at most">
<path d="M{path}"/></svg>
<p class="ends"><span>{first:.1f} s</span><span>{last:.1f} s</span></p></figure>"""


def _players(pair: dict[Any, Any], facts: Mapping[str, Any], videos: Mapping[str, Path], folder: Path) -> str:
    """Links to both files; the script makes two players of them where the browser can play them."""
    names = (pair["original"], pair["fake"])
    links = [markup.link(videos[name], folder) for name in names]
    kinds = [TYPES.get(str(facts[name]["video_codec"]), "") for name in names]
    data = "".join(
        f' data-{side}="{html(link)}" data-{side}-type="{html(kind)}"'
        for side, link, kind in zip(("original", "fake"), links, kinds, strict=True)
    )
    first, second = (
        f'<a href="{html(link)}">{word}</a>' for link, word in zip(links, ("original", "fake"), strict=True)
    )
    return f'<div class="players" data-amplified="{AMPLIFIED}"{data}><p>The files: {first}, {second}</p></div>'
