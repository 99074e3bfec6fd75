"""Labelled face crops as a member sees them, and the balanced order in which training sees them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset, Sampler

from faces.crop import CropSpec, box_inside_crop, cut
from faces.store import CropStore
from train.augment import augment


class FaceDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Labelled crops as a member sees them; augmented only when a seed is given.

    An item is (crop (S, S, 3) uint8 RGB, target). The augmentation of row i in epoch e depends on (seed, e, i) alone,
    so the order, the number of loader workers and a resume change nothing.
    """

    def __init__(
        self, store: CropStore, table: pd.DataFrame, spec: CropSpec, cut_as: CropSpec, seed: int | None = None
    ) -> None:
        if missing := sorted(set(table["face"]) - store.index.keys()):
            raise ValueError(f"{len(missing)} labelled faces are in none of the sources, the first is {missing[0]!r}")
        self.store, self.spec, self.cut_as, self.seed = store, spec, cut_as, seed
        self.names = list(table["face"])
        self.targets = table["target"].to_numpy(dtype=np.float32)
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = self.store.read(self.names[index])
        height, width = image.shape[:2]
        crop = cut(image, box_inside_crop(self.cut_as, width, height), self.spec)
        if self.seed is not None:
            crop = augment(crop, np.random.default_rng((self.seed, self.epoch, index)))
        return torch.from_numpy(crop), torch.tensor(self.targets[index])


class PairedSampler(Sampler[list[int]]):
    """Batches of half fakes and half reals; each fake sits beside its own original where that is in the data.

    An epoch shows every fake once, but for what does not fill the last batch. The order is a function of (seed, epoch);
    `start` skips the batches that a resumed run has already seen.
    """

    def __init__(self, table: pd.DataFrame, batch: int, seed: int) -> None:
        if batch % 2:
            raise ValueError(f"batch {batch} must be even: half fakes, half reals")
        target = table["target"].to_numpy()
        self.fakes, self.reals = np.flatnonzero(target == 1), np.flatnonzero(target == 0)
        if not len(self.fakes) or not len(self.reals):
            raise ValueError(f"training needs both classes; there are {len(self.fakes)} fakes, {len(self.reals)} reals")
        position = {name: i for i, name in enumerate(table["filename"])} if "filename" in table else {}
        originals = table["original"] if "original" in table else pd.Series([""] * len(table))
        self.original_of = np.array([position.get(name, -1) for name in originals])
        self.batch, self.seed, self.epoch, self.start = batch, seed, 0, 0

    def __len__(self) -> int:
        return len(self.fakes) * 2 // self.batch

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        fakes = rng.permutation(self.fakes)
        partners = self.original_of[fakes]
        # A fake whose original is not in the data is paired with any real.
        partners = np.where(partners >= 0, partners, rng.choice(self.reals, len(fakes)))
        half = self.batch // 2
        for step in range(self.start, len(self)):
            rows = slice(step * half, (step + 1) * half)
            yield [*fakes[rows].tolist(), *partners[rows].tolist()]
