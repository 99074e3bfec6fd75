"""What is said before a run begins, and what a dry run measures."""

import dataclasses

import pytest
import torch

from common.errors import DfdcError
from tests.train.running import CONFIG
from train.distributed import Machine
from train.loop import Trainer
from train.plan import Timing, describe, time_steps


def trainer(data, tmp_path, **changes):
    return Trainer(dataclasses.replace(CONFIG, **changes), data, tmp_path / "run", Machine(torch.device("cpu"), 0))


def test_a_run_says_what_it_will_do(data, tmp_path):
    told = describe(trainer(data, tmp_path)).splitlines()
    assert told[0].startswith("device: 1 x cpu, float32; 0 loader processes each")
    assert told[1:] == [
        "labels: 48 of 48 rows kept",
        "train: 36 faces (24 fake) of 12 groups",
        "val: 12 faces (8 fake) of 4 groups",
        "steps: 12 an epoch of 4 faces at 64 pixels, 48 in all",
        "memory: about 0.0 GiB: weights and what is kept for each 0.0, a batch of 4 0.0",
        "start: scratch",
    ]


def test_a_dry_run_times_steps_and_writes_nothing(data, tmp_path):
    timing = time_steps(trainer(data, tmp_path), steps=4)
    assert timing.steps == 4
    assert 0 < timing.waiting < timing.seconds
    assert timing.images == 4
    assert timing.seconds_validating > 0
    assert not (tmp_path / "run").exists()
    with pytest.raises(DfdcError, match="an epoch has 3 steps; a dry run needs 4"):
        time_steps(trainer(data, tmp_path, accumulate=4))


def test_hours_and_price_are_of_all_steps_and_validations():
    timing = Timing(20, 0.5, 0.1, 64, 90, steps_in_all=7200, epochs=40)
    assert timing.hours == pytest.approx(2.0)
    assert timing.text(1.5) == (
        "20 steps of 0.500 s, 128 images/s, 20% of the time waiting for the loader; 2.00 hours at most, 3.00 at 1.5 an "
        "hour"
    )
    assert "at most" in timing.text(None) and " at 1" not in timing.text(None)
