"""Logits that are known already, kept beside the table they are for: scoring that was stopped goes on from them."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from common.errors import DfdcError
from common.files import atomic_path
from models.backend import LoadedMember
from models.checkpoint import Card
from train.data.dataset import FaceDataset

PIECE = 64  # crops in memory at a time: two batches of the CPU, one of a GPU (common.engine.make_runner)
SECONDS = 30.0  # between two writings: what `kill -9` can lose


class KeptLogits:
    """A folder beside a table, with a file for each member and set of faces that it has begun to score."""

    def __init__(self, output: Path) -> None:
        self.folder = output.with_name(output.name + ".parts")

    @contextmanager
    def going_on(
        self, card: Card, faces: Sequence[str], *how: object
    ) -> Iterator[tuple[list[NDArray[np.float64]], _Saver]]:
        """Go on with one member's logits.

        Args:
            card: of the member.
            faces: the names of all faces that it scores, in their order.
            how: whatever else decides the logits.

        Yields:
            The list of logits that are known, for further ones to be put at its end, and what is called after each.
            They are on the disk when the block ends, however it does.
        """
        about = json.dumps([card.sha256, list(faces), *how], default=str)
        path = self.folder / f"{card.name}.{hashlib.sha256(about.encode()).hexdigest()[:16]}.npy"
        parts: list[NDArray[np.float64]] = []
        if path.exists():
            parts.append(np.load(path))
        saver = _Saver(path, parts)
        try:
            yield parts, saver
        finally:
            saver.save()

    def clear(self) -> None:
        """Remove the folder: the table is written."""
        shutil.rmtree(self.folder, ignore_errors=True)


class _Saver:
    """Writes logits every `SECONDS`, and when it is told to."""

    def __init__(self, path: Path, parts: list[NDArray[np.float64]]) -> None:
        self.path, self.parts, self.last = path, parts, time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self.last > SECONDS:
            self.save()

    def save(self) -> None:
        if self.parts:
            with atomic_path(self.path) as temporary, temporary.open("wb") as file:
                np.save(file, np.concatenate(self.parts))
        self.last = time.monotonic()


def logits_of(loaded: LoadedMember, faces: FaceDataset, flip: bool, kept: KeptLogits | None) -> NDArray[np.float64]:
    """Score faces by one member.

    Args:
        loaded: the member.
        faces: are read one after the other.
        flip: score the mirror image of each too, and take the mean.
        kept: logits that are known, which are not scored again.

    Returns:
        (N,) logits, rounded to what a CSV keeps.

    Raises:
        DfdcError: a logit is not finite.
    """
    if kept is None:
        return _further_logits(loaded, faces, flip, [], lambda: None)
    names = [faces.name(i) for i in range(len(faces))]
    with kept.going_on(loaded.card, names, flip, faces.degraded) as (parts, save):
        return _further_logits(loaded, faces, flip, parts, save)


def _further_logits(
    loaded: LoadedMember,
    faces: FaceDataset,
    flip: bool,
    parts: list[NDArray[np.float64]],
    save: Callable[[], None],
) -> NDArray[np.float64]:
    """All logits, of which `parts` has the first; new ones are put there, and `save` is called after each."""
    starts = range(sum(map(len, parts)), len(faces), PIECE)
    for start in tqdm(starts, desc=loaded.card.name, unit=f"x{PIECE} faces"):
        crops = [faces[i][0].numpy() for i in range(start, min(start + PIECE, len(faces)))]
        logit = loaded.logits(crops)
        if flip:
            logit = (logit + loaded.logits([np.ascontiguousarray(crop[:, ::-1]) for crop in crops])) / 2
        parts.append(logit)
        save()
    logits = np.concatenate(parts)
    if not np.isfinite(logits).all():
        face = faces.name(int(np.flatnonzero(~np.isfinite(logits))[0]))
        raise DfdcError(f"member {loaded.card.name!r} gives no finite logit for face {face!r}; its weights are broken")
    return logits.round(6)
