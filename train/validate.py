"""The batches of a run, and the scoring of its validation faces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Subset
from tqdm import tqdm

from ensemble.calibrate import cross_fit
from ensemble.metrics import auc, log_loss_balanced, sigmoid
from train.data.dataset import FaceDataset
from train.data.loader import Batches, EpochBatches, EpochFaces, check_shared_memory, make_loader
from train.stopping import GO_ON, StoppedError

if TYPE_CHECKING:
    import pandas as pd

    from train.loop import Trainer

BATCH = 32  # faces; scoring holds no gradients, so this fits wherever training does


def training_batches(run: Trainer) -> Batches:
    """Make the batches of training; one loader for all epochs, whose processes start at the first use and stay.

    Raises:
        DfdcError: shared memory is too small for the loader processes.
    """
    config, data, machine = run.config, run.data, run.machine
    check_shared_memory(config.batch * run.spec.size**2 * 3, machine.workers, run.team.here)
    faces = FaceDataset(data.store, data.train, run.spec, data.cut_as, config, meshes=data.meshes)
    training = EpochFaces(faces, config.small_epochs, config.small_size)
    return make_loader(training, run.device, machine.workers, config.seed, batch_sampler=EpochBatches(run.sampler))


def validation_batches(run: Trainer, alone: bool = False) -> Batches:
    """Make the batches of a process's share of the validation faces; of all of them when it is alone."""
    data, team = run.data, run.team
    faces = FaceDataset(data.store, data.val, run.spec, data.cut_as, meshes=data.val_meshes)
    mine = faces if alone else Subset(faces, list(range(team.rank, len(faces), team.world)))
    return make_loader(mine, run.device, run.machine.workers, run.config.seed, batch_size=BATCH)


def score_together(run: Trainer, network: torch.nn.Module) -> np.ndarray:
    """Score the validation faces, each process its share. Every process must call it.

    Args:
        run: the trainer.
        network: in eval mode.

    Returns:
        (N,) float64 logits in the order of the table.

    Raises:
        StoppedError: a stop was asked for in any process; all leave between the same two batches.
    """
    found: list[torch.Tensor] = []
    with run.stops.held(), torch.inference_mode():
        batches = iter(run.val_batches)
        # The shares may differ by one batch: whoever has none left takes part in the question only.
        rounds = max(run.team.gather(len(run.val_batches)))
        for _ in tqdm(range(rounds), desc="validate", leave=False, disable=True if not run.team.leads else None):
            batch = None
            try:
                with run.stops.released():
                    batch = next(batches, None)
            except StoppedError:
                batch = None  # `asked` tells the others
            if run.team.any(run.stops.asked):
                raise StoppedError(f"stopped in the validation of epoch {run.epoch + 1}; {GO_ON}")
            if batch is not None:
                found.append(network(batch[0].to(run.device, non_blocking=True)).float())
    mine = torch.cat(found).double().cpu().numpy() if found else np.zeros(0)
    logits = np.full(len(run.data.val), np.nan)
    for rank, part in enumerate(run.team.gather(mine)):
        logits[rank :: run.team.world] = part
    return logits


def score_alone(run: Trainer, network: torch.nn.Module) -> np.ndarray:
    """Score all validation faces in this process; as `score_together`, without the team."""
    found = []
    with torch.inference_mode():
        for crops, *_ in validation_batches(run, alone=True):
            if run.stops.asked:
                raise StoppedError(f"stopped while the member was checked; {GO_ON}")
            found.append(network(crops.to(run.device)).double().cpu())
    return torch.cat(found).numpy()


def figures_of(logits: np.ndarray, table: pd.DataFrame) -> dict[str, float]:
    """Score an epoch.

    Args:
        logits: (N,) of the validation faces.
        table: of these faces, with target and group.

    Returns:
        val_log_loss_balanced, val_log_loss_calibrated and val_auc. The calibrated loss is what counts: the member is
        calibrated when it is exported, so being too bold is no fault of an epoch.
    """
    label, prob_fake = table["target"].to_numpy(), sigmoid(logits)
    calibrated = sigmoid(cross_fit(logits, label, table["group"].to_numpy(dtype=object)))
    return {
        "val_log_loss_balanced": log_loss_balanced(label, prob_fake),
        "val_log_loss_calibrated": log_loss_balanced(label, calibrated),
        "val_auc": auc(label, prob_fake),
    }
