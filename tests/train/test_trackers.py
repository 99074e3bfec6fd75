"""Where a run is shown: real TensorBoard events, a real file store of MLflow, a real offline run of W&B."""

import builtins
import dataclasses
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from common.errors import DfdcError
from tests.train.running import CONFIG, ROOT
from train.trackers import MLFLOW_RUN, PROJECT, MLflow, RunLog, TensorBoard, WandB, open_trackers


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A file store of MLflow, as its client reads it."""
    pytest.importorskip("mlflow", reason="requirements-dev.txt has mlflow-skinny")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/mlruns")
    from mlflow import MlflowClient

    return MlflowClient()


class Told:
    """A tracker that remembers."""

    def __init__(self):
        self.rows, self.closed = [], 0

    def log(self, values, step):
        self.rows.append((step, dict(values)))

    def close(self):
        self.closed += 1


def events_of(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_events_can_be_read_back(tmp_path):
    board = TensorBoard(tmp_path)
    board.log({"val_auc": 0.75, "lr": 0.5}, 3)
    board.close()
    assert events_of(tmp_path) == {"val_auc": [(3, 0.75)], "lr": [(3, 0.5)]}


@pytest.mark.slow
def test_mlflow_goes_on_with_the_run_of_the_folder(store, tmp_path):
    for step in (10, 20):
        tracker = MLflow(tmp_path, "a run", {"lr": 1e-3})
        tracker.log({"step/loss": 1 / step}, step)
        tracker.close()
    (run,) = store.search_runs([store.get_experiment_by_name(PROJECT).experiment_id])
    assert run.info.run_id == (tmp_path / MLFLOW_RUN).read_text()
    assert (run.info.run_name, run.info.status, run.data.params) == ("a run", "FINISHED", {"lr": "0.001"})
    history = store.get_metric_history(run.info.run_id, "step/loss")
    assert [(metric.step, metric.value) for metric in history] == [(10, 0.1), (20, 0.05)]


def test_mlflow_that_cannot_begin_is_one_line(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/mlruns")
    with pytest.raises(DfdcError, match="MLflow did not begin"):
        MLflow(tmp_path, "a run", {})


WANDB = """
import sys
from pathlib import Path
from train.trackers import WandB
for step in (10, 20):
    tracker = WandB(Path(sys.argv[1]), "a run", {"lr": 1e-3})
    tracker.log({"step/loss": 0.5}, step)
    tracker.close()
"""


@pytest.mark.slow
def test_wandb_writes_its_own_files_and_keeps_the_id(tmp_path):
    """In a folder of its own: wherever wandb can be imported, timm imports it, which costs each process a second."""
    package = tmp_path / "package"
    uv = [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", sys.executable, "--target", package]
    subprocess.run([*uv, "wandb==0.31.0"], check=True)
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{package}", "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    subprocess.run([sys.executable, "-c", WANDB, tmp_path], check=True, env=env)
    identity = (tmp_path / "wandb_run.txt").read_text()
    runs = list((tmp_path / "wandb").glob(f"offline-run-*-{identity}/run-{identity}.wandb"))
    assert runs and all(path.stat().st_size > 0 for path in runs)


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **named):
        if name.partition(".")[0] in ("tensorboard", "wandb", "mlflow") or name == "torch.utils.tensorboard":
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    for names, package in (([], "tensorboard"),):
        with pytest.raises(DfdcError, match=f"pip install {package}"):
            open_trackers(names, tmp_path, "a run", {})
    for kind, package in ((WandB, "wandb"), (MLflow, "mlflow")):
        with pytest.raises(DfdcError, match=f"pip install {package}"):
            kind(tmp_path, "a run", {})


def test_a_tracker_of_another_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--track 'comet' is none of wandb, mlflow"):
        open_trackers(["comet"], tmp_path, "a run", {})


def test_what_a_look_tells(monkeypatch):
    clock = iter([0.0, 1.0, 3.0, 3.5, 4.0, 10.0, 10.0])  # begin; two waits of 2 and .5 s; the look; the next begin
    monkeypatch.setattr("train.trackers.time", SimpleNamespace(monotonic=lambda: next(clock)))
    told = Told()
    log = RunLog([told], torch.device("cpu"), faces=8)
    for _ in range(2):
        with log.waiting():
            pass
    log.look(20, 1.5, 1e-3)
    assert told.rows == [
        (20, {"step/loss": 0.75, "step/lr": 1e-3, "step/faces_per_second": 1.6, "step/data_wait": 0.25})
    ]


def test_a_figure_that_is_not_finite_is_left_out():
    told = Told()
    log = RunLog([told], torch.device("cpu"), faces=8)
    log.epoch({"epoch": 1, "step": 7, "val_auc": float("nan"), "lr": 0.5})
    log.close()
    assert (told.rows, told.closed) == ([(7, {"lr": 0.5})], 1)


def test_config_is_shown_whole(store, tmp_path):
    MLflow(tmp_path, "a run", dataclasses.asdict(CONFIG)).close()
    (run,) = store.search_runs([store.get_experiment_by_name(PROJECT).experiment_id])
    assert run.data.params["member"] == "tiny" and len(run.data.params) == len(dataclasses.fields(CONFIG))
