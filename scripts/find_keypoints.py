#!/usr/bin/env python3
"""Find the five points of ready face crops, so that members which align can be trained on them.

BlazeFace looks at each crop set into a frame that repeats its edge: a face that fills the picture is not found, one
with some room around it is. Writes the labels CSV with the columns of train.data.table.POINT_COLUMNS added, in pixels
of the crop; they stay empty where no face of about the crop's size was found. The other columns stay as they are.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from common.errors import DfdcError
from common.files import atomic_path
from faces.crop import Image
from faces.detect import LIKELY, SURE, BlazeDetector, FrameFaces
from faces.store import CropStore
from faces.tiles import letterbox
from train.data.table import POINT_COLUMNS

# Shares of the crop's side by which it is widened, tried in turn until a face is sure.
PADS = (0.6, 0.3, 1.0)


def find_points(crop: Image, blaze: BlazeDetector) -> NDArray[np.float32] | None:
    """The five points of the face that fills `crop`, (5, 2) pixels of the crop; None when there is no such face."""
    best_score, best_points = 0.0, None
    for pad in PADS:
        border = round(max(crop.shape[:2]) * pad)
        framed = cv2.copyMakeBorder(crop, border, border, border, border, cv2.BORDER_REPLICATE)
        faces = blaze([np.asarray(framed, dtype=np.uint8)])[0]
        index = main_face(faces, border, crop.shape[1], crop.shape[0])
        if index is not None and faces.scores[index] > best_score:
            best_score, best_points = float(faces.scores[index]), faces.points_xy[index] - np.float32(border)
        if best_score >= SURE:
            break
    return best_points


def main_face(faces: FrameFaces, border: int, width: int, height: int) -> int | None:
    """The surest face about as large as the crop whose box holds the crop's centre; faces come best score first."""
    side = (width + height) / 2
    for index, (x0, y0, x1, y1) in enumerate(faces.boxes_xyxy - border):
        if x0 < width / 2 < x1 and y0 < height / 2 < y1 and 0.5 < (x1 - x0 + y1 - y0) / 2 / side < 1.5:
            return index
    return None


def run(sources: Sequence[Path], labels: Path, output: Path) -> tuple[int, int]:
    """Write `output`; returns how many rows there are and how many have points. A row without a crop is an error."""
    with labels.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        columns = list(reader.fieldnames or ())
        rows = list(reader)
    if "face" not in columns:
        raise ValueError(f"{labels} needs a column 'face', the name of the crop; it has {columns}")
    if twice := sorted(set(columns) & set(POINT_COLUMNS)):
        raise ValueError(f"{labels} has the column {twice[0]!r} already; give the table without points")
    store = CropStore(sources)
    if missing := sorted({row["face"] for row in rows} - store.index.keys()):
        raise ValueError(f"{len(missing)} faces of {labels} are in none of the sources, the first is {missing[0]!r}")
    blaze = BlazeDetector("back", letterbox, torch.device("cpu"), threshold=LIKELY)
    found = 0
    with atomic_path(output) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, [*columns, *POINT_COLUMNS], lineterminator="\n")
        writer.writeheader()
        for row in tqdm(rows, desc="crops"):
            points = find_points(store.read(row["face"]), blaze)
            values = [""] * len(POINT_COLUMNS) if points is None else [str(v) for v in points.ravel()]
            found += points is not None
            writer.writerow({**row, **dict(zip(POINT_COLUMNS, values, strict=True))})
    return len(rows), found


def main() -> None:
    """Parse, find, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crops", type=Path, nargs="+", help="folders or plain tars of face crops")
    parser.add_argument("--labels", type=Path, required=True, help="CSV with a column 'face'")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the CSV with points")
    options = parser.parse_args()
    try:
        rows, found = run(options.crops, options.labels, options.output)
    except (ValueError, DfdcError) as error:
        raise SystemExit(str(error)) from error
    print(f"{options.output}: points for {found} of {rows} faces ({found / max(1, rows):.1%})", file=sys.stderr)


if __name__ == "__main__":
    main()
