"""A submission beside earlier ones: whether it says anything new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inference.submission import read_submission

SAME = 0.995  # rank correlation above which two submissions order the videos alike, but for noise


@dataclass(frozen=True)
class Likeness:
    """How alike two submissions are on the videos that both name."""

    earlier: Path
    videos: int  # that both name
    ranks: float  # Spearman's correlation; NaN where one of them says the same of every video
    moved: float  # mean absolute difference of the probabilities

    def __str__(self) -> str:
        word = ": it says the same again" if self.ranks > SAME else ""
        return (
            f"beside {self.earlier}, {self.videos} videos: rank correlation {self.ranks:.3f}, probabilities moved by "
            f"{self.moved:.3f} on average{word}"
        )


def compare_submissions(new: Path, earlier: Sequence[Path]) -> list[Likeness]:
    """Compare a submission with earlier ones.

    Args:
        new: a CSV filename,label.
        earlier: others.

    Returns:
        One for each of the earlier ones, in their order.

    Raises:
        DfdcError: a file is not a submission.
        ValueError: an earlier one has fewer than two videos in common with the new one.
    """
    from scipy.stats import spearmanr

    mine, found = read_submission(new), []
    for path in earlier:
        theirs = read_submission(path)
        names = [name for name in mine if name in theirs]
        if len(names) < 2:
            raise ValueError(f"{path} and {new} have {len(names)} videos in common; is it of the same competition?")
        one, other = (np.array([prob[name] for name in names]) for prob in (mine, theirs))
        constant = np.ptp(one) == 0 or np.ptp(other) == 0
        ranks = float("nan") if constant else float(spearmanr(one, other).statistic)
        found.append(Likeness(path, len(names), ranks, float(np.abs(one - other).mean())))
    return found
