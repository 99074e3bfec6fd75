"""Several processes are one run."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
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


def launch_two(folder, program):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    (folder / "program.py").write_text(program)
    done = subprocess.run(
        [*command, str(folder / "program.py"), str(folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch(data, tmp_path, monkeypatch):
    launch_two(tmp_path, TOGETHER)
    monkeypatch.setattr("models.registry.MEMBERS", PLAIN)
    solo = dataclasses.replace(SOLO, batch=8)
    train_member("plain", solo, data, tmp_path / "solo", Machine(torch.device("cpu"), 0), "of the test")
    together, alone = (pd.read_csv(tmp_path / run / "history.csv") for run in ("together", "solo"))
    assert len(together) == len(alone) == 2
    np.testing.assert_allclose(together["train_loss"], alone["train_loss"], rtol=2e-4)
    np.testing.assert_allclose(together["val_log_loss_balanced"], alone["val_log_loss_balanced"], rtol=2e-3)
    assert (tmp_path / "together/plain.safetensors").exists()


AVERAGED = """
import sys
from pathlib import Path
import torch
import models.registry
from tests.train.running import CONFIG, TINY
from train.data.load import load_data
from train.distributed import Machine, join_team
from train.loop import Trainer
import dataclasses
if __name__ == "__main__":
    models.registry.MEMBERS = TINY
    folder = Path(sys.argv[1])
    data = load_data([folder / "crops"], folder / "labels.csv")
    config = dataclasses.replace(CONFIG, epochs=1, small_epochs=0, lr=0.01)
    with join_team(torch.device("cpu")) as (team, device):
        trainer = Trainer(config, data, folder / "run", Machine(device, 0, team=team))
        trainer._train_epoch()
        torch.save(trainer.ema.module.state_dict(), folder / f"before{team.rank}.pt")
        trainer._end_epoch()
        torch.save(trainer.ema.module.state_dict(), folder / f"after{team.rank}.pt")
"""


@pytest.mark.slow
def test_the_averaged_batch_norms_of_two_processes_are_the_same(data, tmp_path):
    """Each has seen other faces; what is validated and exported must not depend on which process is asked."""
    launch_two(tmp_path, AVERAGED)
    before, after = (
        [torch.load(tmp_path / f"{when}{rank}.pt", weights_only=True) for rank in (0, 1)]
        for when in ("before", "after")
    )

    def apart(states):
        return max(float((states[0][key].float() - states[1][key].float()).abs().max()) for key in states[0])

    assert apart(before) > 1e-3
    assert apart(after) <= 1e-6
    norm = next(key for key in after[0] if key.endswith("running_mean"))
    torch.testing.assert_close(after[0][norm], (before[0][norm] + before[1][norm]) / 2)
