"""The shipped members on a GPU say what they say on the CPU, but for what 16 bits round."""

import numpy as np
import pytest
import torch

from common.engine import in_pieces, make_runner
from models.backend import load_members
from models.checkpoint import WEIGHTS_DIR, load_member, read_card

pytestmark = pytest.mark.gpu
CARDS = [path.with_suffix(".json") for path in sorted(WEIGHTS_DIR.glob("*.safetensors"))]


def smooth_crops(size, count=48):
    """Crops like pictures: noise of 8 pixels enlarged, so that neighbours resemble each other."""
    coarse = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (count, 3, 8, 8)).astype(np.float32))
    fine = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 255)
    return fine.permute(0, 2, 3, 1).round().to(torch.uint8).numpy()


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_a_member_scores_alike_on_both(path):
    card = read_card(path)
    crops = smooth_crops(card.crop.size)
    exact = make_runner(load_member(card, path.parent), card.crop.size, torch.device("cpu"), engine="torch")(crops)[0]
    (member,) = load_members(torch.device("cuda"), path.parent, names=(card.name,))
    found = np.asarray(member.run(crops)[0])
    assert found.shape == exact.shape
    # Which moves prob_fake by 0.02 at most, near 0.5. In bf16 one member was off by 0.13 on an H100.
    assert np.abs(found - exact).max() < 0.08
    assert np.abs(found - exact).mean() < 0.02


def test_full_precision_on_the_gpu_is_the_cpus():
    path = CARDS[0]
    card = read_card(path)
    crops, network = smooth_crops(card.crop.size, 8), load_member(card, path.parent)
    exact, found = (
        make_runner(network, card.crop.size, torch.device(name), "f32", "torch")(crops)[0] for name in ("cpu", "cuda")
    )
    np.testing.assert_allclose(found, exact, atol=2e-2)  # cuDNN rounds to TF32 in convolutions


def test_a_batch_that_does_not_fit_is_halved_until_it_does():
    """Real memory is asked for: each image takes a twentieth of the card, so that 32 of them do not fit."""
    share = torch.cuda.get_device_properties(0).total_memory // 20
    tried = []

    def send(images):
        tried.append(len(images))
        held = torch.empty(len(images) * share, dtype=torch.uint8, device="cuda")
        del held
        return lambda: [images.astype(np.float32)]

    answer = in_pieces(send, piece=32, in_flight=1)(np.arange(40, dtype=np.uint8))
    np.testing.assert_array_equal(answer[0], np.arange(40))
    assert tried[0] == 32
    assert max(tried[2:]) <= 16
    torch.cuda.empty_cache()
