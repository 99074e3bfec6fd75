"""What held-out videos look like to the members: a video outside is unlike all that the ensemble was measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.aggregate import PLAIN, aggregate
from ensemble.metrics import Floats

if TYPE_CHECKING:
    from ensemble.table import Faces

RARE = 0.01  # share of the held-out videos that lie outside: what is called unusual


@dataclass(frozen=True)
class Usual:
    """The range of what was seen in held-out videos."""

    disagreement: float  # logits: 99 of 100 videos have members that differ by less (standard deviation)
    face_pixels: float | None = None  # 99 of 100 videos have wider faces; None where the table does not say

    @classmethod
    def of(cls, faces: Faces) -> Usual:
        """Measure it on a table."""
        spread = disagreement(aggregate(faces.logit, faces.layout, PLAIN))
        pixels = None if faces.face_pixels is None else round(float(np.nanquantile(faces.face_pixels, RARE)), 1)
        return cls(round(float(np.quantile(spread, 1 - RARE)), 4), pixels)

    def to_dict(self) -> dict[str, Any]:
        """Return the value of "usual" in blend.json."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Usual:
        """Read the value of "usual" in blend.json; TypeError where it is another thing."""
        return cls(**values)

    def unusual(self, logits: Floats, face_pixels: float) -> list[str]:
        """Say in which ways a video lies outside.

        Args:
            logits: (M,) of the members, means over the video's faces.
            face_pixels: the median width of its faces.

        Returns:
            Sentences without a full stop; none for a video like those that the ensemble was measured on.
        """
        said = []
        if self.face_pixels is not None and face_pixels < self.face_pixels:
            said.append(
                f"its faces are {face_pixels:.0f} pixels wide, and those of the tests {self.face_pixels:.0f} or more"
            )
        if len(logits) > 1 and float(np.std(logits)) > self.disagreement:
            said.append("the members disagree more than on 99 of 100 videos of the tests")
        return said


def disagreement(values: Floats) -> Floats:
    """(V, M) logits of members -> (V,) their standard deviation."""
    return np.asarray(values.std(axis=1), dtype=np.float64)
