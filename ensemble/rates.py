"""How often a blend is wrong: false alarms and misses on held-out videos, by data set, with intervals.

They are what a verdict in words rests on. A video is called likely fake from a P(fake) on that few real videos reach.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ensemble.metrics import Floats
from ensemble.truth import Truth

# Share of a data set's real videos that may be called likely fake. A tenth is what an accusation may cost at most; at
# 1 % hardly a fake of another data set would be named.
MOST_FALSE_ALARMS = 0.1
STEP = 0.01  # of the threshold: more digits would say more than some hundred videos know


@dataclass(frozen=True)
class Share:
    """A share of videos, 0..1, with its 95 % interval."""

    value: float
    low: float
    high: float
    videos: int  # that it is a share of

    @classmethod
    def of(cls, hits: np.ndarray, group: np.ndarray) -> Share:
        """Estimate a share.

        Args:
            hits: (V,) bool.
            group: (V,) videos of one group err together, so the interval counts groups and not videos.

        Returns:
            The share, with the interval of Clopper and Pearson (1934) for as many trials as there are groups.
        """
        from scipy.stats import beta  # takes a second to import, and predict, which reads rates, needs none of it

        value, trials = float(hits.mean()), len(set(group.tolist()))
        found = value * trials
        low = float(beta.ppf(0.025, found, trials - found + 1)) if found > 0 else 0.0
        high = float(beta.ppf(0.975, found + 1, trials - found)) if found < trials else 1.0
        return cls(round(value, 4), round(low, 4), round(high, 4), len(hits))


@dataclass(frozen=True)
class SourceRates:
    """How often a blend is wrong on one data set."""

    false_alarms: Share  # of the real videos, those that are called likely fake
    misses: Share  # of the fakes, those that are not


@dataclass(frozen=True)
class Rates:
    """From which P(fake) on a video is called likely fake, and how often that is wrong."""

    fake_from: float
    sources: Mapping[str, SourceRates]  # "" for tables whose source nobody named

    @property
    def worst_misses(self) -> tuple[str, SourceRates]:
        """The data set of which the most fakes are missed."""
        return max(self.sources.items(), key=lambda item: item[1].misses.value)

    @property
    def worst_alarms(self) -> tuple[str, SourceRates]:
        """The data set of which the most real videos are called fake."""
        return max(self.sources.items(), key=lambda item: item[1].false_alarms.value)

    def to_dict(self) -> dict[str, Any]:
        """Return the value of "rates" in blend.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Rates:
        """Read the value of "rates" in blend.json; TypeError or KeyError where it is another thing."""
        sources = {
            name: SourceRates(Share(**own["false_alarms"]), Share(**own["misses"]))
            for name, own in values["sources"].items()
        }
        return cls(float(values["fake_from"]), sources)


def measure_rates(truth: Truth, prob_fake: Floats) -> Rates:
    """Choose the threshold of "likely fake" and count the errors.

    Args:
        truth: of V videos, every source with both classes.
        prob_fake: (V,) of a blend that was tuned without each video's fold.

    Returns:
        The lowest threshold, from 0.5 on, that at most MOST_FALSE_ALARMS of the real videos of every source reach.
    """
    fake = truth.label > 0.5
    rows = {source: truth.rows_of(source) for source in truth.sources}
    fake_from = max(_lowest(prob_fake[own[~fake[own]]]) for own in rows.values())
    called = prob_fake >= fake_from
    sources = {}
    for source, own in rows.items():
        real, forged = own[~fake[own]], own[fake[own]]
        sources[source] = SourceRates(
            Share.of(called[real], truth.group[real]), Share.of(~called[forged], truth.group[forged])
        )
    return Rates(fake_from, sources)


def _lowest(of_reals: Floats) -> float:
    """The lowest threshold, a multiple of STEP, that few enough of these reach; above 1 % of all it may be 1.01."""
    allowed = int(MOST_FALSE_ALARMS * len(of_reals))
    highest = np.sort(of_reals)[::-1]
    # The first that must stay below the threshold; all may reach it where there are so few reals.
    stays = highest[allowed] if allowed < len(highest) else 0.0
    return max(0.5, round((math.floor(float(stays) / STEP + 1e-9) + 1) * STEP, 2))
