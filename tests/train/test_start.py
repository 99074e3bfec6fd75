"""What a run starts from fills the network, or the run does not start."""

import dataclasses

import pytest
import torch

from common.errors import DfdcError
from models.network import build_member
from models.registry import Member
from tests.train.running import CONFIG, SMALL
from train.start import start_of

TINY = Member("tiny", "test_efficientnet", SMALL)
IMAGENET = dataclasses.replace(CONFIG, start="imagenet")


def start_with(monkeypatch, fill):
    monkeypatch.setattr("train.start.load_start", lambda model, *_: fill(model) or "timm test_efficientnet pretrained")
    return start_of(build_member(TINY), TINY, IMAGENET)


def test_pretrained_weights_that_fill_nothing_are_an_error(monkeypatch):
    """As timm's filter leaves it where all names or shapes differ: the run would start from random weights."""
    with pytest.raises(DfdcError, match=r"pretrained fills 0 of \d+ matrices of 'test_efficientnet'.*start=scratch"):
        start_with(monkeypatch, lambda model: None)


def test_pretrained_weights_that_fill_the_network_are_none(monkeypatch):
    def fill(model):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1)

    assert start_with(monkeypatch, fill) == ("timm test_efficientnet pretrained", {})


def test_scratch_fills_nothing_and_says_so():
    assert start_of(build_member(TINY), TINY, CONFIG) == ("scratch", {})
