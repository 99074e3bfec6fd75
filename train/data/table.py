"""The columns of a table of face crops, the one that `dfdc extract` writes and training reads."""

from __future__ import annotations

import hashlib

import pandas as pd

# The detector's box in the pixels of the stored crop. A crop cut elsewhere has none of these and is taken as TIGHT.
BOX_COLUMNS = ("box_x0", "box_y0", "box_x1", "box_y1")

# Five points in the pixels of the stored crop, in the order of faces.crop.ALIGNED_POINTS; the person's right.
POINTS = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth")
POINT_COLUMNS = tuple(f"{point}_{axis}" for point in POINTS for axis in "xy")

# Where a crop that `dfdc extract` stored lies in its frame, in pixels of the frame.
PLACE_COLUMNS = ("crop_left", "crop_top", "crop_width", "crop_height", "frame_width", "frame_height")

# The fold of what no run trains or validates on.
HOLDOUT = -1

# What the column `split` may hold: trained on, validated on, left alone.
SPLITS = ("train", "val", "test")


def groups_sha256(table: pd.DataFrame) -> str:
    """Return the hex SHA-256 over the sorted names of a table's groups, one to a line: what a run was trained on."""
    return hashlib.sha256("\n".join(sorted(set(table["group"]))).encode()).hexdigest()
