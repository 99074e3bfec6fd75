"""What blend.json says of its own tuning: the validated losses, the table and the study, as typed records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ensemble.metrics import Estimate
from ensemble.rates import Rates
from ensemble.usual import Usual

DIGITS = 6  # of nats: the last bits differ between machines, and the file must not
OF = "videos like those it was tuned on, classes half each; nested cross-validation, bootstrap by group"


@dataclass(frozen=True)
class TableFacts:
    """The table that the blend was tuned on."""

    table_sha256: str
    videos: int
    fakes: int
    groups: int
    faces: int


@dataclass(frozen=True)
class StudyFacts:
    """The study behind the tuned weights."""

    trials: int
    seed: int
    shrinkage: float  # the ridge towards equal weights
    certificate_gap: float  # nats between the study's best and the proven optimum
    weights: Mapping[str, float]  # member -> tuned weight, also where equal weights ship


@dataclass(frozen=True)
class ExpectedLoss:
    """The log loss to expect, in nats. A file that nobody tuned may name the value without its interval."""

    value: float
    low: float | None = None  # 2.5th percentile
    high: float | None = None  # 97.5th percentile
    of: str | None = None  # the videos that the value is about

    @classmethod
    def from_estimate(cls, estimate: Estimate) -> ExpectedLoss:
        """Round an estimate of the blend that ships."""
        return cls(**_interval(estimate), of=OF)


@dataclass(frozen=True)
class Facts:
    """All that blend.json says beside what is needed to predict. Each field may be absent from a file."""

    chosen: str | None = None
    why: str | None = None
    expected_log_loss: ExpectedLoss | None = None
    compared: Mapping[str, Estimate] | None = None  # blend -> validated log loss
    by_source: Mapping[str, Mapping[str, float]] | None = None  # source -> blend -> validated log loss
    gain: Mapping[str, Estimate] | None = None  # "a - b" -> paired difference of log losses
    tuned_on: TableFacts | None = None
    study: StudyFacts | None = None
    rates: Rates | None = None  # how often the verdicts are wrong
    usual: Usual | None = None  # what the videos of these figures look like
    other: Mapping[str, Any] = field(default_factory=dict)  # keys of another version, which are written back

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Facts:
        """Read the keys of blend.json that describe the tuning.

        Args:
            values: those keys with their parsed JSON values; any of them may be missing.

        Returns:
            The facts; keys that no field names are kept in `other`.

        Raises:
            TypeError: a record lacks a key or has one too many.
        """
        loss, compared, gain = (values.get(key) for key in ("expected_log_loss", "compared", "gain"))
        table, study = values.get("tuned_on"), values.get("study")
        return cls(
            chosen=values.get("chosen"),
            why=values.get("why"),
            expected_log_loss=None if loss is None else ExpectedLoss(**loss),
            compared=None if compared is None else {name: Estimate(**own) for name, own in compared.items()},
            by_source=values.get("by_source"),
            gain=None if gain is None else {name: Estimate(**own) for name, own in gain.items()},
            tuned_on=None if table is None else TableFacts(**table),
            study=None if study is None else StudyFacts(**study),
            rates=None if values.get("rates") is None else Rates.from_dict(values["rates"]),
            usual=None if values.get("usual") is None else Usual.from_dict(values["usual"]),
            other={key: value for key, value in values.items() if key not in KEYS},
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the keys of blend.json, in the order of the file, without those that are not known."""
        loss = self.expected_log_loss
        values = {
            "chosen": self.chosen,
            "why": self.why,
            "expected_log_loss": None if loss is None else _without_none(asdict(loss)),
            "compared": _intervals(self.compared),
            "by_source": self.by_source,
            "gain": _intervals(self.gain),
            "tuned_on": None if self.tuned_on is None else asdict(self.tuned_on),
            "study": None if self.study is None else asdict(self.study),
            "rates": None if self.rates is None else self.rates.to_dict(),
            "usual": None if self.usual is None else self.usual.to_dict(),
        }
        return {**_without_none(values), **self.other}


KEYS = {"chosen", "why", "expected_log_loss", "compared", "by_source", "gain", "tuned_on", "study", "rates", "usual"}


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _intervals(estimates: Mapping[str, Estimate] | None) -> dict[str, dict[str, float]] | None:
    return None if estimates is None else {name: _interval(estimate) for name, estimate in estimates.items()}


def _interval(estimate: Estimate) -> dict[str, float]:
    return {key: round(value, DIGITS) for key, value in asdict(estimate).items()}
