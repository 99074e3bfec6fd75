"""In which order training sees the faces: half fakes, half reals, each fake beside its original."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import NDArray
from torch.utils.data import Sampler

Rows = NDArray[np.intp]


def originals_of(table: pd.DataFrame) -> Rows:
    """Find, for each row, the row that shows the same moment of its original.

    Args:
        table: filename and original; frame and person, which make a moment, where they are known.

    Returns:
        (N,) row numbers, -1 where there is none.
    """
    if "filename" not in table or "original" not in table:
        return np.full(len(table), -1)
    moment = [c for c in ("frame", "person") if c in table]
    rest = list(zip(*(table[c] for c in moment), strict=True)) if moment else [()] * len(table)
    position = {key: row for row, key in enumerate(zip(table["filename"], rest, strict=True))}
    return np.array([position.get(key, -1) for key in zip(table["original"], rest, strict=True)], dtype=np.intp)


class PairedSampler(Sampler[list[int]]):
    """Batches of half fakes and half reals, the fakes first and the reals in the same order.

    With "pairs" and "originals" each fake stands beside its original where that is in the data. An epoch shows all of
    its fakes or originals, but for what does not fill the last batch. The order is a function of (seed, epoch); `start`
    skips batches that a resumed run has seen. Of `world` processes each takes its own pairs out of one common batch,
    `world` times as large.

    Args:
        table: target; filename, original, frame and person where known.
        batch: faces in a batch of one process, even.
        seed: of the order.
        sampling: as in TrainConfig.
        rank: of this process.
        world: the number of processes.

    Raises:
        ValueError: an odd batch, one class only, or too few pairs for one batch.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        batch: int,
        seed: int,
        sampling: Literal["pairs", "originals", "independent"] = "pairs",
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if batch % 2:
            raise ValueError(f"batch {batch} must be even: half fakes, half reals")
        target = table["target"].to_numpy()
        self.fakes, self.reals = np.flatnonzero(target == 1), np.flatnonzero(target == 0)
        if not len(self.fakes) or not len(self.reals):
            raise ValueError(f"training needs both classes; there are {len(self.fakes)} fakes, {len(self.reals)} reals")
        self.original_of = originals_of(table)
        self.sampling, self.half, self.seed, self.rank, self.world = sampling, batch // 2, seed, rank, world
        self.epoch, self.start = 0, 0
        self._families = self._by_original(table) if sampling == "originals" else []
        if not len(self):
            most = 2 * (self.pairs // world)
            remedy = f"give a smaller one: --set batch={most}" if most else "more faces are needed"
            raise ValueError(f"{self.pairs} pairs do not fill one batch of {batch} in {world} processes; {remedy}")

    @property
    def pairs(self) -> int:
        """Pairs of an epoch, those that fill no batch too."""
        return len(self._families) if self.sampling == "originals" else len(self.fakes)

    def __len__(self) -> int:
        return self.pairs // (self.half * self.world)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        fakes, reals = self._draw(rng)
        step = self.half * self.world
        for first in range(self.start * step, len(self) * step, step):
            mine = slice(first + self.rank, first + step, self.world)
            yield [*fakes[mine].tolist(), *reals[mine].tolist()]

    def _draw(self, rng: Generator) -> tuple[Rows, Rows]:
        """The fakes of an epoch in order, and the real beside each."""
        if self.sampling == "independent":
            fakes = rng.permutation(self.fakes)
            many = -(-len(fakes) // len(self.reals))
            return fakes, np.concatenate([rng.permutation(self.reals) for _ in range(many)])[: len(fakes)]
        if self.sampling == "originals":
            fakes = np.array([self._turn(family) for family in self._families], dtype=np.intp)
            fakes = rng.permutation(fakes)
        else:
            fakes = rng.permutation(self.fakes)
        reals = self.original_of[fakes]
        # A fake whose original is not in the data is paired with any real.
        return fakes, np.where(reals >= 0, reals, rng.choice(self.reals, len(fakes)))

    def _turn(self, family: Rows) -> int:
        """The fake of a family whose turn it is: all of them come before one comes again."""
        rounds, place = divmod(self.epoch, len(family))
        return int(np.random.default_rng((self.seed, rounds, int(family[0]))).permutation(family)[place])

    def _by_original(self, table: pd.DataFrame) -> list[Rows]:
        """The fakes of each original; one without its original in the data is a family of its own."""
        key = np.where(self.original_of >= 0, self.original_of, -1 - np.arange(len(table)))[self.fakes]
        order = np.argsort(key, kind="stable")
        cuts = np.flatnonzero(np.diff(key[order])) + 1
        return [np.asarray(rows) for rows in np.split(self.fakes[order], cuts)]
