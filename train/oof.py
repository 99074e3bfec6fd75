"""Logits of one member's folds, each by the run that left it out: the table that the ensemble is tuned on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from common.engine import Engine
from models.backend import LoadedMember, load_members
from train.data.provenance import learnt_from
from train.kept_logits import KeptLogits
from train.scored_table import ScoredTable, Source, check_ending, refuse_overlap, score_member, write_table


@dataclass(frozen=True)
class OofRequest:
    """What a user asks of `dfdc oof`."""

    runs: tuple[Path, ...]  # run folders of one member, each with another fold left out
    crops: tuple[Path | str, ...]  # folders or uncompressed tars of face crops, or URLs
    labels: Path  # the CSV that the runs were trained on
    output: Path  # .csv or .parquet
    device: torch.device
    flip: bool = False  # score mirror images too


def write_oof(request: OofRequest) -> ScoredTable:
    """Score every fold by the run that left it out and write the table; errors as those of `score_oof`."""
    check_ending(request.output)
    source, kept = Source.read(request.crops, request.labels), KeptLogits(request.output)
    scored = score_oof(request.runs, source, request.device, request.flip, kept=kept)
    write_table(request.output, scored.rows)
    kept.clear()
    return scored


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
        refuse_overlap(loaded.card.name, learnt, rows)
        by_fold[fold] = loaded, rows
    names = sorted({loaded.card.name for loaded, _ in by_fold.values()})
    if len(names) != 1:
        raise ValueError(f"runs of one member are merged, and these are of {names}; call it once for each")
    if missing := sorted(set(source.table["fold"][source.table["fold"] >= 0]) - set(by_fold)):
        notes.append(f"no run leaves out fold {', '.join(map(str, missing))}: its faces are not in the table")
    notes.append(f"{names[0]}: each run was calibrated on the fold it left out, so the log loss is slightly optimistic")
    parts = [score_member(loaded, source, rows, fold, flip, kept) for fold, (loaded, rows) in sorted(by_fold.items())]
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
