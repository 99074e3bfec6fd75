"""A stop is acted on wherever the run is, and nothing is lost by it."""

import dataclasses
import os
import signal
import threading

import pytest
import torch

from common.errors import DfdcError
from tests.train.running import CONFIG, run
from tests.waiting import in_time
from train.checkpoint import read_latest
from train.data.dataset import FaceDataset
from train.distributed import Machine
from train.loop import Trainer
from train.stopping import StoppedError, Stops, stop_requests

SHORT = dataclasses.replace(CONFIG, epochs=2)


def place(folder):
    facts = read_latest(folder).facts
    return facts["epoch"], facts["step"]


def test_a_stop_in_validation_is_acted_on_and_costs_no_step(data, tmp_path, monkeypatch):
    whole = run(data, tmp_path / "whole", SHORT)
    scored = []
    original = FaceDataset.__getitem__

    def stopping(self, index):
        if self.change is None and not (tmp_path / "asked").exists():
            (tmp_path / "asked").touch()
            os.kill(os.getpid(), signal.SIGTERM)
        if self.change is None:
            scored.append(index)
        return original(self, index)

    monkeypatch.setattr(FaceDataset, "__getitem__", stopping)
    assert run(data, tmp_path / "cut", SHORT) is None
    assert not scored  # not even the batch in hand was read to its end
    assert place(tmp_path / "cut") == (0, 12)  # all steps of the epoch, which is validated again
    assert run(data, tmp_path / "cut", SHORT).sha256 == whole.sha256


def test_a_stop_while_data_does_not_come_is_acted_on_at_once(data, tmp_path, monkeypatch):
    """A read that hangs, as on a network disk: the run leaves in the middle of it, with the steps that it has."""
    config = dataclasses.replace(SHORT, accumulate=2)
    whole = run(data, tmp_path / "whole", config)
    original, reads, never = FaceDataset.__getitem__, [], threading.Event()

    def hanging(self, index):
        reads.append(index)
        if len(reads) == 22:  # the second batch of the third step
            os.kill(os.getpid(), signal.SIGTERM)
            never.wait()
        return original(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(FaceDataset, "__getitem__", hanging)
        assert run(data, tmp_path / "cut", config) is None
    assert place(tmp_path / "cut") == (0, 2)
    assert run(data, tmp_path / "cut", config).sha256 == whole.sha256


def test_a_dead_loader_process_ends_the_run_with_a_line_and_a_checkpoint(data, tmp_path, monkeypatch):
    trainer = Trainer(SHORT, data, tmp_path / "run", Machine(torch.device("cpu"), 0))
    original = Trainer._fetch

    class Dead:
        def __iter__(self):
            return self

        def __next__(self):
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    monkeypatch.setattr(Trainer, "_fetch", lambda self, b: original(self, Dead() if self.step == 3 else b))
    with pytest.raises(DfdcError, match=r"a loader process died .*killed by signal.*fewer --workers"):
        trainer.run()
    assert place(tmp_path / "run") == (0, 3)


def test_a_request_raises_where_it_may_and_is_noted_where_it_may_not():
    before = signal.getsignal(signal.SIGTERM)
    with stop_requests() as stops:
        with stops.held():
            os.kill(os.getpid(), signal.SIGTERM)
            assert stops.asked
            with pytest.raises(StoppedError), stops.released():
                pytest.fail("a request that has come before raises at once")
        with pytest.raises(StoppedError):
            os.kill(os.getpid(), signal.SIGINT)
            in_time(threading.Event().wait, "never")
    assert signal.getsignal(signal.SIGTERM) is before
    assert not Stops().asked
