"""Labelled face crops as a member sees them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch.utils.data import Dataset

from faces.crop import CropSpec, Image, box_inside_crop, cut
from faces.store import CropStore
from train.augment.blending import Fake, make_fake
from train.augment.degrade import degrade, degrade_as, number_of, publish
from train.augment.face_parts import cut_out
from train.augment.mesh import Meshes
from train.augment.photometric import augment, geometry
from train.data.sampler import originals_of
from train.data.table import BOX_COLUMNS, POINT_COLUMNS
from train.seams import STRIDE, boundary, cells

if TYPE_CHECKING:
    from train.config import TrainConfig

# Of a member's crop: with less of it blended, a fake made of a real does not count as one.
SEEN_SHARE = 0.02
NO_SEAMS = np.zeros((0, 0), dtype=np.float32)


class FaceDataset(Dataset[tuple[torch.Tensor, ...]]):
    """Labelled crops as a member sees them; changed at random only when a config says how.

    An item is (crop (S, S, 3) uint8 RGB, target) and, where the config asks for seams, where they lie (`train.seams`).
    What happens to row i in epoch e depends on (seed, e, i) alone, so
    the order, the number of loader workers and processes, and a resume change nothing.
    """

    def __init__(
        self,
        store: CropStore,
        table: pd.DataFrame,
        spec: CropSpec,
        cut_as: CropSpec,
        change: TrainConfig | None = None,
        degraded: Sequence[str] | None = None,
        meshes: Meshes | None = None,
    ) -> None:
        """Check that everything that an item needs is there.

        Args:
            store: the stored crops.
            table: columns face and target; box, points, filename, original, made where known.
            spec: what is cut out of a stored crop.
            cut_as: how a stored crop was cut from its frame, where the table has no box.
            change: how faces are changed at random; None leaves them as they are.
            degraded: a name of `train.augment.degrade` for each row, to score faces as the test set shows them.
            meshes: what fakes are made from; needed where the table has rows that are `made`.

        Raises:
            ValueError: a crop, a mesh or the points that the spec aligns by are missing.
        """
        if missing := sorted(set(table["face"]) - store.index.keys()):
            raise ValueError(f"{len(missing)} labelled faces are in none of the sources, the first is {missing[0]!r}")
        self.store, self.spec, self.cut_as, self.change = store, spec, cut_as, change
        self.degraded, self.meshes = degraded, meshes
        self.made = table["made"].to_numpy(dtype=bool) if "made" in table else np.zeros(len(table), dtype=bool)
        if meshes is None and (self.made.any() or (change is not None and change.self_blend > 0)):
            raise ValueError("fakes are made from the meshes of the reals; give --mesh (scripts/find_mesh.py makes it)")
        # Bytes, not str objects: every loader process gets a copy.
        self._names = np.array([str(name).encode("utf-8", "surrogateescape") for name in table["face"]] or [b""])
        self.targets = table["target"].to_numpy(dtype=np.float32)
        self.boxes = _numbers(table, BOX_COLUMNS, (4,)).astype(np.float32)  # `cut` takes no more
        self.points = _numbers(table, POINT_COLUMNS, (5, 2))
        self.original = originals_of(table) if change is not None else np.full(len(table), -1)
        if spec.align == "5pt" and not np.isfinite(self.points).all():
            lacking = int((~np.isfinite(self.points).all(axis=(1, 2))).sum())
            raise ValueError(
                f"CropSpec {spec.name!r} aligns by five points, which {lacking} of {len(table)} faces lack; find them "
                "with scripts/find_keypoints.py, or drop those rows"
            )
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.targets)

    def name(self, row: int) -> str:
        """The face of a row."""
        return bytes(self._names[row]).decode("utf-8", "surrogateescape")

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        target = torch.tensor(self.targets[index])
        if self.change is None:
            return torch.from_numpy(self._cut(index, self._stored(index))), target
        crop, seams = self._changed(index, self.change)
        if not self.change.seams:
            return torch.from_numpy(crop), target
        return torch.from_numpy(crop), target, torch.from_numpy(seams)

    def _stored(self, row: int) -> Image:
        if self.made[row]:
            image, _ = self._make(row, np.random.default_rng(number_of(self.name(row))), held=True)
        else:
            image = self.store.read(self.name(row))
        return image if self.degraded is None else degrade_as(image, self.degraded[row], self.name(row))

    def _make(self, row: int, rng: Generator, held: bool = False) -> Fake:
        """A fake made of the real face of a row, and its mask."""
        if self.meshes is None:
            raise ValueError(f"face {self.name(row)!r} is to be made into a fake, and there are no meshes")
        change = self.change
        swaps, bands, misfits = (0.0,) * 3 if change is None else (change.swaps, change.bands, change.misfits)
        return make_fake(self.store, self.name(row), self.meshes, rng, swaps, held, bands, misfits)

    def _seen_fake(self, row: int, rng: Generator) -> Fake | None:
        """A fake made of a row, or None: it has no mesh, or the member would see next to nothing of what was blended.

        A mouth that is blended in is no fake to a member that looks at the eyes, and would teach it noise.
        """
        if self.meshes is None or self.name(row) not in self.meshes.row_of:
            return None
        image, mask = self._make(row, rng)
        blended = np.repeat(np.asarray(mask * 255, dtype=np.uint8)[..., None], 3, axis=2)
        return (image, mask) if self._cut(row, blended).mean() >= SEEN_SHARE * 255 else None

    def _cut(self, row: int, image: Image) -> Image:
        """The member's crop out of the stored one of a row."""
        box, points = self.boxes[row], self.points[row]
        if not np.isfinite(box).all():
            box = box_inside_crop(self.cut_as, image.shape[1], image.shape[0])
        return cut(image, box.astype(np.float32), self.spec, points.astype(np.float32))

    def _changed(self, index: int, config: TrainConfig) -> tuple[Image, NDArray[np.float32]]:
        """The crop after everything that the config does to a face in training, and where its seams lie then."""
        rng = np.random.default_rng((config.seed, self.epoch, index))
        row, original = index, int(self.original[index])
        mask: NDArray[np.float32] | None = None
        replaced = rng.random() < config.self_blend and self.targets[index] == 1 and original >= 0
        if self.made[row]:
            image, mask = self._make(row, rng)
        elif replaced and (fake := self._seen_fake(original, rng)) is not None:
            row = original
            image, mask = fake
        else:
            image = self.store.read(self.name(row))
        shared = self._shared(index, config.seed) if config.same_augment else rng
        if config.publish and shared.random() < config.publish:
            image = publish(image, shared)
        if rng.random() < config.cutout and np.isfinite(self.points[row]).all():
            image = cut_out(image, self.points[row], rng)
        crop = self._cut(row, image)
        seams = self._seams(row, mask, crop.shape[0], copy.deepcopy(shared)) if config.seams else NO_SEAMS
        if rng.random() < config.degrade:
            crop = degrade(crop, rng)
        return augment(crop, shared, config.augment), seams

    def _seams(self, row: int, mask: NDArray[np.float32] | None, size: int, rng: Generator) -> NDArray[np.float32]:
        """Where the seams of a fake lie after it was cut and moved; a real face has none."""
        if mask is None:
            return np.zeros((size // STRIDE, size // STRIDE), dtype=np.float32)
        return cells(geometry(self._cut(row, boundary(mask)), rng))

    def _shared(self, index: int, seed: int) -> Generator:
        """The generator that a fake has in common with its original."""
        original = int(self.original[index])
        return np.random.default_rng((seed, self.epoch, original if original >= 0 else index, 1))


def _numbers(table: pd.DataFrame, columns: tuple[str, ...], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Some columns as (N, *shape) floats, NaN where a column is missing or empty."""
    if not set(columns) <= set(table.columns):
        return np.full((len(table), *shape), np.nan)
    values = table[list(columns)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    return np.asarray(values, dtype=np.float64).reshape(len(table), *shape)
