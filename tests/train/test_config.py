"""What an experiment may say."""

import dataclasses

import pytest

from tests.train.running import CONFIG
from train.config import TrainConfig, experiment_names, load_experiment
from train.optim import schedule


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
