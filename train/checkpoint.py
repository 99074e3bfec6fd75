"""The checkpoint of a stopped run: one file, written whole, read back as plain state.

The file knows nothing of the trainer, which builds the state and applies it (`train.loop`). Its keys are those of
TENSORS and, beside them, plain values that a person can read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common.errors import DfdcError
from common.files import atomic_path

# The keys whose values hold tensors; what else is in the file is plain: numbers, words, lists and dicts of them.
TENSORS = ("model", "seams", "ema", "optimizer", "scaler", "rng", "cuda_rng")


@dataclass(frozen=True)
class RunState:
    """All that decides how a run goes on."""

    tensors: dict[str, Any]  # TENSORS: weights, moments of the optimiser, random states by rank
    facts: dict[str, Any]  # config, world, data, epoch, step, seconds, best, history, loss_sum by rank


def write_checkpoint(path: Path, state: RunState) -> None:
    """Write a run's state to one file, whole or not at all: after a kill the older file is still there.

    Args:
        path: the file; one that is there is replaced.
        state: what to write.

    Raises:
        ValueError: a key is not where RunState wants it.
    """
    if set(state.tensors) != set(TENSORS) or set(state.facts) & set(TENSORS):
        raise ValueError(f"tensors are {sorted(state.tensors)}, expected {sorted(TENSORS)}")
    with atomic_path(path) as temporary:
        torch.save({**state.facts, **state.tensors}, temporary)


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
    if changed := _changed(saved["config"], config):
        raise ValueError(f"{path} was trained with another {changed}; use another folder, or the same options")
    if "data" in saved and (changed := _changed(saved["data"], data)):
        told = ", ".join(f"{key} was {saved['data'].get(key)}, is {data.get(key)}" for key in changed)
        raise ValueError(
            f"{path} was trained on other data ({told}); give the same --crops, --labels, --fold and --mesh to go "
            "on, or another folder"
        )
    if saved["world"] != world:
        raise ValueError(
            f"{path} was trained by {saved['world']} processes, now there are {world}: the batches would be others; "
            f"go on with --nproc-per-node {saved['world']}, or use another folder"
        )


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The keys whose values differ, sorted."""
    return sorted(key for key in {**before, **now} if before.get(key) != now.get(key))
