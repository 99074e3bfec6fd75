"""The labels of videos and faces: the one reader of tables of labels and of metadata.json."""

from __future__ import annotations

import functools
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

VIDEO_METADATA = "metadata.json"  # the file in each part of DFDC's training videos that labels them

# What stands for nothing in one release of the metadata or another.
NOTHING = {"", "nan", "none", "null"}

# The two labels, and how they may be written; DFDC writes words, its submissions and many other data sets 0 and 1,
# which pandas turns into 0.0 and 1.0 in a column with gaps.
TARGETS = {"REAL": 0.0, "FAKE": 1.0}
WORDS = {"REAL": "REAL", "FAKE": "FAKE", "0": "REAL", "1": "FAKE", "0.0": "REAL", "1.0": "FAKE"}

KEYS = ("face", "filename")  # the columns that can name a row, the narrower one first
GROUPS = ("group", "original_group")  # the columns that can keep rows together, the wider one first


def read_labels(path: Path) -> pd.DataFrame:
    """Read a table of labels with the targets and groups that scores and training need.

    Args:
        path: A CSV or a metadata.json, as for `read_label_table`.

    Returns:
        The table of `read_label_table` with `target` (1.0 fake, 0.0 real, NaN for any other label) and `group`: the
        column `group`, else `original_group`, else the row's own name.

    Raises:
        ValueError: As `read_label_table`.
    """
    table = read_label_table(path)
    key = next(name for name in KEYS if name in table)
    group = next((name for name in GROUPS if name in table), key)
    return table.assign(
        target=table["label"].map(TARGETS).astype(float), group=table[group].where(table[group] != "", table[key])
    )


def read_label_table(path: Path, key: str | None = None) -> pd.DataFrame:
    """Read a CSV of labels, or a metadata.json; the content decides which of the two it is, not the name.

    Rows whose label is neither REAL nor FAKE stay; how many they are is said on stderr.

    Args:
        path: A CSV in UTF-8 with the columns `label` and `face` or `filename`, and any others; or a JSON object
            `{"x.mp4": {"label": "FAKE", "original": "y.mp4"}}`.
        key: The column that names a row. None: `face` where there is one, else `filename`.

    Returns:
        All columns as text, "" where nothing is said. `label` is REAL or FAKE (read from either word in any case, from
        0 and 1, with spaces around them), else what the file says in upper case. `original`, `group` and
        `original_group` are "" for the words that stand for nothing (nan, none, null).

    Raises:
        ValueError: The file cannot be read or is no such table, or it says REAL and FAKE of one name.
    """
    text = _text_in(path)
    table = _of_json(path, text) if text.lstrip()[:1] in ("{", "[") else _of_csv(path, text)
    keys = [name for name in KEYS if name in table] if key is None else [key]
    if not keys or not {keys[0], "label"} <= set(table.columns):
        wanted = "one of 'face', 'filename'" if key is None else repr(key)
        raise ValueError(f"{path} needs a column 'label' and {wanted}; it has {list(table.columns)}")
    table["label"] = [label_of(text) for text in table["label"]]
    for column in ("original", *GROUPS):
        if column in table:
            table[column] = [text_of(text) for text in table[column]]
    _refuse_contradictions(path, table, keys[0])
    _say_unknown(path, table["label"])
    return table


def text_of(value: object) -> str:
    """Return a value as stripped text: "" for what stands for nothing, such as null or the NaN of pandas."""
    text = "" if value is None else str(value).strip()
    return "" if text.lower() in NOTHING else text


def label_of(written: object) -> str:
    """Return REAL or FAKE for a label in any way of writing it, else the text in upper case."""
    text = text_of(written).upper()
    return WORDS.get(text, text)


def _text_in(path: Path) -> str:
    """What is in a file of UTF-8; ValueError that says what it is instead."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}; give a CSV or a metadata.json") from error
    start = data[:1000]
    # Text of two bytes a letter has zeros at every other place, with a mark of its order before it or without.
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start:
        if start[:2] in (b"\xff\xfe", b"\xfe\xff") or start[0::2].count(0) == 0 or start[1::2].count(0) == 0:
            raise ValueError(f"{path} is text in UTF-16, as Excel's 'Unicode Text' is; save it as 'CSV UTF-8'")
        raise ValueError(f"{path} is not text; give a CSV or a metadata.json")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8: {error.reason} at byte {error.start}; save it as 'CSV UTF-8'"
        ) from error


def _of_json(path: Path, text: str) -> pd.DataFrame:
    import pandas as pd

    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}; fetch it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected an object with one entry per video")
    odd = [name for name, entry in content.items() if not isinstance(entry, dict)]
    if odd:
        raise ValueError(f'{path}: {odd[0]!r} has no facts; expected {{"x.mp4": {{"label": "FAKE"}}}}')
    rows = [
        {"filename": name} | {key: text_of(value) for key, value in entry.items()} for name, entry in content.items()
    ]
    named = pd.DataFrame(rows, columns=None if rows else ["filename"], dtype=object).fillna("")
    return named if "label" in named else named.assign(label="")


def _of_csv(path: Path, text: str) -> pd.DataFrame:
    import pandas as pd

    header = text.lstrip().split("\n", 1)[0]
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if mark in header and "," not in header:
            raise ValueError(f"{path} has {name} between its columns; save it as CSV with commas")
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as CSV: {error}; it needs a header and a row per name") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError(f"{path} has more values in a row than names in its header {header.strip()!r}")
    return table.rename(columns=lambda name: str(name).strip())


def _refuse_contradictions(path: Path, table: pd.DataFrame, key: str) -> None:
    known = table.loc[table["label"].isin(list(TARGETS)), [key, "label"]].drop_duplicates()
    if (twice := known[key].duplicated()).any():
        raise ValueError(f"{path} says REAL and FAKE of {known.loc[twice, key].iloc[0]!r}; leave one of them")


def _say_unknown(path: Path, labels: pd.Series[Any]) -> None:
    unknown = labels[~labels.isin(list(TARGETS))]
    if len(unknown):
        counts = unknown.value_counts()
        kinds = ", ".join(f"{str(label) or 'empty'} {count}" for label, count in counts.head(5).items())
        _say_once(f"{path}: {len(unknown)} of {len(labels)} labels are neither REAL nor FAKE: {kinds}")


@functools.cache
def _say_once(text: str) -> None:
    """Say it on stderr; a command may read one table more than once."""
    print(text, file=sys.stderr)


def widths_of(rows: pd.DataFrame, margin: float) -> pd.Series | None:
    """How wide the faces of a table of crops are in the full frame.

    Args:
        rows: with the box (box_x0, box_x1), or with the width of a ready crop in the frame (original_width).
        margin: of ready crops, on either side of the box, in its widths.

    Returns:
        Pixels, to a tenth, NaN where a row does not tell; None where the table has neither.
    """
    import pandas as pd

    if {"box_x0", "box_x1"} <= set(rows):
        width = pd.to_numeric(rows["box_x1"], errors="coerce") - pd.to_numeric(rows["box_x0"], errors="coerce")
    elif "original_width" in rows:
        width = pd.to_numeric(rows["original_width"], errors="coerce") / (1 + 2 * margin)
    else:
        return None
    return width.round(1)
