"""Logits of members on faces held out from all of them: the table that the ensemble is tuned on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from common.engine import Engine
from models.backend import load_members
from models.checkpoint import find_cards
from train.data.provenance import LearntFrom, learnt_from, overlap
from train.kept_logits import KeptLogits
from train.scored_table import ScoredTable, Source, check_ending, refuse_overlap, score_member, write_table


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
        score_member(loaded, source, rows, "val" if fold is None else fold, flip, kept, degraded)
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
            refuse_overlap(card.name, learnt, rows)
            notes += _in_sample(card.name, learnt, rows)
    return notes


def _in_sample(name: str, learnt: LearntFrom, rows: pd.DataFrame) -> list[str]:
    shared = len(overlap(learnt.calibrated, rows))
    if not shared:
        return []
    return [f"{name}: calibrated on these faces (and its epoch chosen on them), so its log loss here is in-sample"]
