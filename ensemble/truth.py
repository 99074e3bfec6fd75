"""What is known of labelled videos, and how much each of them weighs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ensemble.metrics import Floats, Names, class_weights, losses_of

Rows = NDArray[np.int64]

ONE_SOURCE = ""  # the name of the only source, where nobody named any


@dataclass(frozen=True)
class Truth:
    """What is known of V labelled videos.

    They count so that every source weighs the same, and within it either class half: the test set is half and half,
    and no data set may outvote another by its size.
    """

    label: Floats  # (V,) 1 fake, 0 real
    group: Names  # (V,) videos of one family, never to be parted
    degradation: Names | None = None  # (V,) what was done to the video, where the table tells
    source: Names | None = None  # (V,) the data set that it comes from, where there are several
    face_pixels: Floats | None = None  # (V,) the width of the faces, NaN where unknown; None where no table tells

    @classmethod
    def of(cls, label: Floats, group: Names | None = None) -> Truth:
        """Make it of labels alone: each video is a group of its own."""
        names = np.array([f"{i:07d}" for i in range(len(label))], dtype=object) if group is None else group
        return cls(np.asarray(label, dtype=np.float64), names)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows: Rows | NDArray[np.bool_]) -> Truth:
        """Some of the videos; their weights are those of these alone."""
        kinds, source = (None if part is None else part[rows] for part in (self.degradation, self.source))
        pixels = None if self.face_pixels is None else self.face_pixels[rows]
        return Truth(self.label[rows], self.group[rows], kinds, source, pixels)

    @cached_property
    def weight(self) -> Floats:
        """(V,) sums to 1. ValueError when a source has one class only."""
        if self.source is None:
            return class_weights(self.label)
        out = np.zeros(len(self))
        for name in self.sources:
            here = self.source == name
            try:
                out[here] = class_weights(self.label[here]) / len(self.sources)
            except ValueError as error:
                raise ValueError(f"source {name!r}: {error}") from error
        return out

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the sources, sorted; ONE_SOURCE alone where nobody named any."""
        return (ONE_SOURCE,) if self.source is None else tuple(sorted(set(self.source.tolist())))

    def rows_of(self, source: str) -> Rows:
        """The row numbers of one source."""
        return np.arange(len(self)) if self.source is None else np.flatnonzero(self.source == source)

    @cached_property
    def groups(self) -> int:
        """How many groups there are."""
        return len(set(self.group.tolist()))

    def loss(self, prob_fake: Floats) -> float:
        """Weighted log loss in nats of (V,) probabilities."""
        return float(self.weight @ losses_of(self.label, prob_fake))
