"""A small member and a short training, which the tests of the loop share."""

import dataclasses
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
