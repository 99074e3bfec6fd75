"""Ctrl-C: every command ends with one line that names the command to go on, and exit code 130; never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Sends this process a real SIGINT in the middle of the import of the module that is the first argument.
HARNESS = """
import importlib.abc, os, signal, sys
at, sys.argv = sys.argv[1], ["dfdc", *sys.argv[2:]]

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name == at:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Watch())
import dfdc
dfdc.main()
"""
# Command, the module in whose import it is stopped, what it says of results, and of the next step.
STARTS = [
    ("predict here.mp4", "typer", "nothing was begun", "go on"),
    ("predict here.mp4 -o s.csv", "inference.outputs", "what is finished is in s.csv", "go on"),
    ("evaluate here.mp4 --labels l.csv -o e.csv", "inference.evaluate", "what is finished is in e.csv", "go on"),
    ("doctor", "inference.doctor", "nothing is kept", "begin again"),
    ("extract here.mp4 -o crops", "faces.decode.watchdog", "the shards that are whole are in crops", "go on"),
    ("folds i.csv", "train.data.audit", "nothing is kept", "begin again"),
    ("kfold x --crops c --labels l -o runs", "train.kfold", "what is finished is in runs", "go on"),
    ("holdout --crops c --labels l -o h", "train.holdout", "the logits that are finished are beside h", "go on"),
    ("oof runs --crops c --labels l", "train.oof", "the logits that are finished are beside oof.csv", "go on"),
    ("tune t.csv", "ensemble.folds", "nothing is kept without --storage", "begin again"),
    ("tune t.csv --storage sqlite:///s.db", "ensemble.folds", "the trials are in sqlite:///s.db", "go on"),
    ("blend t.csv", "inference.blend_tables", "nothing is kept", "begin again"),
    ("explore here.mp4 -o page", "explore.run", "what is finished is in page", "go on"),
    ("explore frames here.mp4 -o p", "explore.frames", "what is finished is in p", "go on"),
    ("explore audio here.mp4 -o p", "explore.audio", "what is finished is in p", "go on"),
    ("plan videos store", "scale.plan", "nothing is kept", "begin again"),
    ("run-units store", "scale.run", "the units that are done are in store", "go on"),
    ("merge store -o s.csv", "scale.merge", "nothing is kept", "begin again"),
    ("build --owner alice", "kaggle_dataset.bundle.build", "nothing is kept", "begin again"),
    ("dry-run b --videos v", "kaggle_dataset.dry_run.run", "nothing is kept", "begin again"),
    ("upload b", "kaggle_dataset.submit.kaggle_client", "nothing is kept", "begin again"),
    ("push build/b", "kaggle_dataset.submit.push", "what was done is noted in build/state", "go on"),
    ("submit --yes build/b", "kaggle_dataset.submit.push",
     "what was done is noted in build/state and submissions.csv", "go on"),
    ("ship --owner alice --videos .", "kaggle_dataset.submit.account", "the steps that are done are in build", "go on"),
    ("serve", "serve.run", "nothing is kept", "begin again"),
]  # fmt: skip
QUICK = ("predict", "evaluate", "run-units", "ship")


@pytest.mark.parametrize(
    ("command", "module", "kept", "again"),
    # One of each file of commands at all times: each takes a process of its own.
    [case if case[0].split()[0] in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in STARTS],
)
def test_ctrl_c_while_a_command_starts(tmp_path: Path, command: str, module: str, kept: str, again: str) -> None:
    for name in ("here.mp4", "l.csv", "t.csv"):
        (tmp_path / name).touch()
    done = subprocess.run(
        [sys.executable, "-c", HARNESS, module, *command.split()],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == f"dfdc: stopped; {kept}. To {again}: dfdc {command}\n"
    assert done.returncode == 130
    assert done.stdout == ""


def test_ctrl_c_while_training_starts(tmp_path: Path) -> None:
    """A training has its own way to stop, so that its checkpoint is written."""
    command = "train lite0_tight --crops c --labels l.csv -o runs"
    done = subprocess.run(
        [sys.executable, "-c", HARNESS, "common.engine", *command.split()],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == f"dfdc: stopped; run the same command to go on: dfdc {command}\n"
    assert done.returncode == 130


def test_a_progress_bar_does_not_draw_over_the_line() -> None:
    script = """
import os, signal, sys
from cli.stopping import ended_by_ctrl_c, when_stopped
sys.argv = ["dfdc", "explore", "my clips"]
with ended_by_ctrl_c():
    from tqdm import tqdm
    bar = tqdm(total=3)
    when_stopped("what is finished is in page")
    os.kill(os.getpid(), signal.SIGINT)
"""
    environment = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment | {"PYTHONPATH": str(ROOT)}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    told = "dfdc: stopped; what is finished is in page. To go on: dfdc explore 'my clips'"
    assert done.stderr.splitlines()[-1] == told
