"""Which groups of a table a member has learnt from, read from its card and checked against the table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from common.labels import read_labels
from models.checkpoint import Card
from train.data.table import HOLDOUT, groups_sha256

# What cards call a run that was validated on the rows whose split is "val"; the second stands in older ones.
SPLIT_FOLDS = ("val", "rows whose split is not val")


def read_training_labels(path: Path) -> pd.DataFrame:
    """The rows of a training's labels that are REAL or FAKE, fold as a number where there is one.

    Raises ValueError when the table lacks a column, has a face twice, or a fold that is no number.
    """
    table = read_labels(path)
    if "face" not in table:
        raise ValueError(f"{path} needs a column 'face'; it has {list(table.columns)}")
    table = table[table["target"].notna()].reset_index(drop=True)
    if (twice := table["face"].duplicated()).any():
        raise ValueError(f"{path} has the face {table['face'][twice].iloc[0]!r} twice; leave one row of it")
    if "fold" in table:
        fold = pd.to_numeric(table["fold"], errors="coerce")
        if fold.isna().any() or (fold % 1 != 0).any():
            bad = table["fold"][fold.isna() | (fold % 1 != 0)].iloc[0]
            raise ValueError(f"{path} has the fold {bad!r}; folds are whole numbers, made by `dfdc folds`")
        table["fold"] = fold.astype(int)
    return table


@dataclass(frozen=True)
class LearntFrom:
    """The groups behind a member."""

    trained: frozenset[str]  # its weights
    calibrated: frozenset[str]  # its calibration, and which epoch was kept
    proved: bool  # the card's hash says that `trained` is right


def learnt_from(card: Card, table: pd.DataFrame, present: set[str]) -> LearntFrom | None:
    """The groups of `table` that a member was trained and calibrated on; None when its card does not tell.

    table: columns face, group, and split or fold (a number). present: the faces whose crops are there, since training
    leaves out the others. Raises ValueError when the card's hash belongs to other training groups than the table's.
    """
    fold = card.training.get("fold")
    if isinstance(fold, int) and "fold" in table:
        train, held = ~table["fold"].isin((fold, HOLDOUT)), table["fold"] == fold
    elif fold in SPLIT_FOLDS and "split" in table:
        train, held = table["split"] != "val", table["split"] == "val"
    else:
        return None
    expected = card.training.get("groups_sha256")
    # The crops may be all that the run had, or just those to judge: either proves which groups it saw.
    candidates = {groups_sha256(rows) for rows in (table[train], table[train & table["face"].isin(present)])}
    if expected is not None and expected not in candidates:
        raise ValueError(
            f"the table is not the one this run was trained on: member {card.name!r} (fold {fold!r}) saw other "
            "training groups than it names; give the labels that the run was given"
        )
    return LearntFrom(frozenset(table["group"][train]), frozenset(table["group"][held]), expected is not None)


def overlap(groups: frozenset[str], rows: pd.DataFrame) -> list[str]:
    """The groups that stand on both sides, sorted."""
    return sorted(groups & set(rows["group"]))
