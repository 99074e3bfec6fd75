"""Batch statistics over all processes: the network that is validated is the one that was trained."""

import pytest
import torch

from models.network import build_backbone
from models.registry import get_member
from train.config import experiment_names, load_experiment
from train.distributed import Team, share_batch_statistics

SIDE = 64  # pixels; the least that every backbone takes


@pytest.mark.parametrize("name", experiment_names())
def test_shared_batch_statistics_change_nothing_in_eval_mode(name):
    """For each experiment's network: the same keys, and the same logits but for rounding."""
    torch.manual_seed(0)
    member = get_member(load_experiment(name).member)
    original = build_backbone(member.backbone, head=member.head, size=SIDE).eval()
    torch.nn.init.normal_(original.get_classifier().weight)  # from zero all logits would be equal
    state, images = original.state_dict(), torch.randn(2, 3, SIDE, SIDE)
    expected = original(images)
    shared = share_batch_statistics(original, Team(0, 2)).eval()
    assert shared.state_dict().keys() == state.keys()
    with torch.inference_mode():
        torch.testing.assert_close(shared(images), expected.detach(), rtol=1e-4, atol=1e-6)
    assert expected.std() > 0


def test_a_process_alone_keeps_its_network():
    network = build_backbone("test_efficientnet")
    kinds = [type(module) for module in network.modules()]
    assert share_batch_statistics(network, Team()) is network
    assert [type(module) for module in network.modules()] == kinds


def test_processes_together_share_their_statistics():
    network = share_batch_statistics(build_backbone("test_efficientnet"), Team(0, 2))
    norms = [module for module in network.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    assert norms and all(isinstance(norm, torch.nn.SyncBatchNorm) for norm in norms)
