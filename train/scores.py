"""The scores of a table of held-out logits: each member, their equal-weight mean, and how alike they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ensemble.aggregate import mean_logit
from ensemble.metrics import auc, log_loss_balanced, sigmoid

MEAN = "mean of logits"


@dataclass(frozen=True)
class Score:
    """What logits are worth on labelled faces."""

    faces: int
    auc: float  # NaN with one class only
    log_loss_balanced: float  # nats, the two classes weighted half each; NaN with one class only


@dataclass(frozen=True)
class Summary:
    """Scores by member (and MEAN, with more than one), by fold where there are several, and correlations."""

    scores: dict[str, Score]
    by_fold: dict[str, Score]  # of the mean
    correlation: pd.DataFrame  # of logits, members x members


def summarise(rows: pd.DataFrame) -> Summary:
    """Score a table of COLUMNS, every member of which has judged the same faces; ValueError where one has not."""
    logits = rows.pivot(index="face", columns="member", values="logit")
    if logits.isna().to_numpy().any():
        lacking = logits.columns[logits.isna().any()][0]
        raise ValueError(f"member {lacking!r} has not judged all faces; judge it again, or leave it out")
    facts = rows.drop_duplicates("face").set_index("face").loc[logits.index]
    label = (facts["label"] == "FAKE").to_numpy(dtype=np.float64)
    columns = {str(name): logits[name].to_numpy() for name in logits.columns}
    mean = mean_logit(columns)
    scores = {name: _score(label, values) for name, values in columns.items()}
    if len(columns) > 1:
        scores[MEAN] = _score(label, mean)
    fold = facts["fold"].to_numpy(dtype=str)
    folds = sorted(set(fold.tolist()))
    by_fold = {name: _score(label[fold == name], mean[fold == name]) for name in folds} if len(folds) > 1 else {}
    return Summary(scores, by_fold, logits.corr())


def _score(label: np.ndarray, logit: np.ndarray) -> Score:
    prob_fake = sigmoid(logit)
    return Score(len(label), auc(label, prob_fake), log_loss_balanced(label, prob_fake))


def render(summary: Summary) -> str:
    """The summary as a table for people."""
    rows = summary.scores | {f"fold {name}": score for name, score in summary.by_fold.items()}
    width = max(len(name) for name in rows)
    lines = [f"{'':<{width}}  {'faces':>7}  {'AUC':>7}  log loss, classes half each"]
    lines += [f"{n:<{width}}  {s.faces:>7}  {s.auc:>7.5f}  {s.log_loss_balanced:>8.5f}" for n, s in rows.items()]
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
