"""Training on a GPU: in 16 bits, stopped and gone on with, compiled, and read back as a member."""

import dataclasses
import os
import signal

import pytest
import torch

from models.checkpoint import load_member
from tests.train.running import CONFIG, weights
from train.distributed import Machine
from train.loop import Trainer
from train.run import train_member

pytestmark = pytest.mark.gpu


def run(data, folder, config=CONFIG, workers=0, **machine):
    return train_member("tiny", config, data, folder, Machine(torch.device("cuda"), workers, **machine), "of the test")


@pytest.mark.parametrize("amp", ["auto", "bf16", "fp16", "off"])
def test_a_member_is_trained_and_scores_as_its_network(data, tmp_path, amp):
    """The export refuses a file that does not score as the network that was trained."""
    card = run(data, tmp_path / "run", dataclasses.replace(CONFIG, amp=amp))
    assert card.training["device"] == torch.cuda.get_device_name()
    assert len(card.training["history"]) == CONFIG.epochs
    assert load_member(card, tmp_path / "run") is not None


def test_a_stopped_run_goes_on_to_the_same_end(data, tmp_path, monkeypatch):
    """Atomic additions on a GPU come in any order, so that the ends agree closely and not to the bit."""
    run(data, tmp_path / "whole")
    update = Trainer._update

    def stopping(self, *batch):
        if self.step == 9 and not (tmp_path / "cut/asked").exists():
            (tmp_path / "cut/asked").touch()
            os.kill(os.getpid(), signal.SIGTERM)
        return update(self, *batch)

    monkeypatch.setattr(Trainer, "_update", stopping)
    assert run(data, tmp_path / "cut") is None
    run(data, tmp_path / "cut")
    ended = weights(tmp_path / "cut")
    for key, value in weights(tmp_path / "whole").items():
        torch.testing.assert_close(ended[key].float(), value.float(), rtol=0.05, atol=0.05, msg=key)


def test_loader_processes_feed_it(data, tmp_path):
    config = dataclasses.replace(CONFIG, epochs=1, small_epochs=0, self_blend=0.5, bands=0.5, publish=0.5)
    assert run(data, tmp_path / "run", config, workers=2).bytes > 0


def test_a_compiled_network_trains(data, tmp_path):
    card = run(data, tmp_path / "run", dataclasses.replace(CONFIG, epochs=1, small_epochs=0), compile=True)
    assert card.bytes > 0
