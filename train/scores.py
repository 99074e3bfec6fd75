"""The scores of a table of held-out logits: each member, their equal-weight mean, and how alike they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ensemble.calibrate import cross_fit
from ensemble.metrics import Floats, Names, auc, log_loss_balanced, sigmoid

MEAN = "mean of logits"
FEWEST = 20  # groups of either class, to fit a calibration on four fifths of them


@dataclass(frozen=True)
class Score:
    """How well logits tell labelled faces apart."""

    faces: int
    auc: float  # NaN with one class only
    log_loss_balanced: float  # nats, the two classes weighted half each; NaN with one class only
    # The same after a scale and a shift fitted on other groups. Of members that agree only in part each may be right
    # about how sure it is, and their mean is not sure enough. NaN with less than FEWEST groups of a class.
    log_loss_calibrated: float


@dataclass(frozen=True)
class ScoreSummary:
    """Scores by member (and MEAN, with more than one), by fold where there are several, and correlations."""

    scores: dict[str, Score]
    by_fold: dict[str, Score]  # of the mean
    correlation: pd.DataFrame  # of logits, members x members


def summarise(rows: pd.DataFrame) -> ScoreSummary:
    """Score a table of held-out logits.

    Args:
        rows: the columns face, member, logit, label, group, fold; every member has scored the same faces.

    Raises:
        ValueError: a member has not scored all faces.
    """
    logits = rows.pivot(index="face", columns="member", values="logit")
    if logits.isna().to_numpy().any():
        lacking = logits.columns[logits.isna().any()][0]
        raise ValueError(f"member {lacking!r} has not scored all faces; score it again, or leave it out")
    facts = rows.drop_duplicates("face").set_index("face").loc[logits.index]
    label = (facts["label"] == "FAKE").to_numpy(dtype=np.float64)
    columns = {str(name): logits[name].to_numpy() for name in logits.columns}
    mean = logits.to_numpy(dtype=np.float64).mean(axis=1)
    group = facts["group"].to_numpy(dtype=object)
    scores = {name: _score(label, values, group) for name, values in columns.items()}
    if len(columns) > 1:
        scores[MEAN] = _score(label, mean, group)
    fold = facts["fold"].astype(str).to_numpy(dtype=object)
    names = sorted(set(fold.tolist()))
    here = {name: fold == name for name in names}
    by_fold = {n: _score(label[h], mean[h], group[h]) for n, h in here.items()} if len(names) > 1 else {}
    return ScoreSummary(scores, by_fold, logits.corr())


def _score(label: Floats, logit: Floats, group: Names) -> Score:
    prob_fake = sigmoid(logit)
    enough = all(len(set(group[label == kind].tolist())) >= FEWEST for kind in (0, 1))
    calibrated = log_loss_balanced(label, sigmoid(cross_fit(logit, label, group))) if enough else math.nan
    return Score(len(label), auc(label, prob_fake), log_loss_balanced(label, prob_fake), calibrated)


def render(summary: ScoreSummary) -> str:
    """Render the summary as a table of text."""
    rows = summary.scores | {f"fold {name}": score for name, score in summary.by_fold.items()}
    width = max(len(name) for name in rows)
    lines = [f"{'':<{width}}  {'faces':>7}  {'AUC':>7}  log loss (classes half each), and calibrated on other groups"]
    for name, score in rows.items():
        losses = f"{score.log_loss_balanced:>8.5f}  {score.log_loss_calibrated:>10.5f}"
        lines.append(f"{name:<{width}}  {score.faces:>7}  {score.auc:>7.5f}  {losses}")
    if len(summary.correlation) > 1:
        lines += ["", "correlation of logits", _matrix(summary.correlation, width)]
    return "\n".join(lines)


def _matrix(correlation: pd.DataFrame, width: int) -> str:
    names = [str(name) for name in correlation.columns]
    numbers = " ".join(f"{i + 1:>6}" for i in range(len(names)))
    lines = [f"{'':<{width + 4}}{numbers}"]
    for i, name in enumerate(names):
        cells = " ".join(f"{value:>6.3f}" for value in correlation.iloc[i])
        lines.append(f"{i + 1:>2}  {name:<{width}}{cells}")
    return "\n".join(lines)
