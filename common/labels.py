"""The truth: a CSV of labels, read and checked."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

VIDEO_METADATA = "metadata.json"  # in each part of DFDC's training videos: what is known of them

# What stands for nothing in one release of the metadata or another.
NOTHING = {"", "nan", "none", "null"}


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


def text_of(value: object) -> str:
    """Stripped; "" for what stands for nothing: absent, null, or a float NaN in tables that went through pandas."""
    text = "" if value is None else str(value).strip()
    return "" if text.lower() in NOTHING else text
