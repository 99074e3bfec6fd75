"""A run goes on with other options where --extend says so, and starts from a member where --init does."""

import dataclasses

import pandas as pd
import pytest
import torch

from models.checkpoint import Card, load_member
from models.network import build_member
from models.registry import get_member
from tests.train.running import CONFIG, run
from train.checkpoint import read_latest
from train.data.provenance import learnt_from
from train.distributed import Machine
from train.loop import Trainer
from train.start import start_of

ONE = dataclasses.replace(CONFIG, epochs=1)


def test_a_finished_run_is_extended_and_its_card_says_so(data, tmp_path):
    first = run(data, tmp_path / "run", ONE)
    assert first.training["extended"] == []
    longer = dataclasses.replace(ONE, epochs=2, lr=1e-3)
    card = run(data, tmp_path / "run", longer, extend=True)
    assert [row["epoch"] for row in card.training["history"]] == [1, 2]
    changes = {"epochs": [1, 2], "lr": [2e-3, 1e-3]}
    assert card.training["extended"] == [{"epoch": 1, "step": 12, "changes": changes}]
    # The same command again is no second extension, and needs the word no more.
    assert run(data, tmp_path / "run", longer, extend=True).training["extended"] == card.training["extended"]
    assert run(data, tmp_path / "run", longer).sha256 == card.sha256


@pytest.mark.parametrize(
    ("change", "message"), [({"size": 32}, r"another \['size'\]"), ({"epochs": 1}, "has 2 epochs")]
)
def test_what_makes_it_another_run_cannot_be_extended(data, tmp_path, change, message):
    config = dataclasses.replace(CONFIG, epochs=3)
    assert run(data, tmp_path / "run", config, until=2) is None
    with pytest.raises(ValueError, match=message):
        run(data, tmp_path / "run", dataclasses.replace(config, **{"small_epochs": 0, **change}), extend=True)


def test_another_number_of_processes_goes_on_at_the_same_share_of_the_epoch(data, tmp_path):
    """Eleven of twelve steps of two processes' six: written by a run of one with another batch."""
    trainer = Trainer(ONE, data, tmp_path / "run", Machine(torch.device("cpu"), 0))
    trainer.folder.mkdir()
    trainer.step, trainer.loss_sum = 8, 4.0
    trainer._save()
    state = torch.load(tmp_path / "run/last.pt", weights_only=True)
    torch.save({**state, "world": 2, "step": 4, "loss_sum": [4.0, 2.0]}, tmp_path / "run/last.pt")
    again = Trainer(ONE, data, tmp_path / "run", Machine(torch.device("cpu"), 0, extend=True))
    again._resume()
    assert (again.step, again.epoch) == (8, 0)  # four of the six steps that two processes had
    assert again.loss_sum == pytest.approx(3.0 / 4 * 8)
    assert again.extended[0]["changes"] == {"processes": [2, 1]}


def test_a_checkpoint_from_before_an_option_existed_has_its_default(data, tmp_path):
    assert run(data, tmp_path / "run", dataclasses.replace(CONFIG, epochs=2), until=1) is None
    state = torch.load(tmp_path / "run/last.pt", weights_only=True)
    del state["config"]["init"], state["config"]["seams"], state["extended"]
    torch.save(state, tmp_path / "run/last.pt")
    assert run(data, tmp_path / "run", dataclasses.replace(CONFIG, epochs=2)).training["extended"] == []


def test_a_member_is_where_another_run_starts(data, tmp_path):
    card = run(data, tmp_path / "first", ONE)
    config = dataclasses.replace(ONE, init=str(tmp_path / "first/tiny.safetensors"), lr=1e-9)
    tuned = run(data, tmp_path / "second", config)
    assert tuned.training["start"] == f"member tiny (sha256 {card.sha256[:12]})"
    assert tuned.training["init"]["groups_sha256"] == card.training["groups_sha256"]
    assert tuned.training["config"]["init"] == "tiny.safetensors", "no path of a machine in a card"
    before, after = (load_member(c, tmp_path / where) for c, where in ((card, "first"), (tuned, "second")))
    matrix = "backbone.conv_stem.weight"
    torch.testing.assert_close(after.state_dict()[matrix], before.state_dict()[matrix], rtol=0, atol=1e-4)
    assert read_latest(tmp_path / "second").facts["config"]["init"].endswith("tiny.safetensors")


def test_a_member_of_another_backbone_is_refused(members):
    config = dataclasses.replace(ONE, init=str(members / "first.safetensors"))
    with pytest.raises(ValueError, match=r"is a tf_efficientnet_lite0 .* this experiment a test_efficientnet"):
        start_of(build_member(get_member("tiny")), get_member("tiny"), config)


def test_a_tuned_member_has_seen_what_its_start_has_seen(data):
    """Else a fold that the first member was trained on would be called held out."""
    table = pd.DataFrame({"face": list("abcd"), "group": list("wxyz"), "fold": [0, 1, 2, -1]})
    card = Card("one", "", data.cut_as, "", 0, 0, "", training={"fold": 0})
    assert learnt_from(card, table, set("abcd")).trained == {"x", "y"}
    tuned = dataclasses.replace(card, training={"fold": 0, "init": {"fold": 1}})
    assert learnt_from(tuned, table, set("abcd")).trained == {"w", "x", "y"}
    untold = dataclasses.replace(card, training={"fold": 0, "init": {"member": "older"}})
    assert learnt_from(untold, table, set("abcd")) is None
