"""The precision of a card: bf16 only where the hardware has it."""

import dataclasses

import numpy as np
import pytest
import torch

from models.backend import load_members
from models.checkpoint import Card, save_member
from models.network import build_backbone
from tests.train.running import SMALL
from train.config import TrainConfig
from train.optim import pick_dtype

# P100, V100, T4, A100, H100.
CARDS = {
    (6, 0): torch.float16,
    (7, 0): torch.float16,
    (7, 5): torch.float16,
    (8, 0): torch.bfloat16,
    (9, 0): torch.bfloat16,
}
CUDA = torch.device("cuda", 0)


@pytest.fixture(params=CARDS, ids=lambda capability: "sm_{}{}".format(*capability))
def expected(request, monkeypatch):
    """A card that emulates bf16 where it lacks it, as torch counts support; its precision."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: request.param)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    return CARDS[request.param]


def test_training_picks_what_the_card_multiplies_in(expected):
    assert pick_dtype("auto", CUDA) is expected
    assert pick_dtype("off", CUDA) is None
    assert pick_dtype("bf16", CUDA) is torch.bfloat16
    assert pick_dtype("fp16", CUDA) is torch.float16


def test_predicting_is_in_f16_on_every_card(expected, monkeypatch, tmp_path):
    """bf16 has three bits less, by which logits of real faces move by up to 0.5 (`benchmarks/precision.py`)."""
    backbone = build_backbone("test_efficientnet")
    card = Card("m", "test_efficientnet", SMALL, sha256="", bytes=0, parameters=0, dtype="")
    save_member(tmp_path, dataclasses.replace(card, precision="f32"), backbone)
    asked = []

    def spying(network, size, device, precision, engine, threads):
        asked.append(precision)
        return lambda images: [np.zeros(len(images), np.float32)]

    monkeypatch.setattr("models.backend.make_runner", spying)
    load_members(CUDA, tmp_path)
    assert asked == ["f16"]


def test_the_cpu_trains_in_full_precision():
    assert pick_dtype(TrainConfig("m").amp, torch.device("cpu")) is None
