"""Folds that no family, no copy and no person crosses, in blocks of DFDC's parts or balanced by groups."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.files import refuse_overwriting, write_text
from common.labels import read_label_table
from train.data.families import components
from train.data.metadata import is_numbered, part_name
from train.data.table import HOLDOUT

# All siblings of the 400 videos of the public test set lie in training parts 0 to 2.
PUBLIC_PARTS = "0-2"
UNASSIGNED = -2  # neither a fold nor HOLDOUT, while folds are being dealt


@dataclass(frozen=True)
class FoldOptions:
    """How groups are dealt."""

    folds: int = 5
    by: str = "auto"  # parts | groups | auto: parts where there are at least twice as many as folds
    holdout_parts: str | None = None  # for example 0-2,7; none; None is PUBLIC_PARTS where parts have numbers
    cluster: str | None = None  # a column whose equal values stay together
    seed: int = 0  # orders groups of equal size when dealt one by one

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f"folds {self.folds} must be at least 2")
        if self.by not in ("parts", "groups", "auto"):
            raise ValueError(f"by is {self.by!r}; it must be parts, groups or auto")


def make_folds(inputs: Sequence[Path], output: Path, options: FoldOptions) -> str:
    """Write the rows of all inputs with `group` and `fold` added.

    Args:
        inputs: tables with filename, label and, as far as known, original, original_group, md5, part.
        output: the CSV to write; fold -1 is held out.
        options: how groups are dealt.

    Returns:
        A table of the folds for people.

    Raises:
        ValueError: there is no table, one lacks a column or has been dealt already, or a fold would stay empty.
    """
    if not inputs:
        raise ValueError("give the index.csv of `dfdc extract`, or --audit FOLDS.csv")
    refuse_overwriting(inputs, (output,))
    table = read_tables(inputs)
    if options.cluster is not None and options.cluster not in table:
        raise ValueError(f"there is no column {options.cluster!r} to keep together; there are {list(table.columns)}")
    videos = video_table(table)
    videos["component"] = components(ties_of(table, videos.index, options.cluster))
    videos["fold"] = assign_folds(videos, options)
    videos["group"] = videos.groupby("component")["name"].transform("min")
    rows = table.assign(**{column: table["filename"].map(videos[column]) for column in ("group", "fold")})
    empty = sorted(set(range(options.folds)) - set(videos["fold"]))
    if empty:
        raise ValueError(
            f"fold {empty[0]} of {options.folds} is empty: {videos['component'].nunique()} groups, of which "
            f"{videos.loc[videos['fold'] == HOLDOUT, 'component'].nunique()} are held out; give fewer --folds, "
            "--by groups, or --holdout-parts none"
        )
    write_text(output, rows.to_csv(index=False, lineterminator="\n"))
    return f"{describe(rows, videos)}\nwritten: {output}"


def read_tables(inputs: Sequence[Path]) -> pd.DataFrame:
    """Read the rows of all tables as text, in order; what a table lacks is empty. ValueError as for `make_folds`."""
    parts = []
    for path in inputs:
        part = read_label_table(path, "filename")
        if dealt := sorted({"group", "fold"} & set(part.columns)):
            raise ValueError(f"{path} has a column {dealt[0]!r} already; give the table without it, or use --audit")
        parts.append(part)
    table = pd.concat(parts, ignore_index=True).fillna("")
    if table.empty:
        raise ValueError(f"there are no rows in {', '.join(map(str, inputs))}")
    return table


def video_table(table: pd.DataFrame) -> pd.DataFrame:
    """Sum a table of faces up by video.

    Returns:
        A row per video, by filename: label (of its first face), part (a number as text), faces, fake, real, name.
    """
    videos = table.groupby("filename", sort=True).agg(label=("label", "first"), faces=("label", "size"))
    videos["part"] = table.groupby("filename")["part"].first().map(part_name) if "part" in table else ""
    videos["fake"] = videos["label"] == "FAKE"
    videos["real"] = videos["label"] == "REAL"
    return videos.assign(name=videos.index)


def ties_of(table: pd.DataFrame, filenames: pd.Index, cluster: str | None = None) -> list[set[tuple[str, str]]]:
    """Find what ties each video to others: its own name and its original's, its group, its bytes, its person.

    Args:
        table: the rows of faces.
        filenames: of the videos whose ties are wanted, in order.
        cluster: a column whose equal values stay together.

    Returns:
        For each video its ties, pairs of (kind, value).
    """
    ties: dict[str, set[tuple[str, str]]] = {name: {("video", name)} for name in filenames}
    kinds = {"original": "video", "original_group": "group", "md5": "md5"}
    if cluster is not None:
        kinds[cluster] = "cluster"
    for column, kind in kinds.items():
        if column in table:
            for name, value in zip(table["filename"], table[column], strict=True):
                if value:
                    ties[name].add((kind, value))
    return [ties[name] for name in filenames]


def assign_folds(videos: pd.DataFrame, options: FoldOptions) -> NDArray[np.intp]:
    """Return the fold of each video, (V,): whole components, first those that are held out (-1)."""
    component = videos["component"].to_numpy()
    held_out = _parts_held_out(videos["part"], options.holdout_parts)
    fold = np.full(videos["component"].max() + 1, UNASSIGNED, dtype=np.intp)
    fold[component[videos["part"].isin(held_out).to_numpy()]] = HOLDOUT
    rest = sorted({int(part) for part in videos["part"] if is_numbered(part)} - {int(part) for part in held_out})
    by_parts = options.by == "parts" or (options.by == "auto" and len(rest) >= 2 * options.folds)
    if by_parts:
        if len(rest) < options.folds:
            raise ValueError(f"{len(rest)} numbered parts do not make {options.folds} folds; use --by groups")
        _assign_blocks(fold, videos, rest, options.folds)
    _assign_balanced(fold, videos, options)
    return np.asarray(fold[component], dtype=np.intp)


def _parts_held_out(parts: pd.Series, wanted: str | None) -> set[str]:
    """The numbers in "0-2,7"; nothing where no part has a number and nobody asked."""
    numbered = any(map(is_numbered, parts))
    if wanted is None:
        wanted = PUBLIC_PARTS if numbered else "none"
    if wanted.strip().lower() == "none":
        return set()
    if not numbered:
        raise ValueError(f"--holdout-parts {wanted}: no video has the number of a part; give none")
    found: set[str] = set()
    for piece in wanted.split(","):
        first, _, last = piece.strip().partition("-")
        if not is_numbered(first) or not is_numbered(last or first) or int(last or first) < int(first):
            raise ValueError(f"--holdout-parts {wanted!r} cannot be read; write it like 0-2,7 or none")
        found |= {str(number) for number in range(int(first), int(last or first) + 1)}
    return found


def _assign_blocks(fold: NDArray[np.intp], videos: pd.DataFrame, parts: list[int], folds: int) -> None:
    """Contiguous blocks of parts; a component goes whole to the block where most of its videos lie."""
    blocks = np.array_split(np.array(parts), folds)
    block_of = {str(part): number for number, block in enumerate(blocks) for part in block.tolist()}
    votes = np.zeros((len(fold), folds), dtype=np.intp)
    for number, part in zip(videos["component"], videos["part"], strict=True):
        if part in block_of:
            votes[number, block_of[part]] += 1
    placed = (fold == UNASSIGNED) & (votes.sum(axis=1) > 0)
    fold[placed] = votes[placed].argmax(axis=1)


def _assign_balanced(fold: NDArray[np.intp], videos: pd.DataFrame, options: FoldOptions) -> None:
    """What is left, the largest first, each to the fold that then has the evenest reals and fakes."""
    counts = videos.groupby("component")[["real", "fake"]].sum().to_numpy(dtype=np.float64)
    # Videos of neither label still take room.
    counts = np.column_stack([counts, np.bincount(videos["component"])])
    total = np.maximum(counts.sum(axis=0), 1)
    filled = np.array([counts[fold == number].sum(axis=0) for number in range(options.folds)])
    names = videos.groupby("component")["name"].min()
    order = sorted(
        np.flatnonzero(fold == UNASSIGNED).tolist(), key=lambda i: (-counts[i, 2], _shuffled(names[i], options))
    )
    for number in order:
        load = ((filled + counts[number]) / total) ** 2 - (filled / total) ** 2
        fold[number] = int(load.sum(axis=1).argmin())
        filled[fold[number]] += counts[number]


def _shuffled(name: str, options: FoldOptions) -> str:
    """An order that depends on name and seed alone."""
    return hashlib.sha256(f"{options.seed}/{name}".encode()).hexdigest()


def describe(rows: pd.DataFrame, videos: pd.DataFrame) -> str:
    """Render the folds as a table of text; a fold with one class alone is a warning."""
    # The column of parts tells nothing where no part has a number.
    numbered = any(map(is_numbered, videos["part"]))
    head = f"{'fold':>8} {'videos':>7} {'faces':>8} {'groups':>7} {'reals':>7} {'fakes':>7} {'fake share':>10}"
    lines = [head + ("  DFDC's parts" if numbered else "")]
    odd = []
    for number, mine in videos.groupby("fold"):
        name, reals, fakes = "holdout" if number == HOLDOUT else str(number), mine["real"].sum(), mine["fake"].sum()
        if not reals or not fakes:
            odd.append(f"warning: fold {name} has {reals} reals and {fakes} fakes: nothing can be scored there")
        share = f"{fakes / (reals + fakes):.3f}" if reals + fakes else "-"
        lines.append(
            f"{name:>8} {len(mine):>7} {mine['faces'].sum():>8} {mine['component'].nunique():>7} {reals:>7} "
            f"{fakes:>7} {share:>10}{'  ' + _spans(mine['part']) if numbered else ''}"
        )
    return "\n".join([*lines, *odd, f"{len(rows)} rows, {len(videos)} videos, {videos['component'].nunique()} groups"])


def _spans(parts: pd.Series) -> str:
    """0-2, 7 for the numbered parts; folders with other names are only counted."""
    numbers = sorted({int(part) for part in parts if is_numbered(part)})
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    named = {part for part in parts if part and not is_numbered(part)}
    told = [f"{first}-{last}" if last > first else str(first) for first, last in spans]
    folders = f"{len(named)} folder{'s' if len(named) > 1 else ''} without a number" if named else ""
    return " and ".join(part for part in (", ".join(told), folders) if part) or "none"
