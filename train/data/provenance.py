"""Which groups of a table a member has learnt from, read from its card and checked against the table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from common.labels import read_labels
from models.checkpoint import Card
from train.data.table import HOLDOUT, groups_sha256, known_groups
from train.start import started_from

# What cards call a run that was validated on the rows whose split is "val"; the second stands in older ones.
SPLIT_FOLDS = ("val", "rows whose split is not val")


def read_training_labels(path: Path) -> pd.DataFrame:
    """Read the rows of a training's labels that are REAL or FAKE.

    Args:
        path: a CSV with face, label and, as far as known, group, split, fold.

    Returns:
        The rows with `target`, `group` and, where there is one, `fold` as a whole number.

    Raises:
        ValueError: the table lacks a column, has a face twice, or a fold that is no number.
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
    proved: bool  # the card's hash shows that `trained` is right


def learnt_from(card: Card, table: pd.DataFrame, present: set[str]) -> LearntFrom | None:
    """Find the groups of a table that a member was trained and calibrated on, and the member that it started from.

    Args:
        card: the member's.
        table: columns face, group, and split or fold (a whole number).
        present: the faces whose crops are there: training leaves out the others.

    Returns:
        The groups; None when the card does not tell.

    Raises:
        ValueError: a card of an earlier version, which has a hash of all training groups and not of each, belongs to
            another table.
    """
    own = _learnt(card, table, present)
    if own is None or not (init := started_from(card.training)):
        return own
    # What the first member was calibrated on chose its epoch: its weights know it too.
    before = learnt_from(replace(card, name=str(init.get("member", card.name)), training=init), table, present)
    if before is None:
        return None
    trained = own.trained | before.trained | (before.calibrated - own.calibrated)
    return LearntFrom(trained, own.calibrated, own.proved and before.proved)


def _learnt(card: Card, table: pd.DataFrame, present: set[str]) -> LearntFrom | None:
    """As `learnt_from`, of the run alone that the card is of."""
    if "groups" in card.training:
        return LearntFrom(
            known_groups(card.training["groups"], table), known_groups(card.training["held_out_groups"], table), True
        )
    # Older cards do not say which groups: the hash of all of them has to be that of the table's.
    fold = card.training.get("fold")
    if isinstance(fold, int) and "fold" in table:
        train, held = ~table["fold"].isin((fold, HOLDOUT)), table["fold"] == fold
    elif fold in SPLIT_FOLDS and "split" in table:
        train, held = table["split"] == "train", table["split"] == "val"
    else:
        return None
    expected = card.training.get("groups_sha256")
    older = fold in SPLIT_FOLDS and (expected is None or not _proves(expected, table, train, present))
    if older:  # earlier versions trained on every row whose split is not "val"
        train = ~held
    if expected is not None and not _proves(expected, table, train, present):
        raise ValueError(
            f"the table is not the one this run was trained on: member {card.name!r} (fold {fold!r}) saw other "
            "training groups than it names; give the labels that the run was given"
        )
    return LearntFrom(frozenset(table["group"][train]), frozenset(table["group"][held]), expected is not None)


def _proves(expected: str, table: pd.DataFrame, train: pd.Series, present: set[str]) -> bool:
    """Whether a card's hash is that of these training rows: of all of them, or of those whose crops are here."""
    return expected in {groups_sha256(rows) for rows in (table[train], table[train & table["face"].isin(present)])}


def overlap(groups: frozenset[str], rows: pd.DataFrame) -> list[str]:
    """Return the groups that are in both, sorted."""
    return sorted(groups & set(rows["group"]))
