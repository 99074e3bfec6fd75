"""Logits of members on faces that they were not trained on: the tables that the ensemble is tuned on."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from common.engine import Engine
from common.files import atomic_path
from common.labels import widths_of
from ensemble.read import NEEDED
from ensemble.table import DEGRADATION, FACE_PIXELS, TRUTH
from faces.store import CropStore
from models.backend import LoadedMember, load_members
from models.checkpoint import find_cards
from models.registry import TIGHT
from train.augment.degrade import SHRUNK, assign_degradations
from train.data.coverage import check_coverage
from train.data.dataset import FaceDataset
from train.data.provenance import LearntFrom, learnt_from, overlap, read_training_labels
from train.kept_logits import KeptLogits, logits_of

# The first six are those of `dfdc predict --probabilities`.
COLUMNS = (*NEEDED, "status", "face", *TRUTH, "fold")
TABLE_ENDINGS = (".csv", ".parquet")


@dataclass(frozen=True)
class ScoredTable:
    """Logits of members on faces, and what a reader of the scores has to know."""

    rows: pd.DataFrame  # COLUMNS; by member, then in the order of the labels
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """Labelled faces that are there: crops, and their rows."""

    store: CropStore
    table: pd.DataFrame  # every labelled row, whether its crop is there or not; fold as a number where there is one
    labels: Path  # for messages

    @classmethod
    def read(cls, crops: Sequence[Path | str], labels: Path) -> Source:
        """Read a table of labels beside its crops.

        Args:
            crops: folders or uncompressed tars of face crops, or URLs.
            labels: a CSV with face, label, group, and split or fold.

        Raises:
            ValueError: the table lacks a column, has a face twice, or a fold that is no number.
        """
        return cls(CropStore(crops), read_training_labels(labels), labels)

    def held_out(self, fold: int | None) -> pd.DataFrame:
        """Return the rows of a fold, or with None those whose split is "val", whose crops are there.

        Raises:
            ValueError: there is no such column, or no such row.
        """
        column, value = ("split", "val") if fold is None else ("fold", fold)
        if column not in self.table:
            raise ValueError(f"{self.labels} has no column {column!r}; it has {list(self.table.columns)}")
        rows = self.table[(self.table[column] == value) & self.table["face"].isin(self.store.index.keys())]
        if rows.empty:
            raise ValueError(f"no face with {column} {value!r} of {self.labels} is among the crops")
        return rows.reset_index(drop=True)


@dataclass(frozen=True)
class HoldoutRequest:
    """What a user asks of `dfdc holdout`."""

    members: Path  # folder of members
    crops: tuple[Path | str, ...]  # folders or uncompressed tars of face crops, or URLs
    labels: Path  # CSV with face, label, group, and split or fold
    output: Path  # .csv or .parquet
    device: torch.device
    fold: int | None = None  # None: the rows whose split is "val"
    flip: bool = False  # score mirror images too
    degraded: bool = False  # three quarters of the videos as the test set may show them


@dataclass(frozen=True)
class OofRequest:
    """What a user asks of `dfdc oof`."""

    runs: tuple[Path, ...]  # run folders of one member, each with another fold left out
    crops: tuple[Path | str, ...]  # folders or uncompressed tars of face crops, or URLs
    labels: Path  # the CSV that the runs were trained on
    output: Path  # .csv or .parquet
    device: torch.device
    flip: bool = False  # score mirror images too


def write_holdout(request: HoldoutRequest) -> ScoredTable:
    """Score held-out faces and write the table; errors as those of `score_holdout`."""
    check_ending(request.output)
    source, kept = Source.read(request.crops, request.labels), KeptLogits(request.output)
    scored = score_holdout(
        request.members, source, request.device, request.fold, request.flip, degraded=request.degraded, kept=kept
    )
    write_table(request.output, scored.rows)
    kept.clear()
    return scored


def write_oof(request: OofRequest) -> ScoredTable:
    """Score every fold by the run that left it out and write the table; errors as those of `score_oof`."""
    check_ending(request.output)
    source, kept = Source.read(request.crops, request.labels), KeptLogits(request.output)
    scored = score_oof(request.runs, source, request.device, request.flip, kept=kept)
    write_table(request.output, scored.rows)
    kept.clear()
    return scored


def score_holdout(
    folder: Path,
    source: Source,
    device: torch.device,
    fold: int | None,
    flip: bool,
    engine: Engine | None = None,
    degraded: bool = False,
    kept: KeptLogits | None = None,
) -> ScoredTable:
    """Score held-out faces by every member of a folder.

    Args:
        folder: of the members.
        source: the labelled faces.
        device: where the members run.
        fold: the fold that is scored; None: the rows whose split is "val".
        flip: a face's logit is the mean of the face's and its mirror image's.
        engine: what runs the members; None picks the fastest for the device.
        degraded: three quarters of the videos are scored as the test set may show them, and a column says how.
        kept: logits that are known, which are not scored again.

    Returns:
        The table and its notes.

    Raises:
        ValueError: a member was trained on a group among these faces, or on other labels than these.
        DfdcError: there is no member, or one is damaged or gives a logit that is not finite.
    """
    rows = source.held_out(fold)
    notes = _check_unseen(folder, source, rows)  # before any network is loaded
    parts = [
        _score(loaded, source, rows, "val" if fold is None else fold, flip, kept, degraded)
        for loaded in load_members(device, folder, engine)
    ]
    return ScoredTable(pd.concat(parts, ignore_index=True), tuple(notes))


def _check_unseen(folder: Path, source: Source, rows: pd.DataFrame) -> list[str]:
    """Refuse members that were trained on groups among these rows; return what a reader should know of the others."""
    notes = []
    for card in find_cards(folder):
        learnt = learnt_from(card, source.table, set(source.store.index))
        if learnt is None:
            notes.append(f"{card.name}: its card does not say which faces it was trained on; it may have seen these")
        else:
            _refuse_overlap(card.name, learnt, rows)
            notes += _in_sample(card.name, learnt, rows)
    return notes


def score_oof(
    runs: Sequence[Path],
    source: Source,
    device: torch.device,
    flip: bool,
    engine: Engine | None = None,
    kept: KeptLogits | None = None,
) -> ScoredTable:
    """Score each fold by the one run of a member that left it out of its training.

    Args:
        runs: folders of runs, each with another fold left out.
        source: the labelled faces, with folds.
        device: where the members run.
        flip: a face's logit is the mean of the face's and its mirror image's.
        engine: what runs the members; None picks the fastest for the device.
        kept: logits that are known, which are not scored again.

    Returns:
        The table, by fold, and its notes. Faces of a fold that no run left out are missing.

    Raises:
        ValueError: a folder holds not one member, runs are of different members, two left out the same fold, one left
            out none, or was trained on a group that it should have left out, or on another table.
        DfdcError: a member is damaged or gives a logit that is not finite.
    """
    by_fold: dict[int, tuple[LoadedMember, pd.DataFrame]] = {}
    notes: list[str] = []
    for run in runs:
        loaded = _only_member(run, device, engine)
        fold = _fold_of(loaded, run)
        if fold in by_fold:
            raise ValueError(f"{run} leaves out fold {fold}, and so does a run before it; one run for each fold")
        learnt = learnt_from(loaded.card, source.table, set(source.store.index))
        if learnt is None or not learnt.proved:
            raise ValueError(f"the card in {run} does not say which groups it was trained on; train it again")
        rows = source.held_out(fold)
        _refuse_overlap(loaded.card.name, learnt, rows)
        by_fold[fold] = loaded, rows
    names = sorted({loaded.card.name for loaded, _ in by_fold.values()})
    if len(names) != 1:
        raise ValueError(f"runs of one member are merged, and these are of {names}; call it once for each")
    if missing := sorted(set(source.table["fold"][source.table["fold"] >= 0]) - set(by_fold)):
        notes.append(f"no run leaves out fold {', '.join(map(str, missing))}: its faces are not in the table")
    notes.append(f"{names[0]}: each run was calibrated on the fold it left out, so the log loss is slightly optimistic")
    parts = [_score(loaded, source, rows, fold, flip, kept) for fold, (loaded, rows) in sorted(by_fold.items())]
    return ScoredTable(pd.concat(parts, ignore_index=True), tuple(notes))


def _only_member(run: Path, device: torch.device, engine: Engine | None) -> LoadedMember:
    found = load_members(device, run, engine)
    if len(found) != 1:
        raise ValueError(f"{run} holds {len(found)} members ({', '.join(p.card.name for p in found)}); name a run's")
    return found[0]


def _fold_of(loaded: LoadedMember, run: Path) -> int:
    fold = loaded.card.training.get("fold")
    if isinstance(fold, bool) or not isinstance(fold, int) or fold < 0:
        raise ValueError(f"the card in {run} leaves out no fold ({fold!r}); train it with: dfdc train --fold K")
    return fold


def _refuse_overlap(name: str, learnt: LearntFrom, rows: pd.DataFrame) -> None:
    if seen := overlap(learnt.trained, rows):
        raise ValueError(f"{name} was trained on {len(seen)} of the groups to score, the first is {seen[0]!r}")


def _in_sample(name: str, learnt: LearntFrom, rows: pd.DataFrame) -> list[str]:
    shared = len(overlap(learnt.calibrated, rows))
    if not shared:
        return []
    return [f"{name}: calibrated on these faces (and its epoch chosen on them), so its log loss here is in-sample"]


def _score(
    loaded: LoadedMember,
    source: Source,
    rows: pd.DataFrame,
    fold: int | str,
    flip: bool,
    kept: KeptLogits | None,
    degraded: bool = False,
) -> pd.DataFrame:
    """One member's part of the table."""
    card = loaded.card
    check_coverage(rows, card.crop)
    filename = rows["filename"] if "filename" in rows else rows["face"]
    kinds = assign_degradations(list(filename)) if degraded else None
    faces = FaceDataset(source.store, rows, card.crop, cut_as=TIGHT, degraded=kinds)
    # Where the table does not tell a video's faces apart, they are counted.
    frame = pd.to_numeric(rows["frame"]) if "frame" in rows else filename.groupby(filename).cumcount()
    table = pd.DataFrame(
        {
            "filename": filename,
            "member": card.name,
            "frame": frame,
            "person": pd.to_numeric(rows.get("person", 0)),
            "logit": logits_of(loaded, faces, flip, kept),
            "status": "ok",
            "face": rows["face"],
            "label": np.where(rows["target"] == 1, "FAKE", "REAL"),
            "group": rows["group"],
            "fold": str(fold),
        }
    )[list(COLUMNS)]
    if (pixels := widths_of(rows, TIGHT.margin)) is not None:
        table[FACE_PIXELS] = pixels if kinds is None else (pixels * [SHRUNK.get(kind, 1.0) for kind in kinds]).round(1)
    return table if kinds is None else table.assign(**{DEGRADATION: kinds})


def check_ending(path: Path) -> None:
    """Raise ValueError where `write_table` cannot write such a file: to be called before hours of scoring."""
    if path.suffix not in TABLE_ENDINGS:
        raise ValueError(f"{path} must end in one of {', '.join(TABLE_ENDINGS)}")
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ValueError(f"{path} needs pyarrow, which is not installed; run: pip install pyarrow, or name a .csv")


def write_table(path: Path, rows: pd.DataFrame) -> None:
    """Write a table as CSV or Parquet, by the ending of the path; whole or not at all.

    Raises:
        ValueError: another ending, or Parquet without pyarrow.
    """
    check_ending(path)
    with atomic_path(path) as temporary:
        if path.suffix == ".parquet":
            rows.to_parquet(temporary, index=False)
        else:
            rows.to_csv(temporary, index=False, lineterminator="\n")
