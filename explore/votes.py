"""Detectors held against each other: a face is what enough of them agree on, the rest is a look at their errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faces.boxes import box_areas, iou_matrix, shared_areas

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

CORNERS = ["x0", "y0", "x1", "y1"]
FACE_COLUMNS = ("filename", "frame", "face", *CORNERS, "votes", "detectors")

# Detectors that share a vote: one network over other parts of the frame repeats its own errors.
FAMILIES = {"blazeface_back_tiles": "blazeface_back"}
# The cascade hands on what BlazeFace or MTCNN found: it is compared with the vote, but has none itself.
VOTELESS = ("cascade",)

NOBODY = -1
# Share of the smaller box that lies in the larger one, from which on it counts as inside.
INSIDE = 0.7


def vote(boxes: pd.DataFrame, looked: pd.DataFrame, least: int = 2, iou: float = 0.4) -> pd.DataFrame:
    """Find the faces that at least `least` families of detectors agree on.

    Per frame the box with the most votes (then with the largest overlap with its supporters) is taken together with all
    that overlap it, again and again.

    Args:
        boxes: of `detectors.compare`.
        looked: of `detectors.compare`.
        least: families that must agree.
        iou: intersection over union from which on two boxes are of one face.

    Returns:
        FACE_COLUMNS, a row per face: its number in the frame, the box that was taken in pixels, the number of families
        and the detectors' names.

    Raises:
        ValueError: `least` is below 1, an iou outside 0..1, or a box lies in a frame that nobody looked at.
    """
    if least < 1 or not 0 < iou <= 1:
        raise ValueError(f"a vote of {least} detectors at iou {iou}: at least 1 is needed, and an iou in 0..1")
    seen = set(zip(looked["filename"], looked["frame"], strict=True))
    rows = []
    voters = boxes[~boxes["detector"].isin(VOTELESS)]
    for (filename, frame), group in voters.groupby(["filename", "frame"], sort=True):
        if (filename, frame) not in seen:
            raise ValueError(f"boxes of {filename} frame {frame}, which is not among the frames looked at")
        names = group["detector"].to_numpy()
        for number, (seed, members) in enumerate(_agreed(_corners(group), names, least, iou)):
            voices = sorted(set(names[members]))
            count = len({FAMILIES.get(name, name) for name in voices})
            rows.append((filename, frame, number, *group[CORNERS].iloc[seed], count, " ".join(voices)))
    return pd.DataFrame(rows, columns=list(FACE_COLUMNS))


def _agreed(boxes: Floats, names: NDArray[np.object_], least: int, iou: float) -> Iterator[tuple[int, Ints]]:
    """The boxes of one frame that faces are taken from, each with all boxes that it stands for."""
    overlap = iou_matrix(boxes, boxes)
    families, family = np.unique([FAMILIES.get(name, name) for name in names], return_inverse=True)
    one_hot = np.eye(len(families))[family]
    free = np.ones(len(boxes), dtype=bool)
    while free.any():
        near = (overlap >= iou) & free & free[:, None]
        votes = ((near @ one_hot) > 0).sum(axis=1)
        seed = int(np.lexsort((-(overlap * near).sum(axis=1), -votes))[0])
        if votes[seed] < least:
            return
        members = np.flatnonzero(near[seed])
        yield seed, members
        free[members] = False


def matched(boxes: pd.DataFrame, faces: pd.DataFrame, iou: float = 0.4) -> pd.Series:
    """Say which face each box is of.

    A face is given to one box of each detector, the pairs with the largest overlap first, so that a second box over the
    same face is false.

    Args:
        boxes: of `detectors.compare`.
        faces: of `vote`.
        iou: intersection over union from which on a box is of a face.

    Returns:
        The number of the face, NOBODY for a false box; indexed as `boxes`.
    """
    answer = np.full(len(boxes), NOBODY, dtype=np.int64)
    corners, theirs, numbers = _corners(boxes), _corners(faces), faces["face"].to_numpy(dtype=np.int64)
    known = faces.groupby(["filename", "frame"]).indices
    for (filename, frame, _), mine in boxes.groupby(["filename", "frame", "detector"]).indices.items():
        if (here := known.get((filename, frame))) is not None:
            box, face = _pairs(iou_matrix(corners[mine], theirs[here]), iou)
            answer[mine[box]] = numbers[here[face]]
    return pd.Series(answer, index=boxes.index)


def summary(
    boxes: pd.DataFrame, looked: pd.DataFrame, timing: pd.DataFrame, faces: pd.DataFrame, iou: float = 0.4
) -> pd.DataFrame:
    """Sum up how each detector did.

    Args:
        boxes: of `detectors.compare`.
        looked: of `detectors.compare`.
        timing: of `detectors.compare`.
        faces: of `vote`.
        iou: as for `matched`.

    Returns:
        A row per detector in the order of `timing`: detector, frames, frames_with_face and videos_with_face (where it
        gave a box), boxes, faces_per_frame, faces_per_video (frames added up), median_side (pixels, the root of a box's
        area), median_score (on the detector's own scale), ms_per_frame; and by the vote found, missed, false,
        missed_largest (frames whose largest face was missed), precision = found / boxes and recall = found / faces, NaN
        where nothing is divided.
    """
    of = matched(boxes, faces, iou)
    hits = set(zip(boxes["filename"], boxes["frame"], of, boxes["detector"], strict=True))
    area = pd.Series(box_areas(_corners(faces)), index=faces.index)
    largest = faces.loc[area.groupby([faces["filename"], faces["frame"]]).idxmax()]
    first = list(zip(largest["filename"], largest["frame"], largest["face"], strict=True))
    videos = looked["filename"].nunique()
    rows = []
    for name, cost in zip(timing["detector"], timing["ms_per_frame"], strict=True):
        mine = boxes[boxes["detector"] == name]
        found = int((of[mine.index] != NOBODY).sum())
        corners = _corners(mine)
        sides = np.sqrt((corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1]))
        rows.append({
            "detector": name, "frames": len(looked),
            "frames_with_face": len(mine[["filename", "frame"]].drop_duplicates()),
            "videos_with_face": mine["filename"].nunique(), "boxes": len(mine),
            "faces_per_frame": _ratio(len(mine), len(looked)), "faces_per_video": _ratio(len(mine), videos),
            "median_side": float(np.median(sides)) if len(mine) else np.nan,
            "median_score": float(mine["score"].median()) if len(mine) else np.nan, "ms_per_frame": cost,
            "found": found, "missed": len(faces) - found, "false": len(mine) - found,
            "missed_largest": sum((*key, name) not in hits for key in first),
            "precision": _ratio(found, len(mine)), "recall": _ratio(found, len(faces)),
        })  # fmt: skip
    return pd.DataFrame(rows)


def agreement(boxes: pd.DataFrame, names: Sequence[str], iou: float = 0.4) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure how far detectors see the same.

    Args:
        boxes: of `detectors.compare`.
        names: the detectors.
        iou: as for `matched`.

    Returns:
        Two tables with a row and a column per name. The first: the share of the row's boxes that have a partner among
        the column's, one each. The second: the mean intersection over union of those pairs. NaN where there is no box
        or pair.
    """
    pairs, total = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    everything, detector = _corners(boxes), boxes["detector"].to_numpy()
    for here in boxes.groupby(["filename", "frame"]).indices.values():
        corners = [everything[here[detector[here] == name]] for name in names]
        for row, mine in enumerate(corners):
            for column, theirs in enumerate(corners):
                overlap = iou_matrix(mine, theirs)
                one, other = _pairs(overlap, iou)
                pairs[row, column] += len(one)
                total[row, column] += overlap[one, other].sum()
    counts = np.array([(boxes["detector"] == name).sum() for name in names])[:, None]
    share = np.divide(pairs, counts, out=np.full_like(pairs, np.nan), where=counts > 0)
    mean = np.divide(total, pairs, out=np.full_like(pairs, np.nan), where=pairs > 0)
    return pd.DataFrame(share, names, names), pd.DataFrame(mean, names, names)


def false_boxes(boxes: pd.DataFrame, faces: pd.DataFrame, iou: float = 0.4) -> pd.DataFrame:
    """List the boxes that are of no face by the vote.

    Args:
        boxes: of `detectors.compare`.
        faces: of `vote`.
        iou: as for `matched`.

    Returns:
        Rows of `boxes` with a column `kind`: "double" over a face that another box of the detector is of, "inside a
        face", "around a face", "beside a face" where they overlap otherwise, "elsewhere" where no face is near: on a
        shirt, on a board, or a face that one detector alone saw.
    """
    wrong = boxes[matched(boxes, faces, iou) == NOBODY].copy()
    known = dict(iter(faces.groupby(["filename", "frame"])))
    kinds = []
    for row in wrong.itertuples():
        near = known.get((row.filename, row.frame))
        box = np.array([[row.x0, row.y0, row.x1, row.y1]], dtype=np.float64)
        kinds.append("elsewhere" if near is None else _kind(box, _corners(near), iou))
    wrong["kind"] = pd.Series(kinds, index=wrong.index, dtype=object)
    return wrong.sort_values(["filename", "frame", "detector"], kind="stable", ignore_index=True)


def missed_faces(boxes: pd.DataFrame, faces: pd.DataFrame, names: Sequence[str], iou: float = 0.4) -> pd.DataFrame:
    """List the faces that a detector did not find.

    Args:
        boxes: of `detectors.compare`.
        faces: of `vote`.
        names: the detectors that looked.
        iou: as for `matched`.

    Returns:
        Rows of `faces` with the detector's name in `missed_by`.
    """
    of = matched(boxes, faces, iou)
    hits = set(zip(boxes["filename"], boxes["frame"], of, boxes["detector"], strict=True))
    keys = list(zip(faces["filename"], faces["frame"], faces["face"], strict=True))
    gone = {name: np.array([(*key, name) not in hits for key in keys], dtype=bool) for name in names}
    parts = [faces[rows].assign(missed_by=name) for name, rows in gone.items()]
    return pd.concat(parts, ignore_index=True).sort_values(["filename", "frame", "face"], kind="stable")


def _pairs(overlap: Floats, iou: float) -> tuple[Ints, Ints]:
    """Rows and columns paired one to one, the largest overlap first, down to `iou`."""
    left = overlap.copy()
    rows, columns = [], []
    while left.size and left.max() >= iou:
        row, column = np.unravel_index(int(left.argmax()), left.shape)
        rows.append(row)
        columns.append(column)
        left[row], left[:, column] = -1, -1
    return np.array(rows, dtype=np.intp), np.array(columns, dtype=np.intp)


def _kind(box: Floats, faces: Floats, iou: float) -> str:
    shared = shared_areas(box, faces)[0]
    near = int(shared.argmax())
    if shared[near] <= 0:
        return "elsewhere"
    if iou_matrix(box, faces).max() >= iou:
        return "double"
    area, face = float(box_areas(box)[0]), float(box_areas(faces)[near])
    if shared[near] < INSIDE * min(area, face):
        return "beside a face"
    return "inside a face" if area < face else "around a face"


def _corners(rows: pd.DataFrame) -> Floats:
    return np.asarray(rows[CORNERS], dtype=np.float64)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else np.nan
