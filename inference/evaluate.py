"""What `dfdc evaluate` does: score the members and their blend on labelled videos or labelled face crops."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from common.device import find_device
from common.files import VIDEO_ENDINGS
from common.labels import read_labels, widths_of
from ensemble.blend import Blend
from ensemble.metrics import METRICS, Estimate, bootstrap
from faces.crop import CropSpec, box_inside_crop, cut
from faces.store import IMAGE_ENDINGS, CropStore
from inference.blends import load_blend
from inference.pipeline import Pipeline, PredictOptions, make_pipeline
from inference.videos import find_videos
from models.backend import LoadedMember, load_members
from models.checkpoint import WEIGHTS_DIR
from models.registry import TIGHT

BLEND_NAME = "blend"  # its row among the members, in tables and JSON
READ_AHEAD = 64  # face crops read at a time: two batches of 32, tens of MB
MOST_GROUPS = 50  # with more groups than that a table by group is not read, and each group is small


@dataclass(frozen=True)
class EvaluateRequest:
    """What a user asks of an evaluation."""

    inputs: Sequence[Path]  # videos or folders of videos; or face crops: folders or tars
    labels: Path  # CSV: face or filename, label (REAL or FAKE), and original_group or group where known
    frames: int | None = None  # per video, evenly spread; what the blend says without it
    members: Path = WEIGHTS_DIR  # folder of members
    blend: Path | None = None  # a blend.json; the one beside the members without it
    device: str = "auto"  # cuda, cpu or auto
    competition: bool = False  # take the blend that is tuned for DFDC alone, not the one for videos from anywhere


@dataclass(frozen=True)
class Evaluation:
    """The scores of each member and of the blend, and what could not be scored."""

    scores: dict[str, dict[str, Estimate]]  # member or "blend" -> metric -> estimate with its interval
    rows: int  # scored
    fakes: int  # of them
    groups: int  # that the bootstrap draws
    by_group: dict[str, dict[str, float]]  # group -> AUC and size, for at most MOST_GROUPS groups
    not_found: list[str]  # labelled, absent from the input
    not_labelled: list[str]  # in the input, without a REAL or FAKE label
    not_judged: dict[str, str]  # name -> why; they are scored with the prior

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """JSON without NaN, which other programs refuse: an undefined number is null."""

        def clean(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: clean(inner) for key, inner in value.items()}
            if isinstance(value, list):
                return [clean(inner) for inner in value]
            return None if isinstance(value, float) and not math.isfinite(value) else value

        return json.dumps(clean(self.to_dict()), indent=2)


def evaluate(request: EvaluateRequest) -> Evaluation:
    """Score the members and their blend on the inputs of a request: videos or face crops, whichever they are.

    Raises:
        ValueError: an input does not exist, or no label fits it.
        DfdcError: members and blend do not fit.
    """
    blend, device = load_blend(request.members, request.blend, request.competition), find_device(request.device)
    if is_videos(request.inputs):
        options = PredictOptions(frames=request.frames or blend.frames)
        pipeline = make_pipeline(options, device, request.members, blend=blend)
        return evaluate_videos(pipeline, request.inputs, request.labels)
    return evaluate_faces(load_members(device, request.members), request.inputs, request.labels, TIGHT, blend)


def is_videos(inputs: Sequence[Path]) -> bool:
    """Whether the inputs are videos (files, or folders with video files in them) rather than face crops."""
    for source in inputs:
        if source.is_dir():
            return any(p.suffix.lower() in VIDEO_ENDINGS for p in source.iterdir())
        if source.suffix.lower() in (".tar", *IMAGE_ENDINGS):
            return False
    return True


def evaluate_videos(pipeline: Pipeline, inputs: Sequence[Path], labels: Path) -> Evaluation:
    """Predict labelled videos whole, by every member alone and by the blend, and score that.

    Args:
        pipeline: decodes, detects, runs the members, aggregates and clips.
        inputs: videos, or folders of videos.
        labels: CSV with the column filename.

    Raises:
        ValueError: the labels have no column filename, or name no video of the inputs.
    """
    table = read_labels(labels)
    if "filename" not in table:
        raise ValueError(f"{labels} has no column 'filename', by which videos are found")
    paths = {path.name: path for path in find_videos(inputs)}
    rows = _join(table, "filename", paths.keys())
    alone = {p.card.name: Blend.equal([p.card.name]) for p in pipeline.loaded_members}
    prob: dict[str, list[float]] = {name: [] for name in (*alone, BLEND_NAME)}
    not_judged = {}
    names = list(rows["filename"])
    for result in tqdm(pipeline.run([paths[n] for n in names]), total=len(names), desc="predicting", unit="video"):
        prob[BLEND_NAME].append(result.prob_fake)
        if result.status != "ok":
            not_judged[result.filename] = f"{result.status}: {result.reason}"
        person = np.array([face.person for face in result.faces])
        for name, blend in alone.items():
            logits = {name: np.array([face.logits[name] for face in result.faces])}
            prob[name].append(blend.predict(logits, person).prob_fake if len(person) else result.prob_fake)
    return _score(table, rows, "filename", prob, set(paths), not_judged)


def evaluate_faces(
    loaded_members: Sequence[LoadedMember], inputs: Sequence[Path], labels: Path, cut_as: CropSpec, blend: Blend
) -> Evaluation:
    """Predict labelled face crops, by every member alone and by the blend, and score that.

    Args:
        loaded_members: predict.
        inputs: folders or tars of images, each one face that is cut already.
        labels: CSV with the column face or filename.
        cut_as: the CropSpec that the images were cut by; a member's own is applied inside it.
        blend: of these members.

    Raises:
        ValueError: the labels name no image of the inputs.
    """
    table = read_labels(labels)
    store = CropStore(inputs)
    key = "face" if "face" in table else "filename"
    rows = _join(table, key, store.index.keys())
    logits: dict[str, list[NDArray[np.float64]]] = {p.card.name: [] for p in loaded_members}
    for names in _pieces(list(rows[key]), READ_AHEAD):
        images = [store.read(name) for name in names]
        boxes = [box_inside_crop(cut_as, image.shape[1], image.shape[0]) for image in images]
        for loaded in loaded_members:
            crops = [cut(i, b, loaded.card.crop) for i, b in zip(images, boxes, strict=True)]
            logits[loaded.card.name].append(loaded.logits(crops))
    joined = {name: np.concatenate(parts) for name, parts in logits.items()}
    prob = {name: list(Blend.equal([name]).prob_fake(values[:, None])) for name, values in joined.items()}
    widths = widths_of(rows, cut_as.margin)
    pixels = None if widths is None else widths.to_numpy(dtype=np.float64)
    prob[BLEND_NAME] = list(blend.prob_fake(np.stack([joined[name] for name in blend.members], axis=1), pixels))
    return _score(table, rows, key, prob, set(store.index), {})


def _pieces(names: list[str], size: int) -> Iterator[list[str]]:
    for start in tqdm(range(0, len(names), size), desc="predicting", unit="batch"):
        yield names[start : start + size]


def _join(table: pd.DataFrame, key: str, present: Any) -> pd.DataFrame:
    rows = table[table["target"].notna() & table[key].isin(list(present))].reset_index(drop=True)
    if rows.empty:
        raise ValueError(f"no {key!r} of the labels is among the inputs; the labels begin with {list(table[key][:2])}")
    return rows


def _score(
    table: pd.DataFrame,
    rows: pd.DataFrame,
    key: str,
    prob: dict[str, list[float]],
    present: set[str],
    not_judged: dict[str, str],
) -> Evaluation:
    label, group = rows["target"].to_numpy(dtype=np.float64), rows["group"].to_numpy(dtype=object)
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in prob.items()}
    labelled = table[table["target"].notna()]
    return Evaluation(
        scores={name: bootstrap(label, values, group) for name, values in arrays.items()},
        rows=len(rows),
        fakes=int(label.sum()),
        groups=len(set(group)),
        by_group=_by_group(label, arrays[BLEND_NAME], group),
        not_found=sorted(set(labelled[key]) - present),
        not_labelled=sorted(present - set(labelled[key])),
        not_judged=not_judged,
    )


def _by_group(label: NDArray[np.float64], prob: NDArray[np.float64], group: NDArray[np.str_]) -> dict[str, Any]:
    """AUC of the blend inside each group; empty where the groups are many."""
    names = sorted(set(group.tolist()))
    if len(names) > MOST_GROUPS:
        return {}
    found = {}
    for name in names:
        mine = group == name
        found[name] = {
            "rows": int(mine.sum()),
            "fakes": int(label[mine].sum()),
            "auc": METRICS["auc"](label[mine], prob[mine]),
        }
    return found


def format_evaluation(evaluation: Evaluation) -> str:
    """The evaluation as a table for people."""
    lines = [f"{evaluation.rows} scored, {evaluation.fakes} fake, {evaluation.groups} groups; 95 % intervals by group"]
    width = max(len(name) for name in evaluation.scores)
    lines.append(" " * width + "".join(f"  {metric:>23}" for metric in METRICS))
    for name, scores in evaluation.scores.items():
        cells = [f"{e.value:.4f} [{e.low:.4f}, {e.high:.4f}]" for e in scores.values()]
        lines.append(f"{name:<{width}}" + "".join(f"  {cell:>23}" for cell in cells))
    for name, facts in evaluation.by_group.items():
        lines.append(f"group {name}: {facts['rows']} rows, {facts['fakes']} fake, AUC {facts['auc']:.4f}")
    lost = {"labelled but not found": evaluation.not_found, "found but not labelled": evaluation.not_labelled}
    lines += [f"{len(names)} {what}: {', '.join(names[:5])}" for what, names in lost.items() if names]
    lines += [f"not predicted, scored with the prior: {name}: {why}" for name, why in evaluation.not_judged.items()]
    return "\n".join(lines)
