"""Which parts of a face an answer hangs on: each is blurred in turn, and the ensemble is asked again.

Occlusion sensitivity of Zeiler and Fergus 2014 (arXiv:1311.2901), with a blur in place of a grey square: a square's own
edges would look like those of a pasted face, which is what some members look for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ensemble.blend import Blend
from ensemble.convex import mix_logit
from ensemble.metrics import Floats
from faces.crop import Boxes, CropSpec, Image, cut
from models.backend import LoadedMember

CELLS = 6  # per side of the face: one blurred patch in each of the 36 places
SIDE = 96  # pixels of the box on the canvas where patches are drawn: crops of a larger face need no finer edge
BLUR = 1 / 12  # of the crop's side: the standard deviation that leaves neither texture nor seams
STRENGTH = 0.65  # of the colour where the answer falls most, so that the face is still seen


def occlusion_map(
    members: Sequence[LoadedMember],
    blend: Blend,
    crops: Mapping[CropSpec, Image],
    box_xyxy: Boxes,
    points_xy: Boxes | None,
    view: CropSpec,
    mirrored: bool = False,
) -> Floats:
    """Measure how much the answer for one face falls where a part of it is blurred.

    Args:
        members: those of the blend.
        blend: makes one answer of their logits.
        crops: the face as each member sees it, cut by its CropSpec; (size, size, 3) each.
        box_xyxy: the face's box, (4,) pixels of its frame.
        points_xy: its five points, (5, 2) pixels of its frame; None where no member aligns by them.
        view: the crop on which the map is laid.
        mirrored: the crops were turned left to right after they were cut.

    Returns:
        (view.size, view.size) logits by which the answer falls, 0 where it does not; before a calibration by the width
        of the faces, which stretches all of them alike.
    """
    box, points = _on_canvas(box_xyxy, points_xy)
    patches = [_patch(row, column) for row in range(CELLS) for column in range(CELLS)]
    logits = []
    for name in blend.members:
        member = next(loaded for loaded in members if loaded.card.name == name)
        spec = member.card.crop
        covers = [_cover(patch, box, points, spec, mirrored) for patch in patches]
        logits.append(member.logits([crops[spec], *(_blurred(crops[spec], cover) for cover in covers)]))
    answers = mix_logit(np.stack(logits, axis=1), blend.mix, blend.space)
    shown = np.stack([_cover(patch, box, None, view, False) for patch in patches])
    # Patches overlap: a pixel has the mean over the patches that cover it.
    falls = np.tensordot(np.maximum(answers[0] - answers[1:], 0), shown, axes=1) / np.maximum(shown.sum(axis=0), 1e-6)
    return np.asarray(np.where(shown.max(axis=0) > 0, falls, 0.0), dtype=np.float64)


def paint(picture: Image, falls: Floats) -> Image:
    """Lay a map over the picture of a face: the redder, the more the answer falls.

    Args:
        picture: (S, S, 3) uint8 RGB.
        falls: (S, S), 0 or more.

    Returns:
        (S, S, 3) uint8 RGB; the picture itself where nothing falls.
    """
    share = STRENGTH * (falls / max(float(falls.max()), 1e-9))[..., None]
    red = np.array([214, 30, 30], dtype=np.float64)
    return np.asarray(np.round(picture * (1 - share) + red * share), dtype=np.uint8)


def _on_canvas(box_xyxy: Boxes, points_xy: Boxes | None) -> tuple[Boxes, Boxes | None]:
    """Box and points, moved and scaled so that the box lies in the middle of a canvas of three times its side."""
    sides = np.array([box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1]], dtype=np.float64)
    scale = SIDE / float(sides.mean())
    middle = (np.asarray(box_xyxy[:2], dtype=np.float64) + box_xyxy[2:]) / 2
    centre = 1.5 * SIDE
    box = np.concatenate([centre - sides * scale / 2, centre + sides * scale / 2]).astype(np.float32)
    return box, None if points_xy is None else ((points_xy - middle) * scale + centre).astype(np.float32)


def _patch(row: int, column: int) -> Image:
    """A canvas, (3 SIDE, 3 SIDE, 3): white and soft where one cell of the face is, a little larger than the cell."""
    step = SIDE / CELLS
    canvas = np.zeros((3 * SIDE, 3 * SIDE, 3), dtype=np.uint8)
    top, left = (round(SIDE + (number - 0.25) * step) for number in (row, column))
    canvas[top : top + round(1.5 * step), left : left + round(1.5 * step)] = 255
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), step / 4), dtype=np.uint8)


def _cover(patch: Image, box: Boxes, points: Boxes | None, spec: CropSpec, mirrored: bool) -> NDArray[np.float64]:
    """Where a patch lies in a crop, (size, size) in 0..1."""
    cover = cut(patch, box, spec, points)[..., 0].astype(np.float64) / 255
    return np.flip(cover, 1) if mirrored else cover


def _blurred(crop: Image, cover: NDArray[np.float64]) -> Image:
    soft = cv2.GaussianBlur(crop, (0, 0), BLUR * crop.shape[0])
    share = cover[..., None]
    return np.asarray(np.round(crop * (1 - share) + soft * share), dtype=np.uint8)
