import numpy as np
import pytest
import timm
import torch

from faces.crop import ALIGNED_POINTS, ALIGNED_SIDE
from models.checkpoint import WEIGHTS_DIR
from models.network import Scorer, build_backbone, build_member
from models.registry import ALIGNED, MEMBERS, SHIPPED, TIGHT, WINNERS, CropSpec, get_member

# Counted once with timm 1.0: a name that begins to mean another network changes its number. They agree with the
# papers (B7 66 M, B5 30 M, B4 19 M, Xception 23 M, ConvNeXt-T 29 M, each with 1,000 classes) and with Keras for VGG16.
PARAMETERS = {
    "mnv1_blend": 3_208_001,
    "mnv1_tight": 3_208_001,
    "lite1_blend": 4_136_961,
    "lite1_tight": 4_136_961,
    "lite0_tight": 3_372_289,
    "lite0_mouth": 3_372_289,
    "lite0_eyes": 3_372_289,
    "lite0_inner": 3_372_289,
    "b7_wide": 63_789_521,
    "b5_loose": 28_342_833,
    "xception_aligned320": 20_809_001,
    "xception_square299": 20_809_001,
    "b4_tight": 17_550_409,
    "convnext_tight": 27_820_897,
    "vgg16_tutorial": 14_714_688 + 2_097_408 + 257,
}


@pytest.mark.parametrize("member", SHIPPED, ids=lambda member: member.name)
def test_every_shipped_member_scores_bytes(member):
    scorer = Scorer(build_member(member), member.crop).eval()
    crops = torch.zeros(2, member.crop.size, member.crop.size, 3, dtype=torch.uint8)
    with torch.inference_mode():
        logits = scorer(crops)
    assert logits.shape == (2,)
    assert logits.dtype == torch.float32
    assert logits.tolist() == [0.0, 0.0]  # an untrained classifier starts at P(fake) = 0.5


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_every_member_fits_together(name):
    """On the meta device, where shapes flow and numbers do not: B7 costs nothing there."""
    member = get_member(name)
    assert member.name == name
    with torch.device("meta"), torch.inference_mode():
        scorer = Scorer(build_member(member), member.crop).eval()
        logits = scorer(torch.zeros(2, member.crop.size, member.crop.size, 3, dtype=torch.uint8))
    assert logits.shape == (2,)
    assert sum(p.numel() for p in scorer.parameters()) == PARAMETERS[name]
    assert scorer.backbone.get_classifier().out_features == 1


@pytest.mark.parametrize("member", WINNERS, ids=lambda member: member.name)
def test_winners_start_from_weights_that_exist_and_see_what_these_saw(member):
    assert member.backbone in timm.list_models(pretrained=True)
    pretrained = timm.get_pretrained_cfg(member.backbone)
    assert (member.crop.mean, member.crop.std) == (pretrained.mean, pretrained.std)


def test_a_crop_of_one_name_is_one_crop():
    crops = {member.crop.name: member.crop for member in MEMBERS.values()}
    assert all(member.crop == crops[member.crop.name] for member in MEMBERS.values())


@pytest.mark.parametrize("name", ["mouth", "eyes"])
def test_shipped_members_look_inside_the_public_crops(name):
    """Their data ends there: what lies outside was never seen in training."""
    spec = next(member.crop for member in SHIPPED if member.crop.name == name)
    half, public = 0.5 + spec.margin, 0.5 + TIGHT.margin
    assert half <= public
    assert abs(spec.shift_y - TIGHT.shift_y) <= public - half + 0.02  # two hundredths of edge padding at the most


def test_aligned_eyes_are_as_far_apart_as_the_second_places():
    eyes = np.linalg.norm(ALIGNED_POINTS[0] - ALIGNED_POINTS[1])
    pixels = eyes / (ALIGNED_SIDE * (1 + 2 * ALIGNED.margin)) * ALIGNED.size
    assert pixels == pytest.approx(75, abs=0.01)


@pytest.mark.slow
def test_the_tutorials_head_learns_from_a_flat_map():
    """Small input, real numbers: features keep timm's names, the head is what remains."""
    torch.manual_seed(0)
    network = build_backbone("vgg11", head="mlp256", size=64).eval()
    assert {k for k in network.state_dict() if k.startswith("features.")} <= set(
        timm.create_model("vgg11").state_dict()
    )
    assert (
        sum(p.numel() for layer in (network.hidden, network.classifier) for p in layer.parameters())
        == (512 * 4 + 1) * 256 + 257
    )
    assert network(torch.rand(2, 3, 64, 64)).tolist() == [[0.0], [0.0]]
    torch.nn.init.ones_(network.get_classifier().weight)
    assert network(torch.rand(2, 3, 64, 64)).abs().min() > 0
    torch.nn.init.constant_(network.hidden.weight, -1.0)
    torch.nn.init.zeros_(network.hidden.bias)
    assert network(torch.rand(2, 3, 64, 64)).tolist() == [[0.0], [0.0]]  # the ReLU lets nothing negative through


def test_heads_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"mlp256 needs.*not 'tf_efficientnet_lite0'"):
        build_backbone("tf_efficientnet_lite0", head="mlp256")
    with pytest.raises(ValueError, match="head is 'conv', not one of"):
        build_backbone("tf_efficientnet_lite0", head="conv")


def test_an_unknown_member_is_told_the_known_ones():
    with pytest.raises(ValueError, match=r"no member is called 'b7'.*lite0_tight"):
        get_member("b7")


@pytest.mark.parametrize("name", ["lite0_tight", "vgg16_tutorial"])
def test_normalisation_is_inside_and_right(name):
    spec: CropSpec = get_member(name).crop
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, x):
            seen.append(x)
            return x.mean(dim=(1, 2, 3), keepdim=True).flatten(1)

    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    Scorer(Spy(), spec)(torch.from_numpy(pixels))
    expected = (pixels / 255.0 - spec.mean) / spec.std
    np.testing.assert_allclose(seen[0].permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("path", sorted(WEIGHTS_DIR.glob("*.json")), ids=lambda path: path.name)
def test_no_shipped_card_or_blend_names_a_place_on_a_machine(path):
    assert '"/' not in path.read_text(encoding="utf-8")
