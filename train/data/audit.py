"""Checks that a table of folds does not leak."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from common.errors import DfdcError

SHOWN = 10  # names per kind of leak


@dataclass(frozen=True)
class Check:
    """Rows of one kind that must be in one fold."""

    kind: str
    column: str
    values: pd.Series  # what ties rows together; empty where a row has none


def audit_folds(path: Path, cluster: str | None = None) -> str:
    """Hold that no video, family, copy, group or person is in two folds.

    Args:
        path: a table that `dfdc folds` wrote, or one like it.
        cluster: the column of persons, if there is one.

    Returns:
        What was checked, for people.

    Raises:
        DfdcError: something is in two folds; the message names it.
        ValueError: the table has no filename or fold.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if missing := sorted({"filename", "fold"} - set(table.columns)):
        raise ValueError(f"{path} needs a column {missing[0]!r}; make it with `dfdc folds`")
    if bad := sorted(set(table.loc[~table["fold"].str.fullmatch(r"-?\d+"), "fold"])):
        raise ValueError(f"{path}: fold {bad[0]!r} is no whole number")
    columns = {"original": "siblings", "original_group": "group", "md5": "copies", "group": "group"}
    if cluster is not None:
        columns[cluster] = "person"
    checks = [Check("video", "filename", table["filename"])]
    told, leaks = [], []
    for column, kind in columns.items():
        if column in table:
            # A fake belongs with its original, whose own row names none.
            values = (
                table[column].where(table[column] != "", table["filename"]) if column == "original" else table[column]
            )
            checks.append(Check(kind, column, values))
        else:
            told.append(f"not checked: {kind} (no column {column!r})")
    for check in checks:
        leaks += find_leaks(table, check)
        there = check.values != ""
        without = f", {(~there).sum()} rows have none" if not there.all() else ""
        told.append(f"checked: {check.kind} ({check.column}): {check.values[there].nunique()} values{without}")
    if leaks:
        raise DfdcError("\n".join([f"{path} leaks; make it again with `dfdc folds`:", *leaks]))
    return "\n".join([f"{path}: {len(table)} rows, {table['fold'].nunique()} folds, nothing crosses", *told])


def find_leaks(table: pd.DataFrame, check: Check) -> list[str]:
    """Return a line for each value that is in two folds, with its folds and videos; beyond SHOWN only a count."""
    rows = table[check.values != ""]
    values = check.values[check.values != ""]
    crossing = rows.groupby(values)["fold"].nunique()
    names = sorted(crossing.index[crossing > 1])
    lines = []
    for name in names[:SHOWN]:
        mine = rows[values == name]
        where = "; ".join(
            f"fold {fold}: {', '.join(sorted(set(part['filename']))[:3])}" for fold, part in mine.groupby("fold")
        )
        lines.append(f"{check.kind} ({check.column} {name}) in {crossing[name]} folds: {where}")
    if len(names) > SHOWN:
        lines.append(f"{check.kind} ({check.column}): {len(names) - SHOWN} more")
    return lines
