"""Every fold one after the other, then the table of all."""

import dataclasses

import pytest
import torch

from models.checkpoint import read_card
from tests.train.data.test_dataset import make_faces
from tests.train.running import CONFIG
from train.kfold import run_kfold
from train.run import TrainRequest
from train.stopping import StoppedError


@pytest.mark.slow
def test_every_fold_is_trained_once_and_scored_by_the_run_that_left_it_out(tmp_path, monkeypatch):
    table = make_faces(tmp_path / "crops", count=24).drop(columns="split")
    table.assign(fold=[row // 3 % 3 - 1 for row in range(24)]).to_csv(tmp_path / "folds.csv", index=False)
    monkeypatch.setattr(
        "train.run.load_experiment", lambda _: dataclasses.replace(CONFIG, epochs=2, small_epochs=0, lr=1e-3)
    )
    request = TrainRequest(
        "tiny", (tmp_path / "crops",), tmp_path / "folds.csv", tmp_path / "out", torch.device("cpu"), workers=0
    )
    with pytest.raises(StoppedError, match="fold 0: paused after epoch 1; run the same command to go on"):
        run_kfold(dataclasses.replace(request, until=1))
    runs = tuple(tmp_path / f"out/{fold}" for fold in (0, 1))
    # Scoring has tests of its own; on the CPU it runs OpenVINO, which must not share a process with training.
    monkeypatch.setattr("train.kfold.write_oof", lambda oof: oof)
    oof = run_kfold(request)
    assert (oof.runs, oof.labels, oof.output) == (runs, request.labels, tmp_path / "out/oof.csv")
    assert [read_card(run / "tiny.json").training["fold"] for run in runs] == [0, 1]
    members = [run / "tiny.safetensors" for run in runs]
    before = [path.stat().st_mtime_ns for path in members]
    run_kfold(request)
    assert [path.stat().st_mtime_ns for path in members] == before
