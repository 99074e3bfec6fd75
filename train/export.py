"""A trained network as a member: calibrated, written, read back and held against what was trained."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from common.engine import make_runner, to_device
from common.errors import DfdcError
from common.files import write_text
from ensemble.calibrate import Calibration, cross_fit, fit_calibration
from ensemble.metrics import auc, log_loss, log_loss_balanced, sigmoid
from models.checkpoint import DRIFT_LIMIT, Card, load_member, save_member
from models.network import classifier_layers
from models.registry import get_member
from train.checkpoint import BEST
from train.data.dataset import FaceDataset
from train.data.table import group_digests, groups_sha256
from train.validate import score_alone

if TYPE_CHECKING:
    from train.loop import Trainer


def export_member(run: Trainer, name: str, data_name: str) -> Card | None:
    """Calibrate the best network of a finished run and write <name>.safetensors and its card.

    Args:
        run: a trainer that has reached its last epoch. Every process must call this.
        name: of the member.
        data_name: what the card calls the data.

    Returns:
        The card; None for all processes but the first, which writes.

    Raises:
        StoppedError: a stop was asked for; the same command exports again.
        DfdcError: the file does not score as the trained network does; nothing is left of it.
    """
    best = torch.load(run.folder / BEST, map_location=run.device, weights_only=True)
    run.ema.module.load_state_dict(best)
    logits, calibration = _calibrate(run)
    if not run.team.leads:
        return None
    scorer, member = run.ema.module, get_member(run.config.member)
    card = Card(
        name=name,
        backbone=member.backbone,
        crop=run.spec,
        sha256="",
        bytes=0,
        parameters=0,
        dtype="",
        head=member.head,
        training=_provenance(run, data_name),
        metrics={"val": _metrics(logits, calibration, run.data.val)},
        seconds_per_32_crops=_seconds_per_32_crops(scorer, run.spec.size, run.device),
    )
    with tempfile.TemporaryDirectory(dir=run.folder, prefix=".export.") as temporary:
        beside = Path(temporary)
        written = save_member(beside, card, scorer.backbone, drift_on=_some_faces(run))
        drift = check_file(run, written, beside, calibration.scale * logits + calibration.shift)
        card = dataclasses.replace(written, max_drift=round(max(drift, written.max_drift or 0.0), 6))
        write_text(beside / f"{name}.json", card.to_json())
        for ending in ("safetensors", "json"):
            (beside / f"{name}.{ending}").replace(run.folder / f"{name}.{ending}")
    return card


def check_file(run: Trainer, card: Card, folder: Path, trained: NDArray[np.float64]) -> float:
    """Score the validation faces by the member as `dfdc predict` will load it, and hold it against the training's.

    Args:
        run: the trainer, for its validation faces; alone, whatever its team is.
        card: of the file.
        folder: where the file lies.
        trained: (N,) calibrated logits of the trained network.

    Returns:
        The largest difference of prob_fake of a face.

    Raises:
        DfdcError: it is more than DRIFT_LIMIT, or a figure of the validation differs.
    """
    loaded = to_device(load_member(card, folder), run.device)
    found = score_alone(run, loaded)
    drift = float(np.abs(sigmoid(found) - sigmoid(trained)).max())
    if not drift <= DRIFT_LIMIT:
        raise DfdcError(
            f"the file of member {card.name!r} does not score as the network that was trained: prob_fake of a face is "
            f"off by {drift:.4f}, more than {DRIFT_LIMIT}. It is not kept; {run.folder / BEST} has the trained weights"
        )
    check_figures(card.name, run.data.val["target"].to_numpy(), found, trained)
    return drift


def check_figures(
    name: str, label: NDArray[np.float64], found: NDArray[np.float64], trained: NDArray[np.float64]
) -> None:
    """Raise DfdcError where AUC or log loss of a file's logits are not those of the trained network.

    Args:
        name: of the member.
        label: (N,) 1 for a fake.
        found: (N,) logits of the file.
        trained: (N,) logits of the network.
    """
    pairs = max(1.0, float(label.sum() * (1 - label).sum()))
    # Of few faces a pair that changes places is a visible part of the AUC.
    limits = {"auc": max(DRIFT_LIMIT, 4 / pairs), "log_loss_balanced": DRIFT_LIMIT}
    for figure, limit in limits.items():
        measure = auc if figure == "auc" else log_loss_balanced
        before, after = (measure(label, sigmoid(logits)) for logits in (trained, found))
        if not abs(before - after) <= limit:
            raise DfdcError(
                f"member {name!r} had {figure} {before:.4f} on the validation faces when it was trained, and its file "
                f"has {after:.4f}; it is not kept"
            )


def _some_faces(run: Trainer, count: int = 256) -> NDArray[np.uint8]:
    """Validation crops, evenly spread over the table, on which halving the precision must change nothing."""
    data = run.data
    dataset = FaceDataset(data.store, data.val, run.spec, data.cut_as, meshes=data.val_meshes)
    rows = np.unique(np.linspace(0, len(dataset) - 1, count).round().astype(int))
    return np.stack([dataset[int(row)][0].numpy() for row in rows])


def _calibrate(run: Trainer) -> tuple[NDArray[np.float64], Calibration]:
    """Fit the calibration on the validation faces and build it into the classifier; returns the logits before it."""
    logits, val = run.validate(), run.data.val
    calibration = fit_calibration(logits, val["target"].to_numpy())
    with torch.no_grad():
        for layer in classifier_layers(run.ema.module.backbone):
            layer.weight.mul_(calibration.scale)
            layer.bias.mul_(calibration.scale).add_(calibration.shift)  # type: ignore[union-attr]
    return logits, calibration


def _metrics(logits: NDArray[np.float64], calibration: Calibration, val: pd.DataFrame) -> dict[str, Any]:
    """Figures of the calibrated member: no face is scored by a calibration that saw its group."""
    label = val["target"].to_numpy()
    prob_fake = sigmoid(cross_fit(logits, label, val["group"].to_numpy(dtype=object)))
    return {
        "faces": len(val),
        "auc": round(auc(label, prob_fake), 5),
        "log_loss_balanced": round(log_loss_balanced(label, prob_fake), 5),
        "log_loss": round(log_loss(label, prob_fake), 5),
        "log_loss_balanced_uncalibrated": round(log_loss_balanced(label, sigmoid(logits)), 5),
        "calibration": {"scale": round(calibration.scale, 5), "shift": round(calibration.shift, 5)},
        "note": "calibration cross-fitted by group; the epoch was chosen on these faces, so slightly optimistic",
    }


def _seconds_per_32_crops(scorer: torch.nn.Module, size: int, device: torch.device) -> float:
    """Time scoring in torch, the best of five. OpenVINO, several times faster, stays out of the training process."""
    score = make_runner(scorer, size, device, engine="torch", batch=32)
    crops = np.zeros((32, size, size, 3), dtype=np.uint8)
    score(crops)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        score(crops)
        times.append(time.perf_counter() - began)
    return round(min(times), 4)


def _provenance(run: Trainer, data_name: str) -> dict[str, Any]:
    data = run.data
    packages = ("torch", "timm", "numpy", "opencv-python-headless")
    return {
        "data": data_name,
        "faces": len(data.train),
        "fold": data.fold,
        "groups_sha256": groups_sha256(data.train),
        "groups": group_digests(data.train),
        "held_out_groups": group_digests(data.val),
        "start": run.start,
        "init": run.learnt,
        # The file's name alone: where it lay is of this machine, and `init` below says which member it was.
        "config": dataclasses.asdict(run.config) | {"init": Path(run.config.init).name},
        "extended": run.extended,
        "history": run.history,
        "seconds": round(run.seconds),
        "device": _device_name(run.device),
        "processes": run.team.world,
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "commit": _commit(),
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def _commit() -> str:
    """The source's commit, with + when files differ from it; empty outside a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
