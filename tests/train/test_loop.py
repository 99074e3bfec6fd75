import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from common.errors import DfdcError
from faces.crop import CropSpec
from models.checkpoint import load_member
from models.registry import Member
from tests.train.data.test_dataset import make_faces
from tests.train.meshes import write_meshes
from train.config import TrainConfig, experiment_names, load_experiment
from train.data.load import load_data
from train.distributed import Machine
from train.loop import Trainer
from train.optim import schedule
from train.run import train_member

SMALL = CropSpec("small", size=64, pad="edge")
TINY = {"tiny": Member("tiny", "test_efficientnet", SMALL, dropout=0.1, drop_path=0.1)}
ROOT = Path(__file__).resolve().parents[2]
CONFIG = TrainConfig(
    member="tiny", epochs=4, small_epochs=1, small_size=32, batch=4, lr=2e-3, ema_decay=0.9, start="scratch"
)


@pytest.fixture(autouse=True)
def tiny_member(monkeypatch):
    monkeypatch.setattr("models.registry.MEMBERS", TINY)


@pytest.fixture
def data(tmp_path):
    table = make_faces(tmp_path / "crops", count=48)
    table.to_csv(tmp_path / "labels.csv", index=False)
    write_meshes(tmp_path / "mesh.npz", table["face"], size=64)
    return load_data([tmp_path / "crops"], tmp_path / "labels.csv", mesh=tmp_path / "mesh.npz")


def run(data, folder, config=CONFIG, workers=0, **machine):
    return train_member("tiny", config, data, folder, Machine(torch.device("cpu"), workers, **machine), "of the test")


def weights(folder):
    return torch.load(folder / "last.pt", weights_only=True)["model"]


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
from tests.train.test_loop import CONFIG, TINY, load_data, run
if __name__ == "__main__":
    models.registry.MEMBERS = TINY
    folder = Path(sys.argv[1])
    data = load_data([folder / "crops"], folder / "labels.csv")
    config = dataclasses.replace(CONFIG, epochs=1)
    print(*(run(data, folder / str(workers), config, workers).sha256 for workers in (0, 1)))
"""


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


EVERYTHING = dataclasses.replace(
    CONFIG, sampling="originals", batch=2, accumulate=2, mixup=0.5, cutout=0.3, self_blend=0.3, degrade=0.2,
    same_augment=True, augment="strong", optimizer="sgd", schedule="poly",
)  # fmt: skip


@pytest.mark.parametrize("config", [CONFIG, EVERYTHING], ids=["plain", "everything"])
def test_two_epochs_and_two_more_are_four(data, tmp_path, config):
    """Paused after two epochs and gone on: the same files as undisturbed, bit for bit."""
    whole = run(data, tmp_path / "whole", config)
    assert run(data, tmp_path / "halves", config, until=2) is None
    assert run(data, tmp_path / "halves", config).sha256 == whole.sha256
    for key, value in weights(tmp_path / "whole").items():
        assert torch.equal(value, weights(tmp_path / "halves")[key]), key


@pytest.mark.parametrize("stop_at", [3, 12])
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(data, tmp_path, monkeypatch, stop_at):
    """Stopped by SIGTERM inside an epoch, then resumed: the same weights, bit for bit."""
    whole = run(data, tmp_path / "whole")
    original = Trainer._update

    def stopping(self, *batch):
        if self.step == stop_at and not (tmp_path / "cut/asked").exists():
            (tmp_path / "cut/asked").touch()
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *batch)

    monkeypatch.setattr(Trainer, "_update", stopping)
    assert run(data, tmp_path / "cut") is None
    assert run(data, tmp_path / "cut").sha256 == whole.sha256
    for key, value in weights(tmp_path / "whole").items():
        assert torch.equal(value, weights(tmp_path / "cut")[key]), key


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
import models.registry
from tests.train.test_loop import TINY, load_data, run
from train.loop import Trainer
if __name__ == "__main__":
    models.registry.MEMBERS = TINY
    torch.set_num_threads(1)  # as in the tests around it: another number rounds otherwise
    folder, kill_at = Path(sys.argv[1]), int(sys.argv[2])
    update = Trainer._update

    def dying(self, *batch):
        print("step", self.step, flush=True)
        if self.step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return update(self, *batch)

    Trainer._update = dying
    data = load_data([folder / "crops"], folder / "labels.csv")
    print("sha", run(data, folder / "killed", checkpoint_every=5).sha256)
"""


