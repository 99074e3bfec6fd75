"""The script that merges members, as it is called."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.checkpoint import find_cards, read_card
from scripts import merge_members
from tests.conftest import make_member
from train.start import seen_by


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """Two members of one start, and two training faces."""
    for seed, name in enumerate(("start", "mine", "theirs")):
        (tmp_path / name).mkdir()
        make_member(tmp_path / name, "tiny", seed=seed)
    before = seen_by(read_card(tmp_path / "start/tiny.json"))
    for name in ("mine", "theirs"):
        path = tmp_path / name / "tiny.json"
        path.write_text(replace(read_card(path), training={"init": before}).to_json())
    (tmp_path / "crops").mkdir()
    for name in ("a.png", "b.png", "held_out.png"):
        picture = np.random.default_rng(len(name)).integers(0, 256, (80, 80, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "crops" / name), picture)
    labels = tmp_path / "labels.csv"
    labels.write_text("face,label,group,split\na.png,REAL,a,train\nb.png,FAKE,b,train\nheld_out.png,REAL,c,val\n")
    members = [str(tmp_path / name / "tiny.safetensors") for name in ("mine", "theirs", "start")]
    return [*members, "--crops", str(tmp_path / "crops"), "--labels", str(labels), "-o", str(tmp_path / "merged/here")]


def run(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["merge_members.py", *arguments])
    merge_members.main()


def test_a_member_is_written_with_the_statistics_of_training_faces(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, command)
    (card,) = find_cards(tmp_path / "merged/here")
    assert "+ 0.75 x" in card.training["start"] and card.training["start"].endswith("batch norm of 2 faces")


@pytest.mark.parametrize(("asked", "told"), [("start", "was not trained on from"), ("split", "needs a column 'split'")])
def test_what_does_not_fit_is_a_sentence_and_leaves_nothing(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, told: str
) -> None:
    if asked == "start":
        command[2] = command[1]
    else:
        (tmp_path / "labels.csv").write_text("face,label,group\na.png,REAL,a\n")
    with pytest.raises(SystemExit, match=told):
        run(monkeypatch, command)
    assert not (tmp_path / "merged").exists()
