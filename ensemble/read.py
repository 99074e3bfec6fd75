"""Files of probabilities, as they lie on the disk."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

# What is read of a table; others, such as the name of each face, may be as long as all of these together.
USED = frozenset(
    ("filename", "member", "frame", "person", "logit", "status", "label", "group", "degradation", "face_pixels")
)
PIECE = 1_000_000  # rows
NEEDED = ("filename", "member", "frame", "person", "logit")
# Categories make a table of tens of millions of rows fit: its names repeat for every frame and member.
KINDS = {"filename": "category", "member": "category", "status": "category", "label": "category", "group": "category"}


def read_rows(paths: Sequence[Path]) -> pd.DataFrame:
    """Read tables of probabilities as one.

    Args:
        paths: CSV or Parquet, each with the columns of NEEDED and perhaps more.

    Returns:
        Their rows one below the other, with the columns that all have; names are categories.

    Raises:
        ValueError: a file is missing, is no table of probabilities, or has a logit that is no finite number.
    """
    if not paths:
        raise ValueError("give at least one table of probabilities")
    tables = [_read_one(path) for path in paths]
    shared = [name for name in tables[0].columns if all(name in table for table in tables)]
    return _stack([table[shared] for table in tables])


def _stack(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables of the same columns, one below the other; categories stay categories, whose names are kept once."""
    columns = {}
    for name in tables[0].columns:
        parts = [table[name] for table in tables]
        if name in KINDS:
            columns[name] = pd.Series(union_categoricals([part.astype("category") for part in parts]))
        else:
            columns[name] = pd.concat(parts, ignore_index=True)
    return pd.DataFrame(columns)


def _smaller(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers in four bytes where that loses nothing; what is no number stays as it is, and is named later."""
    kept = {}
    for name in ("logit", "frame", "person", "face_pixels"):
        if name in table and pd.api.types.is_numeric_dtype(table[name]):
            values = table[name].to_numpy()
            small = values.astype(np.float32)
            exact = name in ("logit", "face_pixels") or bool(
                (small[~np.isnan(small)] == values[~np.isnan(values)]).all()
            )
            kept[name] = small if exact else values
    return table.assign(**kept)


def _read_one(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    if path.suffix == ".parquet":
        if importlib.util.find_spec("pyarrow") is None:
            raise ValueError(f"{path} needs pyarrow, which is not installed; run: pip install pyarrow, or give a .csv")
        table = pd.read_parquet(path)
        table = table[[name for name in table.columns if name in USED]]
    else:
        try:
            # In pieces: what the parser holds of a piece is several times what is kept of it.
            pieces = pd.read_csv(
                path, dtype=KINDS, keep_default_na=False, na_values=[""], usecols=USED.__contains__, chunksize=PIECE
            )
            table = _stack([_smaller(piece) for piece in pieces])
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 text ({error.reason}); save it as CSV in UTF-8") from error
    if missing := [name for name in NEEDED if name not in table]:
        raise ValueError(
            f"{path} lacks the columns {', '.join(missing)}; tables of probabilities are written by dfdc holdout, "
            f"dfdc oof and dfdc predict --probabilities"
        )
    scored = table["member"].notna()
    logit = pd.to_numeric(table["logit"], errors="coerce")
    bad = scored & ~np.isfinite(logit.to_numpy(dtype=np.float64))
    if bad.any():
        row = table[bad].iloc[0]
        raise ValueError(f"{path}: member {row['member']!r} has the logit {row['logit']} for {row['filename']!r}")
    return table.assign(logit=logit.astype(np.float32))
