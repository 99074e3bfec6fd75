"""Labelled faces, the logits that a member gives them, and the table that both make."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common.files import atomic_path
from common.labels import widths_of
from ensemble.read import NEEDED
from ensemble.table import DEGRADATION, FACE_PIXELS, TRUTH
from faces.store import CropStore
from models.backend import LoadedMember
from models.registry import TIGHT
from train.augment.degrade import SHRUNK, assign_degradations
from train.data.coverage import check_coverage
from train.data.dataset import FaceDataset
from train.data.provenance import LearntFrom, overlap, read_training_labels
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


def score_member(
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


def refuse_overlap(name: str, learnt: LearntFrom, rows: pd.DataFrame) -> None:
    if seen := overlap(learnt.trained, rows):
        raise ValueError(f"{name} was trained on {len(seen)} of the groups to score, the first is {seen[0]!r}")


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
