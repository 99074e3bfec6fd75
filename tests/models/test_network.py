"""Any backbone of timm is a member, or is refused with the reason before an hour is spent on it."""

import pytest
import torch

from faces.crop import CropSpec
from models.network import build_backbone, build_member, classifier_layers
from models.registry import Member

QUICK = ("levit_128s",)  # a distilled one: its head has more than one layer
BACKBONES = (
    *QUICK,
    "resnet18", "vgg11", "densenet121", "regnetx_002", "repvgg_a0", "ghostnet_100", "edgenext_xx_small",
    "mobilevit_xxs", "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "poolformer_s12", "caformer_s18",
    "crossvit_tiny_240", "eva02_tiny_patch14_224", "nf_regnet_b0", "inception_v3", "inception_next_atto",
    "hrnet_w18_small", "dla46_c", "fastvit_t8", "efficientvit_m0", "tiny_vit_5m_224", "coatnet_pico_rw_224",
    "mobilenetv4_conv_small_050", "convnextv2_atto", "xcit_nano_12_p16_224", "mixer_s32_224",
    "maxvit_rmlp_pico_rw_256",
)  # fmt: skip


def member(backbone, size):
    return Member("any", backbone, CropSpec("any", size=size, pad="edge"))


@pytest.mark.parametrize(
    "backbone", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BACKBONES]
)
def test_every_kind_of_backbone_starts_at_one_half_and_learns_everywhere(backbone):
    torch.manual_seed(0)
    size = next((int(number) for number in ("240", "256") if number in backbone), 224)
    network = build_member(member(backbone, size)).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    pictures, target = torch.randn(2, 3, size, size), torch.tensor([0.0, 1.0])
    # In the first step the classifier alone gets a gradient, as its weights are 0; some have more such layers.
    for step in range(5):
        logits = network(pictures)[:, 0]
        if step == 0:
            assert logits.tolist() == [0.0, 0.0]
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(logits, target).backward()
        optimizer.step()
    learning = [p for p in network.parameters() if p.grad is not None and p.grad.any()]
    assert len(learning) > 0.9 * len(list(network.parameters()))


@pytest.mark.parametrize(
    "backbone", ["vit_tiny_patch16_224", "caformer_s18", "deit_tiny_distilled_patch16_224", "dla46_c"]
)
def test_a_calibration_of_its_classifier_is_one_of_its_logits(backbone):
    """What the export does, whatever the classifier is made of."""
    torch.manual_seed(0)
    network = build_backbone(backbone, size=96).eval()
    pictures = torch.randn(3, 3, 96, 96)
    with torch.no_grad():
        for layer in classifier_layers(network):
            torch.nn.init.normal_(layer.weight, std=0.1)
        before = network(pictures)
        for layer in classifier_layers(network):
            layer.weight.mul_(0.5)
            layer.bias.mul_(0.5).add_(0.3)
        torch.testing.assert_close(network(pictures), before * 0.5 + 0.3)
    assert before.std() > 1e-4


@pytest.mark.parametrize(("backbone", "size"), [("crossvit_tiny_240", 224), ("inception_v3", 40), ("levit_128s", 8)])
def test_a_size_that_a_backbone_cannot_take_is_refused_at_once(backbone, size):
    with pytest.raises(ValueError, match=f"{backbone} cannot be a member that looks at {size} x {size} pixels: .+"):
        build_member(member(backbone, size))
