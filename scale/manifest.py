"""What decides the numbers of a run, so that a run is never the work of two programs."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import DfdcError

VERSION = 1
ROOT = Path(__file__).resolve().parents[1]
# Rooms whose code decides what comes out of a video, and the networks that find faces (faces/weights).
ROOMS = ("common", "ensemble", "faces", "inference", "models", "train/data", "scale")
LIBRARIES = ("av", "facenet-pytorch", "numpy", "opencv-python-headless", "openvino", "timm", "torch")
CPU_INFO = Path("/proc/cpuinfo")
# Names of torch.backends.cpu.get_cpu_capability() -> what a CPU must have for them.
VECTORS = {
    "AVX512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"},
    "AVX2": {"avx2", "fma"},
}
OUTSIDE = "weights"  # a folder of models/: each run pins the members that it uses by themselves


class OtherRunError(DfdcError):
    """A worker or a plan that does not fit the run it is asked to join."""


def code_hash(root: Path = ROOT) -> str:
    """Return the SHA-256 of the code that runs, and of the weights of the detectors."""
    digest = hashlib.sha256()
    for room in ROOMS:
        files = sorted(path for path in (root / room).rglob("*") if path.suffix in (".py", ".safetensors", ".npz"))
        for path in files:
            if path.is_relative_to(root / "models" / OUTSIDE):
                continue
            digest.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def machine_facts(device: str) -> dict[str, Any]:
    """What of a machine can move scores: versions of libraries, the kind of device, the instructions of its CPU."""
    found = {name: _version(name) for name in LIBRARIES}
    cpu, kind = f"{platform.machine()} {_instructions(CPU_INFO)}", "cpu"
    if device.startswith("cuda"):
        import torch

        kind = torch.cuda.get_device_name(device)
    return {"python": ".".join(platform.python_version_tuple()[:2]), "cpu": cpu, "device": kind, "libraries": found}


def _instructions(cpu_info: Path) -> str:
    """The widest vectors of the CPU, as torch names them, without its import: that costs seconds of each worker."""
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return "unknown"
    flags = set(next((line for line in lines if line.startswith("flags")), "").split())
    for name, needed in VECTORS.items():
        if needed <= flags:
            return name
    return "DEFAULT"


def refuse_other(what: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise OtherRunError naming each value that differs.

    Args:
        what: whose values `there` are, for people.
        there: of the run.
        here: of this plan, or of this machine.
    """
    if different := differences(there, here):
        raise OtherRunError(f"{what} is another: {'; '.join(different)}. Use the same, or give another store")


def differences(there: Mapping[str, Any], here: Mapping[str, Any], name: str = "") -> list[str]:
    """Name each value that differs, also inside values: 'libraries.torch was 2.10, is 2.11'."""
    found = []
    for key in sorted(there.keys() | here.keys()):
        was, now = there.get(key), here.get(key)
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            found += differences(was, now, f"{name}{key}.")
        elif was != now:
            found.append(f"{name}{key} was {_short(was)}, is {_short(now)}")
    return found


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
