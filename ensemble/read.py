"""Files of probabilities, as they lie on the disk."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

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
    rows = (
        pd.concat([table[shared].astype({k: "object" for k in KINDS if k in shared}) for table in tables])
        if len(tables) > 1
        else tables[0]
    )
    return rows.astype({name: "category" for name in KINDS if name in rows}).reset_index(drop=True)


def _read_one(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    if path.suffix == ".parquet":
        if importlib.util.find_spec("pyarrow") is None:
            raise ValueError(f"{path} needs pyarrow, which is not installed; run: pip install pyarrow, or give a .csv")
        table = pd.read_parquet(path)
    else:
        try:
            table = pd.read_csv(path, dtype=KINDS, keep_default_na=False, na_values=[""])
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
