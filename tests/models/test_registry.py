import numpy as np
import pytest
import torch

from models.registry import MEMBERS, Judge, build_backbone, get_member


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_every_member_judges_bytes(name):
    member = get_member(name)
    judge = Judge(build_backbone(member.backbone), member.crop).eval()
    crops = torch.zeros(2, member.crop.size, member.crop.size, 3, dtype=torch.uint8)
    with torch.inference_mode():
        logits = judge(crops)
    assert logits.shape == (2,)
    assert logits.dtype == torch.float32
    assert logits.tolist() == [0.0, 0.0]  # an untrained classifier starts at P(fake) = 0.5


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_a_members_key_is_its_name(name):
    assert MEMBERS[name].name == name


def test_an_unknown_member_is_told_the_known_ones():
    with pytest.raises(ValueError, match=r"no member is called 'b7'.*lite0_tight"):
        get_member("b7")


def test_normalisation_is_inside_and_right():
    member = get_member("lite0_tight")
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, x):
            seen.append(x)
            return x.mean(dim=(1, 2, 3), keepdim=True).flatten(1)

    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    Judge(Spy(), member.crop)(torch.from_numpy(pixels))
    expected = (pixels / 255.0 - member.crop.mean) / member.crop.std
    np.testing.assert_allclose(seen[0].permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)
