"""What an experiment may say."""

import dataclasses

import pytest

from models.registry import MEMBERS, get_member
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
    [
        {"epochs": 0},
        {"small_epochs": 9},
        {"start": "moon"},
        {"amp": "fp8"},
        {"cutout": 1.5},
        {"accumulate": 0},
        {"batch": 0},
        {"batch": 1},
        {"size": -3},
        {"small_size": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"mixup": float("nan")},
        {"clip_norm": -1.0},
        {"weight_decay": -1.0},
        {"seed": -1},
        {"misfits": 1.5},
    ],
)
def test_impossible_configs_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        dataclasses.replace(CONFIG, **change)


def test_options_are_set_by_their_names():
    config = CONFIG.changed(["batch=64", "lr=1e-3", "same_augment=true", "optimizer=sgd"])
    assert (config.batch, config.lr, config.same_augment, config.optimizer) == (64, 1e-3, True, "sgd")
    assert CONFIG.changed([]) == CONFIG


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("batsh=64", "needs key=value with one of member, start, size"),
        ("batch", "needs key=value"),
        ("batch=many", r"batch=many: a number \(int\) is needed"),
        ("sync_bn=perhaps", "true or false is needed"),
        ("optimizer=adam", "optimizer is 'adam', not one of"),
    ],
)
def test_an_option_that_does_not_exist_or_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        CONFIG.changed([change])


def test_an_experiment_is_a_file_anywhere_with_a_member_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("models.registry.MEMBERS", dict(MEMBERS))
    (tmp_path / "mine.py").write_text(
        "from models.registry import CLOSE, Member\nfrom train.config import TrainConfig\n"
        "MEMBER = Member('mine', 'resnet18', CLOSE)\nCONFIG = TrainConfig(member='mine', epochs=9)\n"
    )
    assert load_experiment(str(tmp_path / "mine.py")).epochs == 9
    assert get_member("mine").backbone == "resnet18"
    (tmp_path / "mine.py").write_text("MEMBER = 1\n")
    with pytest.raises(ValueError, match="has no CONFIG"):
        load_experiment(str(tmp_path / "mine.py"))
    with pytest.raises(ValueError, match="is no file with an experiment"):
        load_experiment(str(tmp_path / "none.py"))
