"""Whether stored crops hold all that a member looks at: a member added after an extraction may look wider."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from faces.crop import CropSpec, inside, reach
from train.data.table import BOX_COLUMNS, PLACE_COLUMNS, POINT_COLUMNS


def check_coverage(table: pd.DataFrame, spec: CropSpec) -> None:
    """Hold that the stored crops have all the pixels of the frame that a member looks at.

    Args:
        table: rows of the index of `dfdc extract`. Rows without its columns (ready face crops) cannot be checked.
        spec: what the member cuts.

    Raises:
        ValueError: some crops are too small; the message says how many.
    """
    needed = [*PLACE_COLUMNS, *BOX_COLUMNS, *POINT_COLUMNS]
    if not set(needed) <= set(table.columns):
        return
    numbers = table[needed].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    rows = np.flatnonzero(np.isfinite(numbers).all(axis=1))
    short = [row for row in tqdm(rows, desc="coverage", disable=len(rows) < 100_000) if not _covers(numbers[row], spec)]
    if short:
        raise ValueError(
            f"{len(short)} of {len(table)} stored crops are too small for {spec.name!r} (margin {spec.margin}), the "
            f"first is {table['face'].iloc[short[0]]}; extract again, or with a larger --margin"
        )


def _covers(row: NDArray[np.float64], spec: CropSpec) -> bool:
    left, top, width, height, frame_width, frame_height = (int(v) for v in row[:6])
    box, points = row[6:10].astype(np.float32), row[10:].astype(np.float32).reshape(5, 2)
    rect = reach(box, spec, points)
    there = (rect[0] + left, rect[1] + top, rect[2] + left, rect[3] + top)
    wanted = inside(there, frame_width, frame_height)
    return wanted[0] >= left and wanted[1] >= top and wanted[2] <= left + width and wanted[3] <= top + height