def test_kill_9_loses_no_more_than_checkpoint_every(data, tmp_path):
    """Killed twice without warning, then left alone: the same member as undisturbed."""
    whole = run(data, tmp_path / "whole")
    steps = []
    for kill_at in (8, 21, -1):
        command = [sys.executable, "-c", KILLED, str(tmp_path), str(kill_at)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600, cwd=ROOT)
        assert done.returncode == (0 if kill_at < 0 else -signal.SIGKILL), done.stderr
        steps.append([int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("step")])
    assert [(run[0], run[-1]) for run in steps] == [(0, 8), (5, 21), (20, 47)]
    assert done.stdout.split()[-1] == whole.sha256


TOGETHER = """
import os, sys
from pathlib import Path
import torch
import models.registry
from tests.train.test_loop import PLAIN, SOLO, load_data, train_member
from train.distributed import Machine, join_team
if __name__ == "__main__":
    models.registry.MEMBERS = PLAIN
    folder = Path(sys.argv[1])
    data = load_data([folder / "crops"], folder / "labels.csv")
    with join_team(torch.device("cpu")) as (team, device):
        train_member("plain", SOLO, data, folder / "together", Machine(device, 0, team=team), "of the test")
"""
# Without batch statistics and dropout, one process with twice the batch does the same sums.
PLAIN = {"plain": Member("plain", "convnext_atto", SMALL, dropout=0.0, drop_path=0.0)}
SOLO = dataclasses.replace(CONFIG, member="plain", epochs=2, batch=4)


