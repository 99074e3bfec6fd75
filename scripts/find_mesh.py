#!/usr/bin/env python3
"""Find the dense mesh of ready face crops: what the blending family makes its masks and swaps from.

Writes one .npz beside the crops: `faces` (N,) their names, `points` (N, 468, 2) float16 pixels of the crop, NaN where
the network sees no face. The mesh is MediaPipe's (Kartynnik et al. 2019), out of a package installed for its files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from common.errors import DfdcError
from common.files import atomic_path
from explore.landmarks import MESH, mesh_points
from faces.crop import box_inside_crop
from faces.store import CropStore
from models.registry import TIGHT
from train.data.table import BOX_COLUMNS, POINT_COLUMNS


def find_meshes(store: CropStore, table: pd.DataFrame) -> NDArray[np.float16]:
    """The mesh of every row's face, (N, 468, 2) pixels of its crop, NaN where none was found.

    Args:
        store: the crops.
        table: a column `face`; box and point columns of train.data.table where they are known. Without a box the crop
            is taken as tight; without eyes it is taken as upright.
    """
    boxes = _numbers(table, BOX_COLUMNS)
    eyes = _numbers(table, POINT_COLUMNS[:4])
    found = np.full((len(table), MESH.points, 2), np.nan, dtype=np.float16)
    for row, name in enumerate(tqdm(table["face"], desc="mesh", unit="face")):
        image, box, pair = store.read(name), boxes[row], eyes[row].reshape(2, 2)
        if not np.isfinite(box).all():
            box = box_inside_crop(TIGHT, image.shape[1], image.shape[0])
        points = mesh_points(image, box, pair if np.isfinite(pair).all() else None)
        if points is not None:
            found[row] = points
    return found


def _numbers(table: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.float32]:
    if not set(columns) <= set(table.columns):
        return np.full((len(table), len(columns)), np.nan, dtype=np.float32)
    return table[list(columns)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float32)


def main(arguments: Sequence[str] | None = None) -> None:
    """Find the meshes of all faces and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path, help="folders or uncompressed tars of face crops")
    parser.add_argument("--labels", required=True, type=Path, help="CSV with a column face; boxes and points if known")
    parser.add_argument("-o", "--output", required=True, type=Path, help="the .npz to write")
    options = parser.parse_args(arguments)
    store, table = CropStore(options.sources), pd.read_csv(options.labels)
    table = table[table["face"].isin(store.index.keys())].reset_index(drop=True)
    points = find_meshes(store, table)
    with atomic_path(options.output) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, faces=table["face"].to_numpy(dtype=str), points=points)
    print(f"{options.output}: {int(np.isfinite(points).all(axis=(1, 2)).sum())} of {len(table)} faces have a mesh")


if __name__ == "__main__":
    try:
        main()
    except (DfdcError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
