"""The columns of a table of face crops, the one that `dfdc extract` writes and training reads."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


DIGEST = 5  # bytes of a group's digest: among 20,000 groups of a training, one in 50 million others is mistaken


def group_digests(table: pd.DataFrame) -> str:
    """Return what tells whether a table had a group, without its name.

    Returns:
        Base64 of the sorted first bytes of the SHA-256 of each group's name, DIGEST bytes each.
    """
    return base64.b64encode(b"".join(sorted(set(map(_digest, set(table["group"])))))).decode("ascii")


def known_groups(digests: str, table: pd.DataFrame) -> frozenset[str]:
    """Find the groups of a table that another one had.

    Args:
        digests: of `group_digests`, of the other table.
        table: has a column group.

    Raises:
        ValueError: the text is not that of `group_digests`.
    """
    packed = base64.b64decode(digests, validate=True)
    if len(packed) % DIGEST:
        raise ValueError(f"{len(packed)} bytes of digests are not a multiple of {DIGEST}")
    seen = {packed[at : at + DIGEST] for at in range(0, len(packed), DIGEST)}
    return frozenset(group for group in set(table["group"]) if _digest(group) in seen)


def _digest(group: str) -> bytes:
    return hashlib.sha256(group.encode()).digest()[:DIGEST]


def groups_sha256(table: pd.DataFrame) -> str:
    """Return the hex SHA-256 over the sorted names of a table's groups, one to a line: what a run was trained on."""
    return hashlib.sha256("\n".join(sorted(set(table["group"]))).encode()).hexdigest()
