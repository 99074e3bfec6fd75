"""Several processes are one run."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import torch

from tests.train.running import PLAIN, ROOT, SOLO
from train.distributed import Machine
from train.run import train_member

TOGETHER = """
import os, sys
from pathlib import Path
import torch
import models.registry
from tests.train.running import PLAIN, SOLO
from train.data.load import load_data
from train.run import train_member
from train.distributed import Machine, join_team
if __name__ == "__main__":
    models.registry.MEMBERS = PLAIN
    folder = Path(sys.argv[1])
    data = load_data([folder / "crops"], folder / "labels.csv")
    with join_team(torch.device("cpu")) as (team, device):
        train_member("plain", SOLO, data, folder / "together", Machine(device, 0, team=team), "of the test")
"""


def test_two_processes_are_one_with_twice_the_batch(data, tmp_path, monkeypatch):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    (tmp_path / "together.py").write_text(TOGETHER)
    done = subprocess.run(
        [*command, str(tmp_path / "together.py"), str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr("models.registry.MEMBERS", PLAIN)
    solo = dataclasses.replace(SOLO, batch=8)
    train_member("plain", solo, data, tmp_path / "solo", Machine(torch.device("cpu"), 0), "of the test")
    together, alone = (pd.read_csv(tmp_path / run / "history.csv") for run in ("together", "solo"))
    assert len(together) == len(alone) == 2
    np.testing.assert_allclose(together["train_loss"], alone["train_loss"], rtol=2e-4)
    np.testing.assert_allclose(together["val_log_loss_balanced"], alone["val_log_loss_balanced"], rtol=2e-3)
    assert (tmp_path / "together/plain.safetensors").exists()
