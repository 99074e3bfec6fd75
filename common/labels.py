"""The truth: a CSV of labels, read and checked."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


def read_labels(path: Path) -> pd.DataFrame:
    """A labels CSV: columns `face` and/or `filename`, `label` (REAL/FAKE), optionally `original`, a group, `split`.

    Returns it with `target` (1.0 fake, 0.0 real, NaN otherwise) and `group` (from `group`, `original_group` or the row
    itself). ValueError naming the column that is missing.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    key = next((c for c in ("face", "filename") if c in table.columns), None)
    if key is None or "label" not in table.columns:
        raise ValueError(f"{path} needs a column 'label' and one of 'face', 'filename'; it has {list(table.columns)}")
    group = next((c for c in ("group", "original_group") if c in table.columns), key)
    return table.assign(
        target=table["label"].str.upper().map({"FAKE": 1.0, "REAL": 0.0}).astype(float),
        group=table[group].where(table[group] != "", table[key]),
    )
