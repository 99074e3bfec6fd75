"""Compiled networks kept on this machine, so that only the first run on it has to build and compile them.

A file is named after everything that decides its content: weights, code, versions, options, processor. It is written
whole or not at all, so processes may write the same one at a time, and a damaged one is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from common.cores import cores
from common.files import atomic_path

SWITCH = "DFDC_CACHE"  # in the environment: another folder, or "off"
KEPT_DAYS = 30  # that a file is kept without being used
HASH_BYTES = 32  # of SHA-256, before the content
PACKAGES = ("openvino", "torch", "timm")  # which make a graph


def folder() -> Path | None:
    """Where graphs are kept: DFDC_CACHE, else below XDG_CACHE_HOME or ~/.cache; None where DFDC_CACHE is "off"."""
    asked = os.environ.get(SWITCH, "")
    if asked.lower() in ("off", "0", "no"):
        return None
    if asked:
        return Path(asked)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dfdc" / "graphs"


def path_of(parts: Sequence[object]) -> Path | None:
    """The file of a graph; None where none is kept.

    Args:
        parts: everything that decides the graph beside versions and processor; JSON can write them.
    """
    if (where := folder()) is None:
        return None
    text = json.dumps([*parts, *_machine()])
    return where / f"{hashlib.sha256(text.encode()).hexdigest()}.graph"


def read(path: Path | None) -> bytes | None:
    """The content of a graph's file; None where there is none, or where it is damaged."""
    if path is None:
        return None
    try:
        data = path.read_bytes()
        os.utime(path)  # it was used
    except OSError:
        return None
    content = data[HASH_BYTES:]
    return content if hashlib.sha256(content).digest() == data[:HASH_BYTES] else None


def write(path: Path | None, content: bytes) -> None:
    """Keep a graph, and remove those not used for KEPT_DAYS. A folder that cannot be written changes nothing."""
    if path is None:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(hashlib.sha256(content).digest() + content)
        for other in path.parent.glob("*.graph"):
            if other.stat().st_mtime < time.time() - KEPT_DAYS * 86400:
                other.unlink(missing_ok=True)


def code_of(*files: str) -> str:
    """The SHA-256 of source files: a graph is of the code that made it."""
    return hashlib.sha256(b"\0".join(Path(file).read_bytes() for file in files)).hexdigest()


@cache
def _machine() -> tuple[str, ...]:
    """Versions and processor: OpenVINO compiles for the instructions that it has."""
    flags = ""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return (
        *map(_version, PACKAGES),
        platform.machine(),
        str(cores()),
        hashlib.sha256(flags.encode()).hexdigest(),
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
