"""The converted network is the one in the file: held against a forward pass written out from the file's names."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional

from common.errors import DfdcError
from scripts import convert_faceres as convert

CHANNELS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A TensorFlow.js file of the same layout with random weights."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("model")
    tensors = {
        "conv1/convolution/merged_input": rng.normal(0, 0.1, (3, 3, 3, 32)),
        "conv1_bn/batchnorm_1/sub": rng.normal(0, 0.5, 32),
    }
    for number, (given, made) in enumerate(pairwise(CHANNELS), start=1):
        tensors[f"conv_dw_{number}/depthwise_kernel"] = rng.normal(0, 0.4, (3, 3, given, 1))
        tensors[f"conv_dw_{number}_bn/batchnorm_1/mul"] = rng.uniform(0.5, 1.5, given)
        tensors[f"conv_dw_{number}_bn/batchnorm_1/sub"] = rng.normal(0, 0.5, given)
        tensors[f"conv_pw_{number}/convolution/merged_input"] = rng.normal(0, given**-0.5, (1, 1, given, made))
        tensors[f"conv_pw_{number}_bn/batchnorm_1/sub"] = rng.normal(0, 0.5, made)
    arrays = {name: value.astype(np.float32) for name, value in tensors.items()}
    weights = [{"name": n, "shape": list(v.shape), "dtype": "float32"} for n, v in arrays.items()]
    (folder / "m.bin").write_bytes(b"".join(v.tobytes() for v in arrays.values()))
    (folder / "m.json").write_text(json.dumps({"weightsManifest": [{"paths": ["m.bin"], "weights": weights}]}))
    return folder / "m.json"


def reference(weights, bgr):
    """TensorFlow's MobileNet with "same" padding: (N, 3, S, S) BGR less its mean -> (N, 1024)."""

    def conv(x, kernel, stride, groups=1):
        size, side = x.shape[-1], kernel.shape[-1]
        pad = max((-(-size // stride) - 1) * stride + side - size, 0)
        x = functional.pad(x, (pad // 2, pad - pad // 2) * 2)
        return functional.conv2d(x, kernel, stride=stride, groups=groups)

    def tensor(name):
        return torch.from_numpy(weights[name].copy())

    def clipped(x, bias):
        return (x + bias.view(1, -1, 1, 1)).clamp(0, 6)

    x = conv(bgr, tensor("conv1/convolution/merged_input").permute(3, 2, 0, 1), 2)
    x = clipped(x, tensor("conv1_bn/batchnorm_1/sub"))
    for number, stride in enumerate(STRIDES, start=1):
        x = conv(x, tensor(f"conv_dw_{number}/depthwise_kernel").permute(2, 3, 0, 1), stride, groups=x.shape[1])
        x = x * tensor(f"conv_dw_{number}_bn/batchnorm_1/mul").view(1, -1, 1, 1)
        x = clipped(x, tensor(f"conv_dw_{number}_bn/batchnorm_1/sub"))
        x = conv(x, tensor(f"conv_pw_{number}/convolution/merged_input").permute(3, 2, 0, 1), 1)
        x = clipped(x, tensor(f"conv_pw_{number}_bn/batchnorm_1/sub"))
    return x.mean(dim=(2, 3))


def test_layers_are_the_files_layers(model):
    """At an odd size TensorFlow pads as timm does, alike on both sides; at an even one only at the end."""
    weights = convert.read_weights(model)
    rgb = torch.from_numpy(np.random.default_rng(1).normal(0, 1, (2, 3, 65, 65)).astype(np.float32))
    with torch.inference_mode():
        ours, theirs = convert.build_folded(weights)(rgb), reference(weights, rgb.flip(1))
    assert float(theirs.std()) > 0.01
    assert float((ours - theirs).abs().max()) < 1e-4 * float(theirs.abs().max())


def test_taking_the_norms_out_keeps_the_outputs_and_normalises(model):
    network = convert.build_folded(convert.read_weights(model))
    faces = torch.from_numpy(np.random.default_rng(2).normal(0, 1, (4, 3, 64, 64)).astype(np.float32))
    with torch.inference_mode():
        before = network(faces)
        convert.unfold_norms(network, faces)
        torch.testing.assert_close(network(faces), before, rtol=1e-3, atol=1e-4)
        # In training the norms use the statistics of the batch: on the same faces those are the stored ones.
        network.train()
        torch.testing.assert_close(network(faces), before, rtol=0.1, atol=0.1)
    assert network.bn1.running_var.std() > 0


def test_a_cut_file_is_refused(model, tmp_path):
    (tmp_path / "m.json").write_text(model.read_text())
    (tmp_path / "m.bin").write_bytes(model.with_name("m.bin").read_bytes()[:-4])
    with pytest.raises(DfdcError, match="not a whole"):
        convert.read_weights(tmp_path / "m.json")
