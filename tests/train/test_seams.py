import numpy as np
import pytest
import torch

from models.network import FlatMlp, Scorer, build_backbone
from models.registry import TIGHT
from train.config import TrainConfig
from train.seams import STRIDE, WithSeams, boundary, cells


def test_the_boundary_is_where_both_sides_weigh_alike():
    mask = np.zeros((64, 64), np.float32)
    mask[:, 24:40] = np.linspace(0, 1, 16)
    mask[:, 40:] = 1
    seam = boundary(mask)
    assert seam.shape == (64, 64, 3)
    assert abs(int(seam[32, :, 0].argmax()) - 32) <= 1
    assert seam[:, :20].max() == 0 and seam[:, 44:].max() == 0


def test_a_hard_mask_has_a_seam_too():
    mask = np.zeros((64, 64), np.float32)
    mask[20:44, 20:44] = 1
    grid = cells(boundary(mask))
    assert grid.shape == (64 // STRIDE, 64 // STRIDE)
    assert (grid[1:3, 1:3] > 0.8).all()
    assert grid[0].max() == 0


def test_the_head_looks_at_one_cell_and_the_scorer_answers_as_before():
    torch.manual_seed(0)
    scorer = Scorer(build_backbone("mobilenetv1_100"), TIGHT)
    crops = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    scorer.eval()
    alone = scorer(crops)
    asked = WithSeams(scorer).eval()
    logits, seams = asked(crops)
    assert torch.equal(logits, alone)
    assert seams.shape == (2, 4, 4)
    seams.sum().backward()
    assert asked.head.weight.grad.abs().sum() > 0


def test_a_backbone_without_such_a_stage_is_refused():
    with pytest.raises(ValueError, match="no stage of stride 16"):
        WithSeams(Scorer(FlatMlp("vgg16.tv_in1k", 32), TIGHT))


@pytest.mark.parametrize(
    "options", [{"made_fakes": False}, {"mixup": 0.2}, {"augment": "keras"}], ids=["no made fakes", "mixup", "keras"]
)
def test_seams_that_nobody_knows_are_refused(options):
    with pytest.raises(ValueError, match="nobody knows where the seams lie"):
        TrainConfig("tiny", **{"made_fakes": True, "seams": 1.0, **options})
