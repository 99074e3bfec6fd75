"""The part of the page on pairs: the pictures, what changed over time, and both videos played in step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from common.html import Cell, Table
from explore.difference import AMPLIFIED, CHANGED, GAP, PANEL
from explore.page_parts import Section, link, share

# By codec: what a browser is asked whether it can play it; a codec that none of them plays is not here.
TYPES = {
    "h264": 'video/mp4; codecs="avc1.640028"',
    "hevc": 'video/mp4; codecs="hvc1.1.6.L123.B0"',
    "av1": 'video/mp4; codecs="av01.0.08M.08"',
    "vp8": 'video/webm; codecs="vp8"',
    "vp9": 'video/webm; codecs="vp9"',
}


def pairs_section(
    pairs: pd.DataFrame | None, frames: pd.DataFrame, table: pd.DataFrame, videos: Mapping[str, Path], folder: Path
) -> Section:
    """The part on pairs; `pairs` is None when nothing is known of which fake is of which original."""
    title = "Real beside fake"
    lead = (
        f"The same frame of an original and of its fake, and their absolute difference, brightened {AMPLIFIED} times. "
        f"A pixel counts as changed where a colour differs by more than {CHANGED} of 255; the frame around it is the "
        "largest region of them. On the face: of the changed pixels, those inside the box that BlazeFace finds on the "
        "original."
    )
    if pairs is None:
        why = "No labels that name fakes: give --labels a metadata.json or a CSV of filename, label, original."
        return Section(title, notes=(why,))
    if pairs.empty:
        return Section(title, notes=("None of these videos is labelled FAKE, so there is no pair.",))
    facts = {row["filename"]: row for row in _rows(table)}
    told = _rows(pairs[pairs["status"] != "ok"])
    compared = [
        _pair(pair, _rows(frames[frames["fake"] == pair["fake"]]), facts, videos, folder)
        for pair in _rows(pairs[pairs["status"] == "ok"])
    ]
    untold = [[Cell(names=(r["fake"],)), Cell(names=(r["original"] or "",)), r["reason"]] for r in told]
    values = {
        "cards": _counts(pairs),
        "pairs": compared,
        "untold": Table(("not compared", "original", "why"), untold, "words", "pairs not compared"),
        "amplified": AMPLIFIED,
    }
    return Section(title, lead, (), "explore/page_pairs.html.j2", values)


def _rows(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return [dict(row) for row in frame.to_dict("records")]


def _counts(pairs: pd.DataFrame) -> list[tuple[str, str, str]]:
    good = pairs[pairs["status"] == "ok"]
    shares = pd.to_numeric(good["changed_share"])
    return [
        ("Fakes", str(len(pairs)), f"{len(good)} beside their original"),
        ("Pixels changed", share(shares.median()), "median over pairs"),
        ("On the face", share(pd.to_numeric(good["on_face"]).median()), "of the changed pixels, median"),
    ]


def _pair(
    pair: Mapping[Any, Any],
    frames: Sequence[Mapping[Any, Any]],
    facts: Mapping[str, Any],
    videos: Mapping[str, Path],
    folder: Path,
) -> dict[str, Any]:
    """What the page shows of a pair."""
    told = [
        f"changed: {share(pair['changed_share'])} of the pixels",
        f"on the face: {share(pair['on_face'])} of those",
        f"{pair['frames']} frames compared",
        f"found by {pair['found_by']}",
    ]
    if pd.notna(pair["x0"]):
        corners = ", ".join(str(int(pair[corner])) for corner in ("x0", "y0", "x1", "y1"))
        told.append(f"changed region over all frames: {corners} px")
    return {
        "fake": pair["fake"],
        "original": pair["original"],
        "facts": told,
        "reason": str(pair["reason"] or ""),
        "moments": [_moment(row, _shape(facts[pair["original"]])) for row in frames if row["whole"] != ""],
        "over_time": _over_time(frames),
        "files": [_file(side, pair[side], facts, videos, folder) for side in ("original", "fake")],
    }


def _file(side: str, name: str, facts: Mapping[str, Any], videos: Mapping[str, Path], folder: Path) -> dict[str, str]:
    """Where a video lies, and what a browser is asked whether it can play it."""
    kind = TYPES.get(str(facts[name]["video_codec"]), "")
    return {"side": side, "link": link(videos[name], folder), "type": kind}


def _shape(facts: Mapping[Any, Any]) -> str:
    """Width / height of a strip of whole frames, so that its place is kept free until it is loaded."""
    width, height = float(facts["width"]), float(facts["height"])
    if facts["rotation"] in (90, 270):
        width, height = height, width
    scale = PANEL / max(width, height)
    return f"{3 * round(width * scale) + 2 * GAP}/{round(height * scale)}"


def _moment(row: Mapping[Any, Any], shape: str) -> dict[str, Any]:
    """The strips of one frame: the whole of it, and close to what is changed."""
    when = f"{row['second']:.2f} s" if pd.notna(row["second"]) else "no time"
    title = f"original, fake, difference at {when}, frame {row['frame']}"
    close = f"{3 * PANEL + 2 * GAP}/{PANEL}"
    return {
        "when": when,
        "frame": row["frame"],
        "changed": share(row["changed_share"]),
        "strips": [
            {"source": f"pictures/pairs/{row['whole']}", "ratio": shape, "title": f"{title}, whole frames"},
            {"source": f"pictures/pairs/{row['close']}", "ratio": close, "title": f"{title}, close view"},
        ],
    }


def _over_time(frames: Sequence[Mapping[Any, Any]]) -> dict[str, str] | None:
    """The share of changed pixels over seconds, drawn in percent so that lines keep their width on any screen."""
    points = [(row["second"], row["changed_share"]) for row in frames if pd.notna(row["second"])]
    if len(points) < 2:
        return None
    first, last = points[0][0], points[-1][0]
    highest = max(value for _, value in points) or 1.0
    spots = [(100 * (at - first) / ((last - first) or 1.0), 100 - 100 * value / highest) for at, value in points]
    path = "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in spots)
    return {"path": path, "top": share(highest), "first": f"{first:.1f} s", "last": f"{last:.1f} s"}
