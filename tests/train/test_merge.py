"""Two members of one start in one network: sums of weights, statistics of batch norm, and what the card says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from models.checkpoint import find_cards, load_member, read_card
from tests.conftest import make_member
from train.data.provenance import learnt_from
from train.data.table import group_digests
from train.merge import merge_members, renew_batch_norm
from train.start import seen_by

TABLE = pd.DataFrame({"face": list("abcd"), "group": ["one", "two", "three", "four"]})


def faces(count: int, seed: int = 0) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 256, (64, 64, 3), generator=random, dtype=torch.uint8) for _ in range(count)]


@pytest.fixture
def family(tmp_path: Path) -> dict[str, Path]:
    """A start, two members that say they were trained on from it, and a stranger; each has seen a group of its own."""
    paths = {}
    for seed, (name, group) in enumerate(
        [("start", "one"), ("mine", "two"), ("theirs", "three"), ("stranger", "four")]
    ):
        folder = tmp_path / name
        folder.mkdir()
        make_member(folder, "tiny", seed=seed)
        path = folder / "tiny.safetensors"
        card = read_card(path.with_suffix(".json"))
        training = {
            "groups": group_digests(pd.DataFrame({"group": [group]})),
            "held_out_groups": group_digests(pd.DataFrame({"group": []})),
        }
        if name in ("mine", "theirs"):
            training["init"] = seen_by(read_card(paths["start"].with_suffix(".json")))
        path.with_suffix(".json").write_text(replace(card, training=training, metrics={"val": {"auc": 0.9}}).to_json())
        paths[name] = path
    return paths


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_member(read_card(path.with_suffix(".json")), path.parent).backbone.state_dict()


@pytest.mark.parametrize("share", [0.0, 0.75])
def test_what_the_other_has_learnt_is_added(family: dict[str, Path], tmp_path: Path, share: float) -> None:
    merge_members(family["mine"], family["theirs"], family["start"], share, faces(8), tmp_path)
    mine, theirs, start = (weights(family[name]) for name in ("mine", "theirs", "start"))
    for name, value in weights(tmp_path / "tiny.safetensors").items():
        if "running" in name or "num_batches" in name:
            continue
        torch.testing.assert_close(value, mine[name] + share * (theirs[name] - start[name]), rtol=2e-3, atol=1e-4)


def test_batch_norm_of_the_sum_is_renewed(family: dict[str, Path], tmp_path: Path) -> None:
    merge_members(family["mine"], family["theirs"], family["start"], 0.75, faces(8), tmp_path)
    stored, mine = weights(tmp_path / "tiny.safetensors"), weights(family["mine"])
    again = load_member(read_card(tmp_path / "tiny.json"), tmp_path)
    renew_batch_norm(again, faces(8))
    for name, value in again.backbone.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(stored[name], value, rtol=0.02, atol=0.02)
            assert not torch.equal(stored[name], mine[name])


def test_batch_norm_has_the_statistics_of_the_faces(family: dict[str, Path]) -> None:
    network = load_member(read_card(family["mine"].with_suffix(".json")), family["mine"].parent)
    norm = next(part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d))
    seen: list[torch.Tensor] = []
    norm.register_forward_pre_hook(lambda _, given: seen.append(given[0].mean(dim=(0, 2, 3))))
    momentum = norm.momentum
    renew_batch_norm(network, faces(80))
    assert len(seen) == 2
    torch.testing.assert_close(norm.running_mean, torch.stack(seen).mean(dim=0))
    assert norm.momentum == momentum and not any(part.training for part in network.modules())


def test_the_card_knows_all_that_the_three_have_seen(family: dict[str, Path], tmp_path: Path) -> None:
    merge_members(family["mine"], family["theirs"], family["start"], 0.5, faces(4), tmp_path)
    (card,) = find_cards(tmp_path)
    learnt = learnt_from(card, TABLE, set(TABLE["face"]))
    assert learnt is not None and learnt.trained == {"one", "two", "three"}
    assert "+ 0.5 x" in card.training["start"] and "of 4 faces" in card.training["start"]
    assert card.metrics == {}, "the figures of the first member are not those of the sum"


def test_the_card_knows_what_lay_between_the_member_and_the_start(family: dict[str, Path], tmp_path: Path) -> None:
    """`later` was trained on from `mine`, with groups of its own: the sum knows those of `mine` too."""
    folder = tmp_path / "later"
    folder.mkdir()
    make_member(folder, "tiny", seed=9)
    path = folder / "tiny.json"
    training = {
        "groups": group_digests(pd.DataFrame({"group": ["four"]})),
        "held_out_groups": group_digests(pd.DataFrame({"group": []})),
        "init": seen_by(read_card(family["mine"].with_suffix(".json"))),
    }
    path.write_text(replace(read_card(path), training=training).to_json())
    merge_members(folder / "tiny.safetensors", family["theirs"], family["start"], 0.5, faces(4), tmp_path)
    (card,) = find_cards(tmp_path)
    learnt = learnt_from(card, TABLE, set(TABLE["face"]))
    assert learnt is not None and learnt.trained == {"one", "two", "three", "four"}


def test_a_member_may_lie_between_its_start_and_what_it_became(family: dict[str, Path], tmp_path: Path) -> None:
    merge_members(family["start"], family["theirs"], family["start"], 0.5, faces(4), tmp_path)
    (card,) = find_cards(tmp_path)
    learnt = learnt_from(card, TABLE, set(TABLE["face"]))
    assert learnt is not None and learnt.trained == {"one", "three"}
    theirs, start = weights(family["theirs"]), weights(family["start"])
    for name, value in weights(tmp_path / "tiny.safetensors").items():
        if name.endswith("weight"):
            torch.testing.assert_close(value, (theirs[name] + start[name]) / 2, rtol=2e-3, atol=1e-4)


def test_a_long_line_of_one_table_names_its_groups_twice_at_most(family: dict[str, Path], tmp_path: Path) -> None:
    """Every run of a line on the same faces would repeat thousands of digests."""
    card = read_card(family["mine"].with_suffix(".json"))
    for _ in range(4):
        card = replace(card, training=card.training | {"init": seen_by(card)})
    assert card.to_json().count(card.training["groups"]) == 2
    assert card.to_json().count(card.training["init"]["init"]["init"]["init"]["init"]["groups"]) == 1, "that of start"
    learnt = learnt_from(card, TABLE, set(TABLE["face"]))
    assert learnt is not None and learnt.trained == {"one", "two"}


@pytest.mark.parametrize(
    ("mine", "theirs", "start", "told"),
    [
        ("mine", "stranger", "start", "was not trained on from"),
        ("stranger", "theirs", "start", "was not trained on from"),
        ("mine", "theirs", "stranger", "was not trained on from"),
        ("mine", "start", "start", "was not trained on from"),
    ],
)
def test_members_without_one_start_are_refused(
    family: dict[str, Path], tmp_path: Path, mine: str, theirs: str, start: str, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        merge_members(family[mine], family[theirs], family[start], 0.5, faces(4), tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_another_backbone_or_no_face_is_refused(family: dict[str, Path], tmp_path: Path) -> None:
    card = family["theirs"].with_suffix(".json")
    with pytest.raises(ValueError, match="wants faces"):
        merge_members(family["mine"], family["theirs"], family["start"], 0.5, [], tmp_path)
    card.write_text(replace(read_card(card), backbone="resnet18").to_json())
    with pytest.raises(ValueError, match="only members of one backbone"):
        merge_members(family["mine"], family["theirs"], family["start"], 0.5, faces(4), tmp_path)
