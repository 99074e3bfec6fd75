"""Members as they are sent: stored in fp16, their cards and the blend saying so, and what that moves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.errors import DfdcError
from common.files import sha256_of, write_text

if TYPE_CHECKING:
    from ensemble.blend import Blend
    from models.checkpoint import Card

BLEND_ROW = "blend"  # in a table of drifts, beside the members
DRIFT_FRAMES = 8  # of each video, on which drift is measured


def stage_members(source: Path, target: Path, blend_file: Path | None = None) -> tuple[Blend, list[str]]:
    """Put the members of a blend into `target`, fp16 safetensors and cards, and the blend beside them.

    A member whose tensors are stored as `compress` stores them stays byte for byte; of any other the card and the blend
    get the new hash.

    Args:
        source: folder of the members.
        target: folder that is filled.
        blend_file: None: the one beside the members, else equal weights.

    Returns:
        The blend, and the names of the members that were stored anew.

    Raises:
        DfdcError: a file is missing, or is not its card's.
    """
    from ensemble.blend import FILE
    from inference.blends import load_blend
    from models.checkpoint import find_cards

    blend = load_blend(source, blend_file)
    cards = {card.name: card for card in find_cards(source)}
    target.mkdir(parents=True, exist_ok=True)
    staged = {name: _stage(cards[name], source, target) for name in blend.members}
    changed = [name for name, card in staged.items() if card.sha256 != cards[name].sha256]
    file = blend_file or source / FILE
    if changed or not file.exists():
        blend = replace(blend, sha256={name: card.sha256 for name, card in staged.items()})
        blend.write(target / FILE)
    else:
        shutil.copyfile(file, target / FILE)
    return blend, changed


def _stage(card: Card, source: Path, target: Path) -> Card:
    """One member; returns its card as staged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    from models.checkpoint import compress

    weights, out = source / f"{card.name}.safetensors", target / f"{card.name}.safetensors"
    if (actual := sha256_of(weights)) != card.sha256:
        raise DfdcError(
            f"{weights} is not what its card says: SHA-256 {actual}, expected {card.sha256}; fetch it again"
        )
    try:
        state = load_file(weights)
    except SafetensorError as error:
        raise DfdcError(f"{weights} is no safetensors file ({error}); nothing else is loaded or sent") from error
    stored = compress(state)
    if all(stored[key].dtype == value.dtype for key, value in state.items()):
        shutil.copyfile(weights, out)
        shutil.copyfile(source / f"{card.name}.json", target / f"{card.name}.json")
        return card
    save_file(stored, out)
    filled = replace(
        card,
        sha256=sha256_of(out),
        bytes=out.stat().st_size,
        dtype="float16, small and depthwise float32",
        max_drift=None,  # that one is of validation faces, which are not here
    )
    write_text(target / f"{card.name}.json", filled.to_json())
    return filled


def measure_drift(source: Path, target: Path, blend: Blend, videos: Sequence[Path]) -> dict[str, float]:
    """Measure how far the staged members move from the source's, on the CPU and all the way from video to probability.

    Args:
        source: folder of the members.
        target: folder of the staged ones.
        blend: of these members.
        videos: clips with faces.

    Returns:
        The largest |difference of prob_fake| over the faces, per member and for the blend.

    Raises:
        ValueError: the videos show no face.
    """
    before, after = _predict(source, blend, videos), _predict(target, blend, videos)
    if not len(before[BLEND_ROW]):
        raise ValueError(f"none of {len(videos)} videos shows a face; drift is measured on faces, give other videos")
    return {name: float(np.abs(before[name] - after[name]).max()) for name in before}


def _predict(folder: Path, blend: Blend, videos: Sequence[Path]) -> Mapping[str, np.ndarray]:
    """prob_fake of every face, by member and by the blend."""
    import torch

    from inference.pipeline import PredictOptions, make_pipeline

    pipeline = make_pipeline(PredictOptions(frames=DRIFT_FRAMES), torch.device("cpu"), folder, blend=blend)
    faces = [face for result in pipeline.run(videos) for face in result.faces]
    logits = {name: np.array([face.logits[name] for face in faces]) for name in blend.members}
    probabilities = {name: 1 / (1 + np.exp(-values)) for name, values in logits.items()}
    return {**probabilities, BLEND_ROW: np.array([face.prob_fake for face in faces])}


def summary(folder: Path, blend: Blend) -> dict[str, object]:
    """Describe the blend and its members as a manifest does.

    Args:
        folder: where the members are staged.
        blend: of these members.
    """
    cards = {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in blend.members}
    told = ("backbone", "bytes", "dtype", "max_drift", "parameters", "sha256")
    return {
        "members": list(blend.members),
        "expected_log_loss": blend.expected_log_loss,
        "frames": blend.frames,
        "weights": {name: {key: card.get(key) for key in told} for name, card in cards.items()},
    }
