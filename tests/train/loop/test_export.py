"""The file that is written scores as the network that was trained, or there is no file."""

import dataclasses

import numpy as np
import pytest
import torch

from common.errors import DfdcError
from models.network import build_member
from tests.train.running import CONFIG, run
from train.export import check_figures

ONE = dataclasses.replace(CONFIG, epochs=1)


def without_activations(member):
    """What torch's converter of batch norms did to timm's: the same keys, another function."""
    network = build_member(member)
    for module in network.modules():
        if type(module).__name__ == "BatchNormAct2d":
            module.act = torch.nn.Identity()
    return network


def test_a_network_that_its_file_does_not_rebuild_is_not_exported(data, tmp_path, monkeypatch):
    monkeypatch.setattr("train.loop.build_member", without_activations)
    with pytest.raises(DfdcError, match="'tiny' does not score as the network that was trained"):
        run(data, tmp_path / "run", dataclasses.replace(CONFIG, lr=0.02, epochs=2))
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert "best.pt" in left
    assert not {name for name in left if name.startswith(("tiny", ".export"))}


def test_the_drift_of_the_card_is_measured_on_all_validation_faces(data, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("train.export.check_file", lambda run, card, folder, trained: seen.append(len(trained)) or 0.5)
    card = run(data, tmp_path / "run", ONE)
    assert seen == [len(data.val)]
    assert card.max_drift == 0.5


def test_a_file_with_other_figures_is_refused():
    label, trained = np.array([0.0, 1.0] * 100), np.linspace(-2, 2, 200)
    check_figures("one", label, trained + 1e-4, trained)
    with pytest.raises(DfdcError, match=r"'one' had auc 0\.50.. on the validation faces .* file has 0\.49"):
        check_figures("one", label, -trained, trained)
    with pytest.raises(DfdcError, match="had log_loss_balanced"):
        check_figures("one", label, trained * 1.2, trained)
