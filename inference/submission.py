"""submission.csv: every row, in the expected order, no surprise in it."""

from __future__ import annotations

import csv
import errno
import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from common.errors import DfdcError
from common.files import atomic_path
from inference.result import PRIOR

HEADER = ("filename", "label")
RAW = "surrogateescape"  # file names are bytes: those that are no UTF-8 go through as they are
FULL = (errno.ENOSPC, errno.EDQUOT)


def read_sample(path: Path) -> list[str]:
    """Read the file names of a sample_submission.csv in its order.

    Raises:
        ValueError: it has another header, no row, a row with more fields than the header, or a name twice.
    """
    try:
        table = pd.read_csv(path, dtype=object, keep_default_na=False, encoding_errors=RAW)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeError) as error:
        raise ValueError(f"{path} is not a sample submission: {error}") from error
    if tuple(table.columns) != HEADER:
        raise ValueError(f"{path} has the columns {list(table.columns)}, a sample submission has {list(HEADER)}")
    if table.empty:
        raise ValueError(f"{path} names no video; a sample submission has a row for each")
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes the first field of longer rows for their names
        raise ValueError(f"{path}: a row has more than {len(HEADER)} fields; is there a comma at the end of its lines?")
    names = [str(name) for name in table["filename"]]
    if len(set(names)) < len(names):
        twice = table["filename"][table["filename"].duplicated()].iloc[0]
        raise ValueError(f"{path} names {twice!r} more than once")
    return names


def write_submission(path: Path, prob_fake: Mapping[str, float], order: list[str], clip: tuple[float, float]) -> None:
    """Write filename,label for every name in `order`, check the file that was written, then put it in place.

    On a full disk an older file of the same names is written over: every row is as long as it was, so that needs no
    room. Raises DfdcError, leaving an older file as it was, when a name has no probability or one is not a number
    inside the clip.
    """
    low, high = clip
    for name in order:
        value = prob_fake.get(name)
        if value is None or not math.isfinite(value) or not low <= value <= high:
            raise DfdcError(f"{path} was not written: {name!r} has the probability {value}, not in [{low}, {high}]")
    if extra := sorted(prob_fake.keys() - set(order)):
        raise DfdcError(f"{path} was not written: {len(extra)} videos are not in its order, the first is {extra[0]!r}")
    names = pd.Series(order, dtype=object)  # pandas' own text refuses what is no UTF-8
    table = pd.DataFrame({"filename": names, "label": [prob_fake[name] for name in order]})
    # A line may end with a carriage return, to readers of CSV; writers that end theirs otherwise do not quote it.
    quoting = csv.QUOTE_NONNUMERIC if any("\r" in name for name in order) else csv.QUOTE_MINIMAL
    text = table.to_csv(index=False, float_format="%.6f", lineterminator="\n", quoting=quoting).encode("utf-8", RAW)
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(text)
            validate_submission(temporary, order)
    except OSError as error:
        if error.errno not in FULL or not path.exists() or path.stat().st_size != len(text):
            raise
        with path.open("r+b") as handle:
            handle.write(text)
        validate_submission(path, order)


def validate_submission(path: Path, order: list[str] | None = None) -> None:
    """Read a written submission back as the scorer would; DfdcError naming the first thing that is wrong.

    order: the names that it must have, in that order; None where they are not known: any then, each once.
    """
    table = _read(path)
    if order is None:
        if table.empty:
            raise DfdcError(f"{path} has no rows")
        if len(twice := table["filename"][table["filename"].duplicated()]):
            raise DfdcError(f"{path} names {twice.iloc[0]!r} more than once")
    elif list(table["filename"]) != order:
        raise DfdcError(f"{path} does not name the {len(order)} expected videos in their order")
    bad = table[~pd.to_numeric(table["label"], errors="coerce").between(0, 1)]
    if len(bad):
        raise DfdcError(f"{path}: {bad['filename'].iloc[0]!r} has the probability {bad['label'].iloc[0]}")


def read_submission(path: Path) -> dict[str, float]:
    """Read the probability of each video from a submission; DfdcError where it is none."""
    validate_submission(path)
    table = _read(path)
    return dict(zip(table["filename"], table["label"].astype(float), strict=True))


def refuse_unscored(path: Path, most_prior: float) -> None:
    """DfdcError for a valid submission that says nothing.

    That is one in which more than the share `most_prior` of all videos has the prior, or all have the same number.
    """
    label = _read(path)["label"]
    at_prior = ((label - PRIOR).abs() < 1e-6).mean()
    if at_prior > most_prior:
        raise DfdcError(f"{path}: {at_prior:.0%} of {len(label)} videos have {PRIOR}, more than {most_prior:.0%}")
    if len(label) > 1 and label.nunique() == 1:
        raise DfdcError(f"{path}: all {len(label)} videos have the same probability {label.iloc[0]}")


def _read(path: Path) -> pd.DataFrame:
    if b"\0" in path.read_bytes():  # no name of a file has one
        raise DfdcError(f"{path} is not a CSV: it has bytes of zero")
    try:
        table = pd.read_csv(path, dtype={"filename": object}, na_filter=False, encoding_errors=RAW)
    except ValueError as error:  # of the parser, of the encoding
        raise DfdcError(f"{path} is not a CSV: {error}") from error
    if tuple(table.columns) != HEADER or not isinstance(table.index, pd.RangeIndex):  # another index: too many fields
        raise DfdcError(f"{path} has the columns {list(table.columns)}, expected {list(HEADER)} and no more fields")
    return table
