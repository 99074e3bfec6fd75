"""A run that was paused, stopped or killed goes on as if nothing had happened."""

import dataclasses
import os
import signal

import pytest
import torch

from tests.train.running import CONFIG, run, run_killed, weights
from train.loop import Trainer

EVERYTHING = dataclasses.replace(
    CONFIG, sampling="originals", batch=2, accumulate=2, mixup=0.5, cutout=0.3, self_blend=0.3, degrade=0.2,
    same_augment=True, augment="strong", optimizer="sgd", schedule="poly",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("config", [pytest.param(CONFIG, id="plain"), pytest.param(EVERYTHING, id="everything")])
def test_two_epochs_and_two_more_are_four(data, tmp_path, config):
    """Paused after two epochs and gone on: the same files as undisturbed, bit for bit."""
    whole = run(data, tmp_path / "whole", config)
    assert run(data, tmp_path / "halves", config, until=2) is None
    assert run(data, tmp_path / "halves", config).sha256 == whole.sha256
    for key, value in weights(tmp_path / "whole").items():
        assert torch.equal(value, weights(tmp_path / "halves")[key]), key


@pytest.mark.parametrize("stop_at", [3, pytest.param(12, marks=pytest.mark.slow)])
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


@pytest.mark.slow
def test_kill_9_loses_no_more_than_checkpoint_every(data, tmp_path):
    """Killed twice without warning, then left alone: the same member as undisturbed."""
    whole = run(data, tmp_path / "whole")
    steps = []
    for kill_at in (8, 21, -1):
        mine, sha256 = run_killed(tmp_path, tmp_path / "killed", kill_at)
        steps.append((mine[0], mine[-1]))
    assert steps == [(0, 8), (5, 21), (20, 47)]
    assert sha256 == whole.sha256


def test_other_options_refuse_an_old_checkpoint(data, tmp_path):
    run(data, tmp_path / "run", dataclasses.replace(CONFIG, epochs=1))
    with pytest.raises(ValueError, match=r"another \['epochs', 'lr'\]"):
        run(data, tmp_path / "run", dataclasses.replace(CONFIG, epochs=2, lr=0.1))


def test_another_number_of_processes_refuses_a_checkpoint(data, tmp_path):
    run(data, tmp_path / "run", dataclasses.replace(CONFIG, epochs=1))
    state = torch.load(tmp_path / "run/last.pt", weights_only=True)
    torch.save({**state, "world": 2}, tmp_path / "run/last.pt")
    with pytest.raises(ValueError, match=r"trained by 2 processes, now there are 1.*--nproc-per-node 2"):
        run(data, tmp_path / "run", dataclasses.replace(CONFIG, epochs=1))
