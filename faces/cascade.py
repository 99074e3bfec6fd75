"""The cascade of detectors that finds the faces of a video, with its reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from common.device import Device
from common.engine import Engine
from faces.between import faces_between
from faces.crop import Image
from faces.detect import NO_FACES, SURE, BlazeDetector, Candidates, FrameFaces, MtcnnDetector
from faces.tiles import Tile, focus, letterbox, overlapping_tiles, short_side_tiles

if TYPE_CHECKING:
    import torch

# A crowd shows the first look many weak candidates. Above a score of 0.2, in the middle of three frames: 9 to 25 in
# calls of 9 to 25 people, 4 or more in calls of 4 and 6. Of 36 clips of DFDC and FaceForensics++ with one or two people
# 8 have 4 or more, and small tiles find nobody else there.
WEAK, CROWD = 0.2, 4
CROWD_PROBES = 3  # frames on which a crowd is looked for
CROWD_PARTS = 3  # tiles have the short side over this: 28 of a 16:9 frame, and all of 10 people in 5 x 2 are found
MORE = 2  # sure faces more than before in the middle probe, so that the tiles are worth it on every frame


class Cascade:
    """The detector of the pipeline: cheap first, dearer steps only where the cheap ones found nothing sure.

    1. BlazeFace back on the letterboxed frame.
    2. BlazeFace back on one square around the likely face (of the frame, or of the nearest frame that has one), on the
       frames without a sure face, when they are more than `bearable`; the surer answer stays. Where the caller allows
       it, both steps leave out a frame whose neighbours then show the same faces (faces/between.py).
    3. BlazeFace back on tiles of the whole frame, on the frames without any face, or without a sure one while the
       video has none, when they are more than `bearable`.
    4. BlazeFace back on small tiles, where a video call or a group shows the first look many weak candidates: on a few
       frames first those around the candidates, then all, and on all frames those that have faces.
    5. MTCNN, on a few frames of a video without any sure face, on the rest when that finds one; else what was found
       so far is given up as chance.
    """

    def __init__(self, device: Device | torch.device, engine: Engine | None = None, threads: int = 0) -> None:
        self._device = device
        self._first = BlazeDetector("back", letterbox, device, engine=engine, threads=threads)
        self._tiles = self._first.with_tiles(short_side_tiles)
        self._mtcnn: MtcnnDetector | None = None
        self.bearable = 0.1  # share of frames without a face that changes no verdict
        self.probes = 4  # frames that MTCNN looks at before it is given the whole video

    def __call__(
        self, images: Sequence[Image], thorough: bool = True, between: NDArray[np.bool_] | None = None
    ) -> list[FrameFaces]:
        """Find the faces of one video.

        Args:
            images: its frames, (H, W, 3) uint8 RGB each.
            thorough: False stops after step 1, for a run that is short of time.
            between: (N,) the frames whose faces may be taken from their neighbours, of `frames_between`; none without.

        Returns:
            One FrameFaces for each frame; its `detector` tells what found it.
        """
        found: list[FrameFaces] = [NO_FACES] * len(images)
        seen = self._first_steps(found, images, thorough, between)
        if not thorough:
            return found if images and max(faces.best for faces in found) >= SURE else [NO_FACES] * len(images)
        needed = 0.0 if found and max(faces.best for faces in found) >= SURE else SURE
        missing = [i for i, faces in enumerate(found) if faces.best <= needed]
        if len(missing) > self.bearable * len(images):
            _improve(found, missing, self._tiles([images[i] for i in missing]))
        self._crowd(found, images, seen)
        if images and max(faces.best for faces in found) < SURE:
            return self._last_resort(images)
        return found

    def _first_steps(
        self, found: list[FrameFaces], images: Sequence[Image], thorough: bool, between: NDArray[np.bool_] | None
    ) -> dict[int, Candidates]:
        """Steps 1 and 2, first on the frames that others may take their faces from. Returns what step 1 saw."""
        left_out = [] if between is None else np.flatnonzero(between).tolist()
        searched = [i for i in range(len(images)) if i not in left_out]
        seen = self._search(found, images, searched, thorough)
        asked: list[int] = []
        for i in left_out:
            taken = faces_between(found[i - 1], found[i + 1])
            if taken is None:
                asked.append(i)
            else:
                found[i] = taken
        return seen | self._search(found, images, asked, thorough)

    def _search(
        self, found: list[FrameFaces], images: Sequence[Image], frames: list[int], thorough: bool
    ) -> dict[int, Candidates]:
        """Steps 1 and 2 on some frames. Returns what step 1 saw, by frame number."""
        seen = dict(zip(frames, self._first.candidates([images[i] for i in frames]), strict=True))
        for i, candidates in seen.items():
            found[i] = self._first.faces_of(candidates)
        unsure = [i for i in frames if found[i].best < SURE]
        if thorough and len(unsure) > self.bearable * len(frames):
            self._focus(found, images, unsure)
        return seen

    def first_look(self, images: Sequence[Image]) -> list[FrameFaces]:
        """What step 1 finds, sure or not."""
        return self._first(images)

    def mtcnn(self, images: Sequence[Image]) -> list[FrameFaces]:
        """What MTCNN finds, which is loaded when it is first needed."""
        if self._mtcnn is None:
            self._mtcnn = MtcnnDetector(self._device)
        return self._mtcnn(images)

    def _focus(self, found: list[FrameFaces], images: Sequence[Image], frames: list[int]) -> None:
        likely = np.array([i for i, faces in enumerate(found) if len(faces)])
        if not len(likely):
            return
        tiles = []
        for i in frames:
            nearest = found[likely[np.abs(likely - i).argmin()]]
            tiles.append(focus(images[i].shape[1], images[i].shape[0], nearest.boxes_xyxy[0], self._first.size))
        _improve(found, frames, self._first.look_at([images[i] for i in frames], tiles, "back_focus"))

    def _crowd(self, found: list[FrameFaces], images: Sequence[Image], seen: dict[int, Candidates]) -> None:
        """Look where the faces of a crowd are too small for the steps before; a sure face does not end the search."""
        if len({image.shape for image in images}) != 1:  # none, or a video whose picture changes its size
            return
        probes = [sorted(seen)[i] for i in _spread(len(seen), CROWD_PROBES)]
        weak = [self._first.faces_of(seen[i], threshold=WEAK) for i in probes]
        if np.median([len(faces) for faces in weak]) < CROWD:
            return
        height, width = images[0].shape[:2]
        tiles = overlapping_tiles(width, height, CROWD_PARTS)
        looked: list[FrameFaces] = []
        for chosen in (_tiles_with_faces(tiles, weak), tiles):  # some of them first: most videos are no crowd
            looked = self._first.look_at([images[i] for i in probes], [chosen] * len(probes), "back_crowd")
            if np.median([_sure(there) - _sure(found[i]) for i, there in zip(probes, looked, strict=True)]) < MORE:
                return
        chosen = [*letterbox(width, height), *short_side_tiles(width, height), *_tiles_with_faces(tiles, looked)]
        found[:] = self._first.look_at(images, [chosen] * len(images), "back_crowd")

    def _last_resort(self, images: Sequence[Image]) -> list[FrameFaces]:
        found = [NO_FACES] * len(images)
        probes = _spread(len(images), self.probes)
        _improve(found, probes, self.mtcnn([images[i] for i in probes]))
        if any(len(faces) for faces in found):
            rest = [i for i in range(len(images)) if i not in probes]
            _improve(found, rest, self.mtcnn([images[i] for i in rest]))
        return found


def _improve(found: list[FrameFaces], frames: list[int], again: list[FrameFaces]) -> None:
    """Put in what another look at some frames gave; the surer answer stays."""
    for i, faces in zip(frames, again, strict=True):
        found[i] = max(found[i], faces, key=lambda answer: answer.best)


def _spread(count: int, wanted: int) -> list[int]:
    """Up to `wanted` numbers below `count`, evenly spread, the first and the last among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, wanted)})


def _sure(faces: FrameFaces) -> int:
    return int((faces.scores >= SURE).sum())


def _tiles_with_faces(tiles: Sequence[Tile], seen: Sequence[FrameFaces]) -> list[Tile]:
    """For each face the tile in whose middle it lies most."""
    boxes = np.concatenate([faces.boxes_xyxy for faces in seen])
    middles = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    centres = np.array([(tile.left + tile.side / 2, tile.top + tile.side / 2) for tile in tiles])
    nearest = np.abs(middles - centres).max(axis=2).argmin(axis=1)
    return [tiles[i] for i in sorted({int(i) for i in nearest})]
