"""Ctrl-C while a command waits for Kaggle: one line, exit code 130, and the same command goes on with what is noted."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kaggle_dataset.submit.ledger import read_ledger
from kaggle_dataset.submit.push import push
from tests.kaggle_dataset.fake_kaggle import fake_kaggle
from tests.kaggle_dataset.kernels import OUTPUT, QUICK, write_kernel, write_manifest

__all__ = ["fake_kaggle"]
pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def interrupted(fake, folder: Path, sign: str, *arguments: str) -> tuple[int, list[str]]:
    """Start a command, send SIGINT when it says `sign`, and return its exit code and what it says from then on."""
    with subprocess.Popen(
        [sys.executable, ROOT / "dfdc.py", *arguments],
        env=fake.environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if sign in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read().splitlines()
        return process.wait(), rest


def test_submit_that_waits_for_its_score(fake_kaggle, tmp_path):
    fake_kaggle.set(kernel_script=("COMPLETE",), submission_polls=10**6)
    fake_kaggle.service.outputs = {"submission.csv": OUTPUT}
    kernel = write_kernel(tmp_path / "build" / "one" / "kernel")
    write_manifest(tmp_path / "build" / "one" / "dataset")
    push(kernel, tmp_path / "output", fake_kaggle.kaggle, **QUICK)
    code, said = interrupted(fake_kaggle, tmp_path, "pending", "submit", "--yes", "build/one")
    assert code == 130
    (line,) = said
    assert line.startswith(
        "dfdc: stopped; what was done is noted in build/state and submissions.csv. To go on: dfdc submit"
    )
    (entry,) = read_ledger(tmp_path / "submissions.csv")
    assert entry.status == "pending"
    fake_kaggle.set(submission_polls=0)
    fake_kaggle.service.submissions[0]["polls"] = 0
    again = subprocess.run(
        [sys.executable, ROOT / "dfdc.py", "submit", "--yes", "build/one"],
        env=fake_kaggle.environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert len(fake_kaggle.service.submissions) == 1, "it is sent once"


def test_push_that_waits_for_its_session(fake_kaggle, tmp_path):
    fake_kaggle.set(kernel_script=("RUNNING",))
    write_kernel(tmp_path / "build" / "one" / "kernel")
    write_manifest(tmp_path / "build" / "one" / "dataset")
    code, said = interrupted(fake_kaggle, tmp_path, ": pushed,", "push", "build/one")
    assert code == 130
    assert [line.split(" To go on")[0] for line in said] == ["dfdc: stopped; what was done is noted in build/state."]
