"""What `dfdc doctor` does: it looks at versions, devices, weights and their hashes, and says how to get what lacks."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from common.cores import cores
from common.errors import DfdcError
from ensemble.blend import FILE
from faces.blazeface import VARIANTS
from faces.blazenet import load_blazeface
from faces.detect import check_mtcnn_weights
from inference.blends import blend_file, load_blend
from models.checkpoint import WEIGHTS_DIR, find_cards, load_member

# Package -> what it is for and whether predict can do without it.
PACKAGES = {
    "torch": ("networks", True),
    "timm": ("backbones", True),
    "av": ("decoding", True),
    "opencv-python-headless": ("images", True),
    "numpy": ("arrays", True),
    "pandas": ("tables", True),
    "scikit-learn": ("metrics", True),
    "scipy": ("tracking", True),
    "safetensors": ("weights", True),
    "openvino": ("speed on the CPU; torch does the same, several times slower", False),
    "facenet-pytorch": ("MTCNN, for videos in which BlazeFace finds nothing", False),
    "optuna": ("tuning the blend", False),
    "kaggle": ("uploading", False),
}


# Measured: importing torch and timm takes 17 s where nothing is stored and 3 s where it is.
NOT_COMPILED = (
    "is not stored, so that every process that is started compiles torch anew, for seconds; run: unset "
    "PYTHONDONTWRITEBYTECODE"
)


@dataclass(frozen=True)
class DoctorRequest:
    """What a user asks to be looked at."""

    members: Path = WEIGHTS_DIR  # folder of members


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    level: Literal["ok", "missing", "failed"]  # failed: predict cannot run; missing: it can, with less
    what: str
    detail: str

    @property
    def failed(self) -> bool:
        """Whether predict cannot run because of it."""
        return self.level == "failed"

    def __str__(self) -> str:
        return f"{self.level:<8} {self.what:<24} {self.detail}"


def examine(request: DoctorRequest) -> Iterator[Finding]:
    """Look at everything that `dfdc predict` needs, one finding after the other; nothing is changed."""
    yield Finding("ok", "python", f"{platform.python_version()} on {platform.platform()}")
    if sys.dont_write_bytecode:
        yield Finding("missing", "compiled Python", NOT_COMPILED)
    yield from (_package(name) for name in PACKAGES)
    yield Finding("ok", "cpu", f"{cores()} cores")
    yield _cuda()
    for name, variant in VARIANTS.items():
        yield _check(f"BlazeFace {name}", partial(load_blazeface, name), f"sha256 {variant.sha256[:12]}")
    yield _check("MTCNN", check_mtcnn_weights, "weights as expected", needed=False)
    yield from _members(request.members)
    yield from _blends(request.members)


def _blends(members: Path) -> Iterator[Finding]:
    """What is blended with, for the competition and for videos from anywhere, and whether it fits the members."""
    for competition in (True, False):
        file = blend_file(members, competition)
        if file is None:
            told = f"no {members / FILE}: equal weights, not calibrated; run: dfdc tune"
            yield Finding("missing", "blend", told)
            return
        if not competition and file == blend_file(members, True):
            return
        try:
            blend = load_blend(members, file)
        except DfdcError as error:
            yield Finding("failed", file.stem, str(error))
            continue
        loss = "unknown" if blend.expected_log_loss is None else blend.expected_log_loss
        yield Finding("ok", file.stem, f"{len(blend.members)} members, expected log loss {loss}")


def _package(name: str) -> Finding:
    purpose, needed = PACKAGES[name]
    try:
        return Finding("ok", name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        if name.startswith("opencv") and (other := _other_opencv()):
            return Finding("ok", name, other)
        return Finding("failed" if needed else "missing", name, f"({purpose}) run: pip install -r requirements.txt")


def _other_opencv() -> str:
    """OpenCV under one of its other names on the registry; Kaggle's image has its own."""
    for name in ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"):
        try:
            return f"{importlib.metadata.version(name)} as {name}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def _cuda() -> Finding:
    if not torch.cuda.is_available():
        return Finding("missing", "cuda", "no GPU that torch can use; everything runs on the CPU")
    properties = torch.cuda.get_device_properties(0)
    memory = f"{properties.total_memory / 2**30:.0f} GiB"
    return Finding("ok", "cuda", f"{properties.name}, {memory}, built for CUDA {torch.version.cuda}")


def _members(folder: Path) -> Iterator[Finding]:
    try:
        cards = find_cards(folder)
    except DfdcError as error:
        yield Finding("failed", "members", str(error))
        return
    if not cards:
        yield Finding("failed", "members", f"{folder} holds none; train one: dfdc train --help")
    for card in cards:
        size = f"{card.bytes / 1e6:.1f} MB, crop {card.crop.name} at {card.crop.size}"
        text = f"{card.backbone}, {size}, sha256 {card.sha256[:12]}"
        yield _check(f"member {card.name}", partial(load_member, card, folder), text)


def _check(what: str, load: Callable[[], object], detail: str, needed: bool = True) -> Finding:
    try:
        load()
    except DfdcError as error:
        return Finding("failed" if needed else "missing", what, str(error))
    return Finding("ok", what, detail)
