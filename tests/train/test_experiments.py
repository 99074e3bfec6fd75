import ast
from pathlib import Path

import pytest

import train.experiments
from models.registry import MEMBERS, TUTORIAL, WINNERS
from train.config import TrainConfig, experiment_names, load_experiment

FOLDER = Path(next(iter(train.experiments.__path__)))


@pytest.mark.parametrize("name", experiment_names())
def test_an_experiment_is_a_short_file_about_a_member(name):
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) < 100
    assert ast.get_docstring(ast.parse(source))
    assert load_experiment(name).member in MEMBERS


@pytest.mark.parametrize("name", experiment_names())
def test_an_experiment_can_be_trained(name):
    """What the loop would only find out with data, on a rented machine."""
    config: TrainConfig = load_experiment(name)
    assert config.batch % 2 == 0
    if MEMBERS[config.member].head != "linear":
        assert config.small_epochs == 0  # its dense layer fits one size
        assert config.size == 0
    if config.mixup or config.same_augment:
        assert config.sampling != "independent"  # these need a fake's own original beside it


@pytest.mark.parametrize("name", [member.name for member in (*WINNERS, TUTORIAL)])
def test_every_framing_of_the_winners_has_its_experiment(name):
    assert load_experiment(name).member == name
    assert load_experiment(name).start == "imagenet"


def test_the_tutorial_is_the_tutorials():
    config = load_experiment("vgg16_tutorial")
    assert (config.optimizer, config.lr, config.batch, config.epochs) == ("rmsprop", 2e-5, 10, 10)
    assert (config.augment, config.val_share, config.schedule, config.amp) == ("keras", 0.2, "constant", "off")
    crop = MEMBERS["vgg16_tutorial"].crop
    assert (crop.size, crop.mean, crop.std) == (150, (0, 0, 0), (1, 1, 1))  # x / 255 and nothing else
