"""What the tests of packaging and submission share."""

import shutil
from dataclasses import replace

import pytest

from ensemble.blend import Blend
from models.checkpoint import find_cards
from tests.kaggle_dataset.fake_kaggle import fake_kaggle
from tests.kaggle_dataset.staging import dataset
from tests.kaggle_dataset.wheels import as_wheel, make_wheel

__all__ = ["dataset", "fake_kaggle"]


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Instead of real wheels: one that is made on the spot."""
    wheel = make_wheel(tmp_path / "cache")
    monkeypatch.setattr("kaggle_dataset.bundle.build.gather", lambda *_: [as_wheel(wheel)])


@pytest.fixture(scope="session")
def blended(members, tmp_path_factory):
    """The untrained members with a blend.json that knows their hashes."""
    folder = tmp_path_factory.mktemp("blended")
    shutil.copytree(members, folder, dirs_exist_ok=True)
    hashes = {card.name: card.sha256 for card in find_cards(folder)}
    replace(Blend.equal(sorted(hashes)), sha256=hashes).write(folder / "blend.json")
    return folder
