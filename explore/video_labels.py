"""Labels for videos that are looked at: those that a table or metadata.json names, and the files without any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from common.labels import TARGETS, VIDEO_METADATA, read_label_table

COLUMNS = ("filename", "label", "original", "split", "group")


@dataclass(frozen=True)
class Unmatched:
    """How many labels and files do not meet.

    Attributes:
        without_file: names that are labelled, with no such file among the videos.
        without_label: files that nothing calls REAL or FAKE.
    """

    without_file: int
    without_label: int


def read_video_labels(path: Path | None, videos: Sequence[Path]) -> pd.DataFrame:
    """Read the labels of `videos`, and of files that are not there.

    Args:
        path: a metadata.json, or a CSV with filename, label and, where known, original, split, group. None: the
            metadata.json beside each of the videos, where there is one.
        videos: the files that are looked at.

    Returns:
        A row per filename, sorted, with text columns: filename, label (REAL, FAKE, or empty for anything else),
        original (empty for a real), split, group (as given, else the original, else the own name).

    Raises:
        ValueError: a file is missing or is no table of labels, or two rows differ about one name.
    """
    paths = sorted({video.parent / VIDEO_METADATA for video in videos}) if path is None else [path]
    rows: dict[str, dict[str, str]] = {}
    for source in paths:
        if path is None and not source.is_file():
            continue
        for facts in read_label_table(source, "filename").to_dict("records"):
            row = _row(facts["filename"], facts)
            if rows.setdefault(row["filename"], row) != row:
                raise ValueError(f"{source} says different things of {row['filename']!r}; one row per video")
    for name in (video.name for video in videos):
        rows.setdefault(name, _row(name, {}))
    return pd.DataFrame([rows[name] for name in sorted(rows)], columns=list(COLUMNS), dtype=object)


def unmatched(labels: pd.DataFrame, videos: Sequence[Path]) -> Unmatched:
    """Count the labels without a file, and the files without a label.

    Args:
        labels: a table of `read_video_labels`.
        videos: the files that are looked at.
    """
    there = labels["filename"].isin({video.name for video in videos})
    known = labels["label"].isin(list(TARGETS))
    return Unmatched(int((known & ~there).sum()), int((there & ~known).sum()))


def _row(name: str, facts: Mapping[str, str]) -> dict[str, str]:
    label, original = facts.get("label", ""), facts.get("original", "")
    original = "" if label == "REAL" else original  # some lists say that a real is made from itself
    return {
        "filename": name,
        "label": label if label in TARGETS else "",
        "original": original,
        "split": facts.get("split", ""),
        "group": facts.get("group", "") or original or name,
    }
