"""Where training starts from: the shipped start weights fit, are checked, and leave the classifier alone."""

import pytest
import torch

from common.errors import DfdcError
from models import pretrained
from models.network import build_backbone
from models.pretrained import START_FILES, load_start


@pytest.mark.parametrize(("start", "backbone"), START_FILES)
def test_shipped_weights_fill_all_but_the_classifier(start, backbone):
    model = build_backbone(backbone)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert START_FILES[start, backbone].origin in load_start(model, backbone, start)
    same = {key for key, value in model.state_dict().items() if torch.equal(value, before[key])}
    assert {key for key in same if not key.endswith("num_batches_tracked")} == {"classifier.weight", "classifier.bias"}


def test_vggface2_weights_have_their_batch_norms_taken_out_again():
    model = build_backbone("mobilenetv1_100")
    load_start(model, "mobilenetv1_100", "vggface2")
    assert float(model.bn1.running_var.std()) > 0


def test_a_backbone_without_such_weights_is_told_which_have_them():
    with pytest.raises(DfdcError, match=r"no vggface2 weights for 'tf_efficientnet_lite0', only for mobilenetv1_100"):
        load_start(build_backbone("tf_efficientnet_lite0"), "tf_efficientnet_lite0", "vggface2")


def test_damaged_and_missing_weights_are_refused(tmp_path, monkeypatch):
    model, name = build_backbone("mobilenetv1_100"), START_FILES["vggface2", "mobilenetv1_100"].name
    data = bytearray((pretrained.MODELS_DIR / name).read_bytes())
    monkeypatch.setattr(pretrained, "MODELS_DIR", tmp_path)
    with pytest.raises(DfdcError, match=r"is missing; check it out again"):
        load_start(model, "mobilenetv1_100", "vggface2")
    data[-5] ^= 1
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DfdcError, match="has SHA-256"):
        load_start(model, "mobilenetv1_100", "vggface2")


def test_scratch_changes_nothing():
    model = build_backbone("mobilenetv1_100")
    before = model.conv_stem.weight.clone()
    assert load_start(model, "mobilenetv1_100", "scratch") == "scratch"
    assert torch.equal(model.conv_stem.weight, before)
