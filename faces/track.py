"""Boxes over frames into people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from faces.boxes import iou_matrix
from faces.detect import SURE, FrameFaces

Floats = NDArray[np.float64]

STRAY = -1  # the person of a box that is nobody's


class _Track:
    """One person so far: the last box, and how it moves."""

    def __init__(self, box: Floats, second: float) -> None:
        self.box, self.second, self.velocity = box, second, np.zeros(2)
        self.seen: list[tuple[int, int]] = []  # (frame, face in that frame)

    def expected(self, second: float) -> Floats:
        """The last box moved on; motion is trusted for half a second, after that the person has turned back or left."""
        shift = self.velocity * min(second - self.second, 0.5)
        return self.box + np.tile(shift, 2)

    def follow(self, box: Floats, second: float) -> None:
        elapsed = max(second - self.second, 1e-3)
        moved = (_centre(box) - _centre(self.box)) / elapsed
        self.velocity = 0.5 * self.velocity + 0.5 * moved
        self.box, self.second = box, second


def track(
    frames: Sequence[FrameFaces],
    seconds: Sequence[float],
    patience: float = 3.0,
    cuts: Sequence[bool] | NDArray[np.bool_] | None = None,
) -> list[NDArray[np.intp]]:
    """Follow people from frame to frame.

    Args:
        frames: the faces of one video, in order.
        seconds: when each frame is shown.
        patience: seconds for which somebody may be out of sight and still be the same person, more where the frames
            themselves lie further apart.
        cuts: whether a cut lies before each frame, as `faces.shots.cuts` finds them; nobody is followed across one.
            None for a video without cuts.

    Returns:
        One (N,) array per frame: the person of each face. Persons are numbered from 0 by how often they are seen, ties
        broken by total area, then by first appearance. STRAY is a box on a track without one sure box, or one seen in a
        single frame of four or more although a neighbouring frame could have shown it again: a chance find of the
        detector, not somebody.

    Raises:
        ValueError: there is not one second, and one cut, per frame.
    """
    tracks: list[_Track] = []
    reach = patience
    # A few frames of a long video may lie seconds apart: the next frame must be within reach, or nobody is seen twice.
    if len(seconds) > 1:
        reach = max(patience, 1.5 * float(np.median(np.diff(seconds))))
    cuts = [False] * len(frames) if cuts is None else cuts
    shot = 0  # the first track of this shot
    for number, (faces, second, cut) in enumerate(zip(frames, seconds, cuts, strict=True)):
        shot = len(tracks) if cut else shot
        boxes = faces.boxes_xyxy.astype(np.float64)
        live = [t for t in tracks[shot:] if second - t.second <= reach]
        taken = _assign([t.expected(second) for t in live], boxes)
        for face, box in enumerate(boxes):
            if face in taken:
                owner = live[taken[face]]
                owner.follow(box, second)
            else:
                owner = _Track(box, second)
                tracks.append(owner)
            owner.seen.append((number, face))
    # Frames that no neighbour could confirm: a cut or a long time lies on both sides.
    apart = np.concatenate([[True], (np.diff(seconds) > patience) | np.asarray(cuts[1:], dtype=bool), [True]])
    return _number(tracks, frames, apart[:-1] & apart[1:] if len(frames) else apart[:0])


def lone_faces(frames: Sequence[FrameFaces], people: Sequence[NDArray[np.intp]]) -> list[tuple[int, int]]:
    """Find the sure faces that `track` calls strays, since they are seen in a single frame.

    Args:
        frames: the faces of one video.
        people: what `track` says of them.

    Returns:
        Frame, and face in that frame, of each.
    """
    return [
        (number, int(face))
        for number, (faces, persons) in enumerate(zip(frames, people, strict=True))
        for face in np.flatnonzero((persons == STRAY) & (faces.scores >= SURE))
    ]


def _assign(expected: list[Floats], boxes: Floats) -> dict[int, int]:
    """Face -> track, the pairing with the greatest total affinity (Kuhn 1955); pairs too far apart are left out."""
    if not expected or not len(boxes):
        return {}
    overlap = iou_matrix(np.stack(expected), boxes)
    affinity = np.array(
        [[_affinity(old, new, overlap[t, n]) for n, new in enumerate(boxes)] for t, old in enumerate(expected)]
    )
    return {column: row for row, column in _best_pairs(affinity) if affinity[row, column] > 0}


def _best_pairs(affinity: Floats) -> list[tuple[int, int]]:
    """Row and column of each pair of the pairing with the greatest sum."""
    if min(affinity.shape) == 1:  # the usual case, and the only one of most videos: no half a second for an import
        row, column = np.unravel_index(int(affinity.argmax()), affinity.shape)
        return [(int(row), int(column))]
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-affinity)
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True)]


def _affinity(old: Floats, new: Floats, iou: float) -> float:
    """IoU, and where boxes of like size no longer overlap a little credit for being near; 0 is a stranger.

    Frames of a ten second clip lie a third of a second apart: a walking person's boxes may just miss each other.
    """
    area_old, area_new = _area(old), _area(new)
    if not (area_old > 0 and area_new > 0):
        return 0.0
    side = np.sqrt(max(area_old, area_new))
    near = 1 - float(np.linalg.norm(_centre(old) - _centre(new))) / side
    alike = min(area_old, area_new) / max(area_old, area_new)
    return float(iou + 0.1 * max(near, 0.0)) if alike > 0.25 else 0.0


def _number(tracks: list[_Track], frames: Sequence[FrameFaces], alone: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    people = [t for t in tracks if len(t.seen) > 1 or len(frames) < 4 or alone[t.seen[0][0]]]
    people = [t for t in people if max(frames[i].scores[j] for i, j in t.seen) >= SURE]
    people.sort(key=lambda t: (-len(t.seen), -sum(_area(frames[i].boxes_xyxy[j]) for i, j in t.seen), t.seen[0]))
    owner = [np.full(len(faces), STRAY, dtype=np.intp) for faces in frames]
    for person, one in enumerate(people):
        for frame, face in one.seen:
            owner[frame][face] = person
    return owner


def _centre(box: Floats) -> Floats:
    return (box[:2] + box[2:]) / 2


def _area(box: NDArray[np.floating]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))
