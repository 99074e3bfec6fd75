"""Crops and labels, cut into what a run trains on and what it validates on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.labels import read_labels
from faces.crop import CropSpec
from faces.remote import CACHE_GIB
from faces.store import CropStore
from models.registry import TIGHT
from train.augment.mesh import Meshes
from train.data.array_index import compact
from train.data.table import HOLDOUT, SPLITS, groups_sha256

MAX_DROPPED = 0.1  # as --max-fallback of `dfdc predict`: what is silently lost beyond it is a mistake, not an accident


@dataclass(frozen=True)
class Dropped:
    """Rows of the labels that a run does not use, by the reason."""

    rows: int  # of the table
    unlabelled: int  # their label is none
    missing: int  # their crop is not among the sources
    first: tuple[str, str] = ("", "")  # of either kind: the label, the face

    def __str__(self) -> str:
        kept = self.rows - self.unlabelled - self.missing
        reasons = []
        if self.unlabelled:
            reasons.append(f"{self.unlabelled} with a label that is not REAL or FAKE, the first is {self.first[0]!r}")
        if self.missing:
            reasons.append(f"{self.missing} whose crop is in none of the sources, the first is {self.first[1]!r}")
        return f"{kept} of {self.rows} rows kept" + (f"; dropped: {'; '.join(reasons)}" if reasons else "")


@dataclass(frozen=True)
class TrainData:
    """What a run trains and validates on."""

    store: CropStore
    train: pd.DataFrame  # columns face, target, group; filename and original where known
    val: pd.DataFrame  # the same columns
    cut_as: CropSpec  # how the crops in the store were cut, where the table does not tell
    fold: int | str = "val"  # which fold, or split, `val` is
    meshes: Meshes | None = None  # of the training faces, where fakes are made of them
    val_meshes: Meshes | None = None  # of the validation faces
    dropped: Dropped = Dropped(0, 0, 0)  # rows of the labels that neither side has

    def fingerprint(self) -> dict[str, Any]:
        """What tells this data from other data: the fold, and of either side the rows and three hashes.

        A resumed run must see the same rows in the same order: the order of an epoch is drawn over row numbers.
        """
        told: dict[str, Any] = {"fold": self.fold}
        for side, table in (("train", self.train), ("val", self.val)):
            told |= {
                f"{side}_rows": len(table),
                f"{side}_faces_sha256": _sha256(table["face"]),
                f"{side}_labels_sha256": _sha256(table["target"].astype(float)),
                f"{side}_groups_sha256": groups_sha256(table),
            }
        for side, meshes in (("train", self.meshes), ("val", self.val_meshes)):
            told[f"{side}_meshes_sha256"] = None if meshes is None else meshes.sha256()
        return told


def _sha256(values: Iterable[object]) -> str:
    """Hex SHA-256 over the values in their order, one to a line."""
    return hashlib.sha256("\n".join(map(str, values)).encode("utf-8", "surrogateescape")).hexdigest()


def load_data(
    crops: Sequence[Path | str],
    labels: Path,
    fold: int | None = None,
    val_share: float = 0.0,
    seed: int = 0,
    mesh: Path | None = None,
    made_fakes: bool = False,
    max_dropped: float = MAX_DROPPED,
    cache_gib: float = CACHE_GIB,
) -> TrainData:
    """Read crops and labels, and cut them into what is trained on and what is validated on.

    Args:
        crops: folders or uncompressed tars of face crops, or URLs.
        labels: a CSV with face, label and, as far as known, split, fold, group, filename, original, box and points.
        fold: the rows of this fold are validated on, those held out altogether (fold -1) are left alone, the rest is
            trained on. None: the column `split` decides, of which "test" is left alone.
        val_share: where the table has no split, the share of its groups that is validated on, from 0 to 1.
        seed: draws those groups.
        mesh: the meshes of the real faces (scripts/find_mesh.py).
        made_fakes: the fakes are made from meshes, and those of the table are left out.
        max_dropped: the share of the rows that may have no label or no crop, from 0 to 1.
        cache_gib: GiB of crops behind URLs that are kept on this machine.

    Returns:
        Both sides; no group stands on both.

    Raises:
        ValueError: a column is missing, too many rows are dropped, a split has an unknown name, a side is empty, a
            group stands on both sides (a leak), or meshes are needed and not given.
    """
    store, table = compact(CropStore(crops, cache_gib)), read_labels(labels)
    if "face" not in table:
        raise ValueError(f"{labels} needs a column 'face' for training; it has {list(table.columns)}")
    table, dropped = _usable(table, store, labels, max_dropped)
    is_val, is_out, held_out = _held_out(table, labels, fold, val_share, seed)
    train, val = table[~is_val & ~is_out].reset_index(drop=True), table[is_val].reset_index(drop=True)
    if train.empty or val.empty:
        raise ValueError(
            f"{labels} and {[str(c) for c in crops]} share {len(train)} training and {len(val)} validation faces"
        )
    if leaked := sorted(set(train["group"]) & set(val["group"])):
        raise ValueError(f"{len(leaked)} groups are in training and in validation, the first is {leaked[0]!r}")
    # Each side has donors of its own: a face that is validated on must not show up in a fake that is trained on.
    meshes, val_meshes = (None if mesh is None else Meshes.read(mesh, set(side["face"])) for side in (train, val))
    if made_fakes:
        if meshes is None or val_meshes is None:
            raise ValueError("this experiment makes its fakes from meshes; give --mesh (scripts/find_mesh.py makes it)")
        train, val = with_made_fakes(train, meshes), with_made_fakes(val, val_meshes)
    return TrainData(
        store, train, val, cut_as=TIGHT, fold=held_out, meshes=meshes, val_meshes=val_meshes, dropped=dropped
    )


def _usable(table: pd.DataFrame, store: CropStore, labels: Path, most: float) -> tuple[pd.DataFrame, Dropped]:
    """The rows with a label and a crop, and what was dropped; ValueError where that is more than a share."""
    labelled, there = table["target"].notna(), table["face"].isin(store.index.keys())
    missing = labelled & ~there
    first = (*table["label"][~labelled][:1], "")[0], (*table["face"][missing][:1], "")[0]
    dropped = Dropped(len(table), int((~labelled).sum()), int(missing.sum()), first)
    if dropped.unlabelled + dropped.missing > most * len(table):
        raise ValueError(
            f"{labels}: {dropped}. That is more than a share of {most:g}: correct the labels, give all --crops, or say "
            "--max-dropped"
        )
    return table[labelled & there], dropped


def with_made_fakes(table: pd.DataFrame, meshes: Meshes) -> pd.DataFrame:
    """Drop the fakes of a table and add, for each real that has a mesh, one fake to be made of it.

    Args:
        table: columns face, target, group, filename.
        meshes: of the table's faces.

    Returns:
        The reals with a mesh and behind them as many fakes. `made` says which; a fake's `original` is its real.
    """
    reals = table[(table["target"] == 0) & table["face"].isin(meshes.row_of)].assign(made=False)
    fakes = reals.assign(target=1, made=True, original=reals["filename"], filename="made of " + reals["filename"])
    return pd.concat([reals, fakes], ignore_index=True)


def _held_out(
    table: pd.DataFrame, labels: Path, fold: int | None, val_share: float, seed: int
) -> tuple[pd.Series[bool], pd.Series[bool], int | str]:
    """Which rows are validated on, which are not used at all, and what the former are called."""
    nothing = pd.Series(False, index=table.index)
    if fold is not None:
        if "fold" not in table:
            raise ValueError(f"{labels} has no column 'fold'; make it with `dfdc folds`, or leave --fold out")
        numbers = pd.to_numeric(table["fold"], errors="raise").astype(int)
        return numbers == fold, numbers == HOLDOUT, fold
    if "split" in table:
        check_splits(table["split"], labels)
        return table["split"] == "val", table["split"] == "test", "val"
    if not val_share:
        raise ValueError(f"{labels} needs a column 'split' (train or val), or `dfdc folds` and --fold")
    groups = np.unique(table["group"].to_numpy(dtype=object))
    chosen = np.random.default_rng(seed).permutation(groups)[: max(1, round(len(groups) * val_share))]
    return table["group"].isin(chosen), nothing, f"{val_share:g} of the groups"


def check_splits(split: pd.Series, labels: Path) -> None:
    """Raise ValueError, with what was found and how often, where a split is not one of SPLITS."""
    if set(split) <= set(SPLITS):
        return
    found = ", ".join(f"{name!r} ({count} faces)" for name, count in split.value_counts().items())
    raise ValueError(f"the column 'split' of {labels} holds {found}; it may hold {', '.join(SPLITS)}")
