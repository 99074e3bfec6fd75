"""A run learns, repeats itself, and refuses what would spoil it."""

import dataclasses
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from common.errors import DfdcError
from models.checkpoint import load_member
from tests.train.running import CONFIG, PLAIN, ROOT, SOLO, run
from train.data.load import load_data
from train.distributed import Machine
from train.loop import Trainer


def test_training_learns_and_leaves_a_member(data, tmp_path):
    card = run(data, tmp_path / "run", dataclasses.replace(CONFIG, epochs=12))
    assert card.metrics["val"]["auc"] > 0.9
    assert card.training["history"][-1]["epoch"] == 12
    scorer = load_member(card, tmp_path / "run")
    fake = np.full((1, 64, 64, 3), 90, np.uint8)
    fake[:, 20:44, 20:44] = 230
    with torch.inference_mode():
        assert scorer(torch.from_numpy(fake)) > scorer(torch.full((1, 64, 64, 3), 90, dtype=torch.uint8))


def test_one_seed_gives_the_same_file(data, tmp_path):
    first, second = run(data, tmp_path / "a"), run(data, tmp_path / "b")
    assert first.sha256 == second.sha256
    other = run(data, tmp_path / "c", dataclasses.replace(CONFIG, seed=1))
    assert other.sha256 != first.sha256


IN_A_PROCESS = """
import dataclasses, sys
from pathlib import Path
import models.registry
from tests.train.running import CONFIG, TINY, run
from train.data.load import load_data
if __name__ == "__main__":
    models.registry.MEMBERS = TINY
    folder = Path(sys.argv[1])
    data = load_data([folder / "crops"], folder / "labels.csv")
    config = dataclasses.replace(CONFIG, epochs=1)
    print(*(run(data, folder / str(workers), config, workers).sha256 for workers in (0, 1)))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("data")
def test_loader_processes_change_nothing(tmp_path):
    """In a process of its own, as training has it: loader processes and OpenVINO, which other tests load, crash."""
    command = [sys.executable, "-c", IN_A_PROCESS, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    without, with_one = done.stdout.split()[-2:]
    assert without == with_one
    assert len(without) == 64


def test_the_calibration_is_built_into_the_member(data, tmp_path):
    card = run(data, tmp_path / "run", dataclasses.replace(CONFIG, epochs=3))
    fitted = card.metrics["val"]["calibration"]
    best = torch.load(tmp_path / "run/best.pt", weights_only=True)["backbone.classifier.bias"]
    shipped = load_member(card, tmp_path / "run").backbone.classifier.bias
    assert fitted["scale"] != 1
    torch.testing.assert_close(shipped.data, best * fitted["scale"] + fitted["shift"], atol=1e-4, rtol=1e-4)


def test_fakes_can_be_made_of_reals_alone(data, tmp_path):
    """A table without a single fake trains and validates on as many fakes as reals, each side with its own donors."""
    table = pd.read_csv(tmp_path / "labels.csv")
    table[table["label"] == "REAL"].to_csv(tmp_path / "reals.csv", index=False)
    made = load_data([tmp_path / "crops"], tmp_path / "reals.csv", mesh=tmp_path / "mesh.npz", made_fakes=True)
    for side, meshes in ((made.train, made.meshes), (made.val, made.val_meshes)):
        assert side["target"].mean() == 0.5
        assert set(meshes.names) == set(side["face"])
    assert not set(made.meshes.names) & set(made.val_meshes.names)
    config = dataclasses.replace(CONFIG, made_fakes=True, same_augment=True, publish=0.5, epochs=1, batch=4)
    card = run(made, tmp_path / "run", config)
    assert card.metrics["val"]["faces"] == len(made.val)
    with pytest.raises(ValueError, match="makes its fakes from meshes; give --mesh"):
        load_data([tmp_path / "crops"], tmp_path / "reals.csv", made_fakes=True)


def test_a_loss_that_is_not_finite_stops_the_run(data, tmp_path, monkeypatch):
    monkeypatch.setattr("train.loop.functional.binary_cross_entropy_with_logits", lambda a, _: a.sum() * float("nan"))
    with pytest.raises(DfdcError, match="the loss became nan before step"):
        run(data, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_lower_precision_learns_too(data, tmp_path, amp):
    trainer = Trainer(
        dataclasses.replace(CONFIG, amp=amp, epochs=6), data, tmp_path / amp, Machine(torch.device("cpu"), 0)
    )
    assert trainer.scaler.is_enabled() == (amp == "fp16")
    trainer.run()
    assert trainer.history[-1]["train_loss"] < trainer.history[0]["train_loss"] - 0.1


@pytest.mark.slow
def test_accumulating_is_a_larger_batch(data, tmp_path, monkeypatch):
    """Two batches of 4 per step and one of 8: the same pairs, the same sums."""
    monkeypatch.setattr("models.registry.MEMBERS", PLAIN)
    losses = []
    for batch, accumulate in ((8, 1), (4, 2)):
        config = dataclasses.replace(SOLO, batch=batch, accumulate=accumulate, epochs=1)
        trainer = Trainer(config, data, tmp_path / str(batch), Machine(torch.device("cpu"), 0))
        trainer.run()
        losses.append((trainer.history[-1]["train_loss"], trainer.history[-1]["val_log_loss_balanced"]))
    np.testing.assert_allclose(*losses, rtol=1e-3)
