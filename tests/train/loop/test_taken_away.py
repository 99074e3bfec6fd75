"""A machine that is taken away: with its disk, or with a SIGTERM at any moment."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.train.running import ROOT, run, run_killed

STOPS = int(os.environ.get("DFDC_STOPS", "3"))  # each takes the start of two processes


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "s3"])
def test_a_machine_that_goes_with_its_disk_costs_minutes(data, tmp_path, request, kind):
    """Killed in folder A, which is lost; in folder B the run goes on from the mirror to the same bytes of a member."""
    whole = run(data, tmp_path / "whole")
    url = f"{request.getfixturevalue('bucket')}/run" if kind == "s3" else f"file://{tmp_path}/mirror"
    steps = []
    for folder, kill_at in (("a", 22), ("b", -1)):
        mine, sha256 = run_killed(tmp_path, tmp_path / folder, kill_at, url)
        steps.append(mine)
        if folder == "a":
            shutil.rmtree(tmp_path / "a")
    first, second = steps
    assert first[-1] == 22 and 5 <= second[0] <= 20 and second[-1] == 47
    assert sha256 == whole.sha256


TEAM = """
import sys
from pathlib import Path
import torch
import models.registry
from tests.train.running import PLAIN, SOLO
from train.data.load import load_data
from train.distributed import Machine, join_team
from train.loop import Trainer
from train.run import train_member
if __name__ == "__main__":
    models.registry.MEMBERS = PLAIN
    base, folder = Path(sys.argv[1]), Path(sys.argv[2])
    data = load_data([base / "crops"], base / "labels.csv")
    update = Trainer._update

    def told(self, *batch):
        if self.team.leads:
            print("step", self.step, flush=True)
        return update(self, *batch)

    Trainer._update = told
    with join_team(torch.device("cpu")) as (team, device):
        card = train_member("plain", SOLO, data, folder, Machine(device, 0, team=team), "of the test")
    if card is not None:
        print("sha", card.sha256, flush=True)
"""


def train_together(base, folder, stop_after):
    """Train in two processes, which get SIGTERM after some steps and a moment; the steps done, and the member's hash.

    stop_after: steps, of this launch, and seconds more; None: they are left alone.
    """
    (base / "team.py").write_text(TEAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    steps, sha = [], None
    with (base / "stderr.txt").open("w") as err, subprocess.Popen(
        [*command, str(base / "team.py"), str(base), str(folder)],
        stdout=subprocess.PIPE, stderr=err, text=True, cwd=ROOT, env=environment, start_new_session=True,
    ) as running:  # fmt: skip
        for line in running.stdout:
            word, _, value = line.partition(" ")
            if word == "sha":
                sha = value.strip()
            elif word == "step":
                steps.append(int(value))
            if stop_after is not None and len(steps) == stop_after[0]:
                time.sleep(stop_after[1])  # where in a step the signal comes is what this test is about
                os.killpg(running.pid, signal.SIGTERM)
                stop_after = None
    return running.returncode, steps, sha


@pytest.mark.slow
def test_a_team_that_is_told_to_stop_at_any_moment_goes_on_to_the_same_member(data, tmp_path):
    """SIGTERM to the group of two processes, at random moments: no step is done twice or left out."""
    _, whole, undisturbed = train_together(tmp_path, tmp_path / "whole", None)
    rng = random.Random(0)
    stopped = run = 0
    done: list[int] = []
    while stopped < STOPS or done:
        moment = (rng.choice((1, 2, 3)), rng.uniform(0, 0.2)) if stopped < STOPS else None
        code, steps, sha = train_together(tmp_path, tmp_path / f"cut{run}", moment)
        done += steps
        if sha is None:
            assert code in (0, 1, -signal.SIGTERM), (tmp_path / "stderr.txt").read_text()
            stopped += 1
        else:
            assert (sha, done) == (undisturbed, whole)
            run, done = run + 1, []
