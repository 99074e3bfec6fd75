"""What is known of the videos: metadata.json of the challenge, or a CSV."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from common.labels import VIDEO_METADATA, text_of

COLUMNS = ("filename", "label", "original", "split", "group")
LABELS = ("REAL", "FAKE")


@dataclass(frozen=True)
class Unmatched:
    """What labels and files do not share."""

    without_file: int  # labelled, but no such file among the videos
    without_label: int  # files of which neither REAL nor FAKE is said


def read_video_labels(path: Path | None, videos: Sequence[Path]) -> pd.DataFrame:
    """What is known of `videos` and of files that are not there, a row per filename, sorted.

    path: metadata.json, or a CSV with filename, label and where known original, split, group; None: the metadata.json
    beside each of the videos, where there is one. Returns text columns filename, label (REAL, FAKE, or empty for
    anything else), original (empty for a real), split, group (as given, else the original, else the own name).
    Raises ValueError for a file that is missing or not what it should be, and for a name of which it says two things.
    """
    paths = sorted({video.parent / VIDEO_METADATA for video in videos}) if path is None else [path]
    rows: dict[str, dict[str, str]] = {}
    for source in paths:
        if path is None and not source.is_file():
            continue
        for row in _of_csv(source) if source.suffix.lower() == ".csv" else _of_json(source):
            if rows.setdefault(row["filename"], row) != row:
                raise ValueError(f"{source} says different things of {row['filename']!r}; one row per video")
    for name in (video.name for video in videos):
        rows.setdefault(name, _row(name, {}))
    return pd.DataFrame([rows[name] for name in sorted(rows)], columns=list(COLUMNS), dtype=object)


def unmatched(labels: pd.DataFrame, videos: Sequence[Path]) -> Unmatched:
    """Count what `read_labels` kept without a file, and the files without a label."""
    there = labels["filename"].isin({video.name for video in videos})
    known = labels["label"].isin(LABELS)
    return Unmatched(int((known & ~there).sum()), int((there & ~known).sum()))


def _of_json(path: Path) -> list[dict[str, str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}; give a metadata.json or a .csv") from error
    if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
        raise ValueError(f'{path} holds no labels; expected {{"x.mp4": {{"label": "FAKE", "original": "y.mp4"}}}}')
    return [_row(name, entry) for name, entry in content.items()]


def _of_csv(path: Path) -> list[dict[str, str]]:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as CSV: {error}; it needs the columns filename and label") from error
    if missing := [name for name in ("filename", "label") if name not in table]:
        raise ValueError(f"{path} needs a column {missing[0]!r}; it has {list(table.columns)}")
    return [_row(str(row["filename"]), row) for row in table.to_dict("records")]


def _row(name: str, facts: dict[Any, Any]) -> dict[str, str]:
    label, original = text_of(facts.get("label")).upper(), text_of(facts.get("original"))
    original = "" if label == "REAL" else original  # some lists say that a real is made from itself
    return {
        "filename": name,
        "label": label if label in LABELS else "",
        "original": original,
        "split": text_of(facts.get("split")),
        "group": text_of(facts.get("group")) or original or name,
    }