def test_two_processes_are_one_with_twice_the_batch(data, tmp_path, monkeypatch):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    (tmp_path / "together.py").write_text(TOGETHER)
    done = subprocess.run(
        [*command, str(tmp_path / "together.py"), str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr("models.registry.MEMBERS", PLAIN)
    solo = dataclasses.replace(SOLO, batch=8)
    train_member("plain", solo, data, tmp_path / "solo", Machine(torch.device("cpu"), 0), "of the test")
    together, alone = (pd.read_csv(tmp_path / run / "history.csv") for run in ("together", "solo"))
    assert len(together) == len(alone) == 2
    np.testing.assert_allclose(together["train_loss"], alone["train_loss"], rtol=2e-4)
    np.testing.assert_allclose(together["val_log_loss_balanced"], alone["val_log_loss_balanced"], rtol=2e-3)
    assert (tmp_path / "together/plain.safetensors").exists()


def test_other_options_refuse_an_old_checkpoint(data, tmp_path):
    run(data, tmp_path / "run", dataclasses.replace(CONFIG, epochs=1))
    with pytest.raises(ValueError, match=r"another \['epochs', 'lr'\]"):
        run(data, tmp_path / "run", dataclasses.replace(CONFIG, epochs=2, lr=0.1))


def test_a_loss_that_is_not_finite_stops_the_run(data, tmp_path, monkeypatch):
    monkeypatch.setattr("train.loop.functional.binary_cross_entropy_with_logits", lambda a, _: a.sum() * float("nan"))
    with pytest.raises(DfdcError, match="the loss became nan before step"):
        run(data, tmp_path / "run")


def test_a_leak_between_training_and_validation_is_refused(tmp_path):
    table = make_faces(tmp_path / "crops")
    table.loc[0, "original_group"] = table["original_group"].iloc[-1]
    table.to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(ValueError, match="1 groups are in training and in validation"):
        load_data([tmp_path / "crops"], tmp_path / "labels.csv")


def folded(tmp_path, **columns):
    table = make_faces(tmp_path / "crops", count=48).drop(columns="split")
    table.assign(**columns).to_csv(tmp_path / "labels.csv", index=False)
    return [tmp_path / "crops"], tmp_path / "labels.csv"


def test_a_fold_is_validated_on_and_the_holdout_left_alone(tmp_path):
    crops, labels = folded(tmp_path, fold=[i // 3 % 4 - 1 for i in range(48)])
    data = load_data(crops, labels, fold=1)
    assert set(data.val["fold"]) == {"1"}
    assert set(data.train["fold"]) == {"0", "2"}
    assert data.fold == 1
    with pytest.raises(ValueError, match="0 validation faces"):
        load_data(crops, labels, fold=7)


def test_a_share_of_the_groups_is_validated_on_where_nothing_else_is_said(tmp_path):
    crops, labels = folded(tmp_path)
    data = load_data(crops, labels, val_share=0.25)
    assert data.val["group"].nunique() == 4
    assert not set(data.val["group"]) & set(data.train["group"])
    assert load_data(crops, labels, val_share=0.25).val["face"].tolist() == data.val["face"].tolist()
    for options, message in (({}, "needs a column 'split'"), ({"fold": 0}, "no column 'fold'")):
        with pytest.raises(ValueError, match=message):
            load_data(crops, labels, **options)


def test_another_number_of_processes_refuses_a_checkpoint(data, tmp_path):
    run(data, tmp_path / "run", dataclasses.replace(CONFIG, epochs=1))
    state = torch.load(tmp_path / "run/last.pt", weights_only=True)
    torch.save({**state, "world": 2}, tmp_path / "run/last.pt")
    with pytest.raises(ValueError, match=r"trained by 2 processes, now there are 1.*--nproc-per-node 2"):
        run(data, tmp_path / "run", dataclasses.replace(CONFIG, epochs=1))


def test_data_without_validation_is_refused(tmp_path):
    make_faces(tmp_path / "crops").assign(split="train").to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(ValueError, match="24 training and 0 validation faces"):
        load_data([tmp_path / "crops"], tmp_path / "labels.csv")


@pytest.mark.parametrize("kind", ["cosine", "poly"])
def test_schedule_climbs_and_falls(kind):
    config = dataclasses.replace(CONFIG, schedule=kind, warmup=0.1)
    rates = [schedule(step, 100, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] < 0.02


def test_a_constant_schedule_without_warm_up_is_constant():
    config = dataclasses.replace(CONFIG, schedule="constant", warmup=0)
    assert {schedule(step, 100, config) for step in range(100)} == {1.0}


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_lower_precision_learns_too(data, tmp_path, amp):
    trainer = Trainer(
        dataclasses.replace(CONFIG, amp=amp, epochs=6), data, tmp_path / amp, Machine(torch.device("cpu"), 0)
    )
    assert trainer.scaler.is_enabled() == (amp == "fp16")
    trainer.run()
    assert trainer.history[-1]["train_loss"] < trainer.history[0]["train_loss"] - 0.1


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


@pytest.mark.parametrize("name", experiment_names())
def test_every_experiment_loads(name):
    assert isinstance(load_experiment(name), TrainConfig)


def test_an_unknown_experiment_is_told_the_known_ones():
    with pytest.raises(ValueError, match=r"known: .*lite0_tight"):
        load_experiment("nothing")


@pytest.mark.parametrize(
    "change",
    [{"epochs": 0}, {"small_epochs": 9}, {"start": "moon"}, {"amp": "fp8"}, {"cutout": 1.5}, {"accumulate": 0}],
)
def test_impossible_configs_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        dataclasses.replace(CONFIG, **change)
