"""All folds of an experiment, one after the other, and the out-of-fold table of them."""

from __future__ import annotations

import dataclasses
import sys

from train.data.provenance import read_training_labels
from train.data.table import HOLDOUT
from train.oof import OofRequest, write_oof
from train.run import TrainRequest, run_training
from train.scored_table import ScoredTable
from train.stopping import StoppedError


def run_kfold(request: TrainRequest) -> ScoredTable:
    """Train one run for each fold of a table, each in <output>/<fold>, and write <output>/oof.csv.

    Args:
        request: as for one run; its `fold` is not looked at, `output` and `mirror` are of all runs. Runs that are
            finished are not trained again.

    Returns:
        The logits of every face by the run that left out its fold.

    Raises:
        StoppedError: a stop was asked for; the same call goes on.
        ValueError: the labels have no fold, or as `run_training`.
        DfdcError: as `run_training`.
    """
    table = read_training_labels(request.labels)
    if "fold" not in table:
        raise ValueError(f"{request.labels} has no column 'fold'; make it with `dfdc folds`")
    folds = [int(fold) for fold in sorted(set(table["fold"])) if fold != HOLDOUT]
    if len(folds) < 2:
        raise ValueError(f"{request.labels} has the folds {folds}; two are needed at least")
    for fold in folds:
        folder = request.output / str(fold)
        if (folder / f"{request.name}.json").exists():
            print(f"fold {fold}: {folder} is finished", file=sys.stderr)
            continue
        mirror = f"{request.mirror.rstrip('/')}/{fold}" if request.mirror else None
        print(f"fold {fold} of {folds}", file=sys.stderr)
        result = run_training(dataclasses.replace(request, fold=fold, output=folder, mirror=mirror))
        if result.stopped:
            raise StoppedError(f"fold {fold}: {result.message}", result.interrupted)
        print(result.message, file=sys.stderr)
    runs = tuple(request.output / str(fold) for fold in folds)
    return write_oof(OofRequest(runs, request.crops, request.labels, request.output / "oof.csv", request.device))
