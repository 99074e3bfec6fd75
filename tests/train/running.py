"""A small member and a short training, which the tests of the loop share."""

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path

import torch

from faces.crop import CropSpec
from models.registry import Member
from train.config import TrainConfig
from train.distributed import Machine
from train.run import train_member

SMALL = CropSpec("small", size=64, pad="edge")
TINY = {"tiny": Member("tiny", "test_efficientnet", SMALL, dropout=0.1, drop_path=0.1)}
# Without batch statistics and dropout, one process with twice the batch does the same sums.
PLAIN = {"plain": Member("plain", "convnext_atto", SMALL, dropout=0.0, drop_path=0.0)}
ROOT = Path(__file__).resolve().parents[2]
CONFIG = TrainConfig(
    member="tiny", epochs=4, small_epochs=1, small_size=32, batch=4, lr=2e-3, ema_decay=0.9, start="scratch"
)
SOLO = dataclasses.replace(CONFIG, member="plain", epochs=2, batch=4)


def run(data, folder, config=CONFIG, workers=0, **machine):
    return train_member("tiny", config, data, folder, Machine(torch.device("cpu"), workers, **machine), "of the test")


def weights(folder):
    return torch.load(folder / "last.pt", weights_only=True)["model"]


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
import models.registry
from tests.train.running import TINY, run
from train.data.load import load_data
from train.loop import Trainer
from train.mirror import Mirror
if __name__ == "__main__":
    models.registry.MEMBERS = TINY
    torch.set_num_threads(1)  # as in the tests around it: another number rounds otherwise
    base, folder, kill_at, url = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    update = Trainer._update

    def dying(self, *batch):
        print("step", self.step, flush=True)
        if self.step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return update(self, *batch)

    Trainer._update = dying
    data = load_data([base / "crops"], base / "labels.csv")
    mirror = Mirror(url) if url else None
    print("sha", run(data, folder, checkpoint_every=5, mirror=mirror).sha256)
"""


def run_killed(base, folder, kill_at, url=""):
    """Train in a process of its own that is killed without warning at a step (never below 0), over a mirror if given.

    Returns:
        The steps that it made, and the member's SHA-256 where it came to its end.
    """
    command = [sys.executable, "-c", KILLED, str(base), str(folder), str(kill_at), url]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == (0 if kill_at < 0 else -signal.SIGKILL), done.stderr
    words = [line.split() for line in done.stdout.splitlines()]
    steps = [int(each[1]) for each in words if each[0] == "step"]
    return steps, words[-1][1] if words[-1][0] == "sha" else None
