"""The checkpoints of a run: the last two, each a file that is written whole and read back as plain state.

The file knows nothing of the trainer, which builds the state and applies it (`train.loop`). Its keys are those of
TENSORS and, beside them, plain values that a person can read.
"""

from __future__ import annotations

import errno
import shutil
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common.errors import DfdcError
from common.files import atomic_path

# The keys whose values hold tensors; what else is in the file is plain: numbers, words, lists and dicts of them.
TENSORS = ("model", "seams", "ema", "optimizer", "scaler", "rng", "cuda_rng")

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
# Of a file: torch's headers and the plain values. A checkpoint of the smallest network has 100 kB of them.
OVERHEAD = 1_000_000  # bytes


@dataclass(frozen=True)
class RunState:
    """All that decides how a run goes on."""

    tensors: dict[str, Any]  # TENSORS: weights, moments of the optimiser, random states by rank
    facts: dict[str, Any]  # config, world, data, epoch, step, seconds, best, history, loss_sum by rank


def write_checkpoint(path: Path, state: RunState) -> None:
    """Write a run's state to one file, whole or not at all; the file that was there becomes PREVIOUS beside it.

    Args:
        path: the file.
        state: what to write.

    Raises:
        ValueError: a key is not where RunState wants it.
        DfdcError: the disk is full; what was there is kept.
    """
    if set(state.tensors) != set(TENSORS) or set(state.facts) & set(TENSORS):
        raise ValueError(f"tensors are {sorted(state.tensors)}, expected {sorted(TENSORS)}")
    content = {**state.facts, **state.tensors}
    needed = _bytes_of(state.tensors) + OVERHEAD

    def write(temporary: Path) -> None:
        torch.save(content, temporary)
        if path.exists():
            # Between this rename and the next one only PREVIOUS is there, and it is read then.
            path.replace(path.with_name(PREVIOUS))

    _save_whole(path, needed, write)


def save_weights(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Write the weights of a network, whole or not at all; DfdcError on a full disk, and what was there is kept."""
    _save_whole(path, _bytes_of(weights), lambda temporary: torch.save(weights, temporary))


def _save_whole(path: Path, needed: int, write: Callable[[Path], None]) -> None:
    """Write a large file, whole or not at all.

    Args:
        path: the file; one that is there is replaced.
        needed: bytes, about.
        write: is called with the path of a temporary file beside it.

    Raises:
        DfdcError: the disk is full; the message says how much is needed, and what was there is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    full = (
        f"no room for {path}: it needs about {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free. What was saved "
        f"before is kept; free as much and run the same command to go on"
    )
    if free < needed:
        raise DfdcError(full)
    try:
        with atomic_path(path) as temporary:
            write(temporary)
    except (OSError, RuntimeError) as error:
        # torch's writer turns a full disk into a RuntimeError without a number; nothing else fails while it writes.
        if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        if isinstance(error, RuntimeError) and "PytorchStreamWriter" not in str(error):
            raise
        raise DfdcError(full) from error


def _bytes_of(value: Any) -> int:
    """The bytes of all tensors in nested dicts and lists."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(map(_bytes_of, value.values()))
    return sum(map(_bytes_of, value)) if isinstance(value, list | tuple) else 0


def remove_leftovers(folder: Path) -> list[str]:
    """Remove what a killed run has left half written in its folder; returns the names."""
    found = [path for pattern in (".*.tmp", ".export.*") for path in folder.glob(pattern)]
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return sorted(path.name for path in found)


def read_latest(folder: Path) -> RunState | None:
    """Read the newest checkpoint of a run that is whole; a damaged one is named on stderr and the older one is read.

    Args:
        folder: of the run.

    Returns:
        The state; None for a folder without checkpoints.

    Raises:
        DfdcError: there are checkpoints, and all are damaged.
    """
    there = [path for path in (folder / LAST, folder / PREVIOUS) if path.exists()]
    for path in there:
        if told := damage_of(path):
            print(f"{path} is damaged ({told})", file=sys.stderr)
            continue
        if path.name == PREVIOUS:
            print(f"going on from {path}, which is older", file=sys.stderr)
        return read_checkpoint(path)
    if there:
        raise DfdcError(f"all checkpoints in {folder} are damaged; remove them to start again, or give another -o")
    return None


def damage_of(path: Path) -> str:
    """Say what is wrong with the bytes of a file that torch has written; "" for a whole one.

    torch writes a CRC for each tensor and does not look at it when it reads.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (OSError, zipfile.BadZipFile, RuntimeError, EOFError) as error:
        return str(error)
    return f"{bad} is not what was written" if bad else ""


def read_checkpoint(path: Path) -> RunState:
    """Read what `write_checkpoint` wrote, with every tensor on the CPU. Nothing in the file is executed.

    Raises:
        DfdcError: the file lacks something that a run needs to go on.
    """
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    content.setdefault("seams", {})  # a run of a version that did not ask where the seams are
    if missing := sorted(set(TENSORS) - set(content)):
        raise DfdcError(f"{path} is not a checkpoint of a training: it has no {', '.join(missing)}; give another -o")
    return RunState(
        {key: content[key] for key in TENSORS},
        {key: value for key, value in content.items() if key not in TENSORS},
    )


def check_resumable(
    path: Path, saved: Mapping[str, Any], config: Mapping[str, Any], world: int, data: Mapping[str, Any]
) -> None:
    """Refuse to go on from a checkpoint with anything that would change what the run has done so far.

    Args:
        path: the checkpoint, for the message.
        saved: the facts in it; one of an older version has no `data`, and then the data is not compared.
        config: the options of the run now.
        world: the number of processes now.
        data: what `TrainData.fingerprint` says of the data now.

    Raises:
        ValueError: options, data or the number of processes are others; the message says which.
    """
    if changed := changed_keys(saved["config"], config):
        raise ValueError(
            f"{path} was trained with another {changed}; use another folder, the same options, or --extend where the "
            "run shall go on with the new ones"
        )
    check_same_data(path, saved, data)
    if saved["world"] != world:
        raise ValueError(
            f"{path} was trained by {saved['world']} processes, now there are {world}: the batches would be others; "
            f"go on with --nproc-per-node {saved['world']}, use another folder, or --extend"
        )


def check_same_data(path: Path, saved: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Refuse to go on with other data, as `check_resumable`."""
    if "data" in saved and (changed := changed_keys(saved["data"], data)):
        told = ", ".join(f"{key} was {saved['data'].get(key)}, is {data.get(key)}" for key in changed)
        raise ValueError(
            f"{path} was trained on other data ({told}); give the same --crops, --labels, --fold and --mesh to go "
            "on, or another folder"
        )


def changed_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the keys whose values differ, sorted."""
    return sorted(key for key in {**before, **now} if before.get(key) != now.get(key))
