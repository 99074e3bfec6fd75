"""What `dfdc evaluate` does: score the members and their blend on labelled videos or labelled face crops."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from common.device import find_device
from common.files import VIDEO_ENDINGS, refuse_overwriting
from common.labels import read_labels, widths_of
from ensemble.blend import Blend
from faces.crop import CropSpec, box_inside_crop, cut
from faces.store import IMAGE_ENDINGS, CropStore
from inference.blends import load_blend
from inference.evaluation import Evaluation, kept, probabilities_of, score
from inference.journal import Journal
from inference.pipeline import Pipeline, PredictOptions, make_pipeline
from inference.result import ScoredFace, VideoResult
from inference.run import finished_before, open_journal, size_of
from inference.videos import gather_videos, journal_of
from models.backend import LoadedMember, load_members
from models.checkpoint import WEIGHTS_DIR
from models.registry import TIGHT

READ_AHEAD = 64  # face crops read at a time: two batches of 32, tens of MB


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
    output: Path = Path("evaluation.csv")  # a row per video or face, and its journal beside it
    restart: bool = False  # throw away the journal of an evaluation that was stopped


def evaluate(request: EvaluateRequest) -> Evaluation:
    """Score the members and their blend on the inputs of a request: videos or face crops, whichever they are.

    Raises:
        ValueError: an input does not exist, or no label fits it.
        DfdcError: members and blend do not fit.
    """
    blend, device = load_blend(request.members, request.blend, request.competition), find_device(request.device)
    refuse_overwriting((*request.inputs, request.labels, request.blend), (request.output,))
    if is_videos(request.inputs):
        options = PredictOptions(frames=request.frames or blend.frames)
        pipeline = make_pipeline(options, device, request.members, blend=blend)
        journal = open_journal(pipeline, request.output, request.restart)
        return evaluate_videos(pipeline, request.inputs, request.labels, request.output, journal)
    members = load_members(device, request.members)
    about = {
        "blend": hashlib.sha256(blend.to_json().encode()).hexdigest(),
        "members": {loaded.card.name: loaded.card.sha256 for loaded in members},
        "faces": [str(source.absolute()) for source in request.inputs],
    }
    journal = Journal(journal_of(request.output), about, request.restart)
    return evaluate_faces(members, request.inputs, request.labels, TIGHT, blend, request.output, journal)


def is_videos(inputs: Sequence[Path]) -> bool:
    """Whether the inputs are videos (files, or folders with video files in them) rather than face crops."""
    for source in inputs:
        if source.is_dir():
            return any(p.suffix.lower() in VIDEO_ENDINGS for p in source.rglob("*"))
        if source.suffix.lower() in (".tar", *IMAGE_ENDINGS):
            return False
    return True


def evaluate_videos(
    pipeline: Pipeline,
    inputs: Sequence[Path],
    labels: Path,
    output: Path | None = None,
    journal: Journal | None = None,
) -> Evaluation:
    """Predict labelled videos whole, by every member alone and by the blend, and score that.

    Args:
        pipeline: decodes, detects, runs the members, aggregates and clips.
        inputs: videos, or folders of videos.
        labels: a CSV with the column filename, or a metadata.json. With "/" in its names, folders in the folders are
            searched too, and a video is called by its path.
        output: a CSV of what each video was given, where wanted; also of a run that is stopped.
        journal: what it knows is not predicted again. It is removed when the evaluation is over.

    Raises:
        ValueError: the labels have no column filename, or name no video of the inputs.
    """
    table = read_labels(labels)
    if "filename" not in table:
        raise ValueError(f"{labels} has no column 'filename', by which videos are found")
    by_path = bool(table["filename"].str.contains("/").any())  # as in data sets that have one name in many folders
    paths = gather_videos(inputs, recursive=by_path).named
    rows = _join(table, "filename", paths.keys())
    named = {name: paths[name] for name in rows["filename"]}
    done = finished_before(journal, named) if journal else {}
    todo = [path for name, path in named.items() if name not in done]
    names = {path: name for name, path in named.items()}
    results = pipeline.run_as_finished(todo, None, journal.begin if journal else None, names)
    bar = tqdm(results, total=len(named), initial=len(done), desc="predicting", unit="video")
    members = [loaded.card.name for loaded in pipeline.loaded_members]
    with kept(output, rows, "filename", members, done), bar:
        for result in bar:
            done[result.filename] = result
            if journal is not None:
                journal.add(result, size_of(named[result.filename]))
    if journal is not None:
        journal.close(remove=True)
    return score(table, rows, "filename", probabilities_of(rows["filename"], members, done), set(paths), done)


def evaluate_faces(
    loaded_members: Sequence[LoadedMember],
    inputs: Sequence[Path],
    labels: Path,
    cut_as: CropSpec,
    blend: Blend,
    output: Path | None = None,
    journal: Journal | None = None,
) -> Evaluation:
    """Predict labelled face crops, by every member alone and by the blend, and score that.

    Args:
        loaded_members: predict.
        inputs: folders or tars of images, each one face that is cut already.
        labels: CSV with the column face or filename.
        cut_as: the CropSpec that the images were cut by; a member's own is applied inside it.
        blend: of these members.
        output: a CSV of what each face was given, where wanted; also of a run that is stopped.
        journal: as for `evaluate_videos`.

    Raises:
        ValueError: the labels name no image of the inputs.
    """
    table = read_labels(labels)
    store = CropStore(inputs)
    key = "face" if "face" in table else "filename"
    rows = _join(table, key, store.index.keys())
    done = dict(journal.results) if journal else {}
    todo = [name for name in dict.fromkeys(rows[key]) if name not in done]
    members = [loaded.card.name for loaded in loaded_members]
    widths = widths_of(rows, cut_as.margin)
    width_of = {} if widths is None else dict(zip(rows[key], widths.astype(float), strict=True))
    with kept(output, rows, key, members, done):
        for names in _pieces(todo, READ_AHEAD):
            pixels = np.array([width_of.get(name, math.nan) for name in names])
            for result in _score_faces(names, store, loaded_members, cut_as, blend, pixels):
                done[result.filename] = result
                if journal is not None:
                    journal.add(result, 0)
    if journal is not None:
        journal.close(remove=True)
    return score(table, rows, key, probabilities_of(rows[key], members, done), set(store.index), done)


def _score_faces(
    names: Sequence[str],
    store: CropStore,
    loaded_members: Sequence[LoadedMember],
    cut_as: CropSpec,
    blend: Blend,
    face_pixels: NDArray[np.float64],
) -> list[VideoResult]:
    """Face crops, each as a video that is one face; face_pixels: (N,) their widths in the full frame, NaN: unknown."""
    images = [store.read(name) for name in names]
    boxes = [box_inside_crop(cut_as, image.shape[1], image.shape[0]) for image in images]
    logits = {}
    for loaded in loaded_members:
        crops = [cut(i, b, loaded.card.crop) for i, b in zip(images, boxes, strict=True)]
        logits[loaded.card.name] = loaded.logits(crops)
    prob = blend.prob_fake(np.stack([logits[name] for name in blend.members], axis=1), face_pixels)
    results = []
    for i, name in enumerate(names):
        said = {member: float(values[i]) for member, values in logits.items()}
        face = ScoredFace(0, 0.0, 0, boxes[i], 1.0, "ready crop", said, float(prob[i]))
        results.append(VideoResult(name, "ok", float(prob[i]), faces=(face,)))
    return results


def _pieces(names: list[str], size: int) -> Iterator[list[str]]:
    for start in tqdm(range(0, len(names), size), desc="predicting", unit="batch"):
        yield names[start : start + size]


def _join(table: pd.DataFrame, key: str, present: Any) -> pd.DataFrame:
    rows = table[table["target"].notna() & table[key].isin(list(present))].reset_index(drop=True)
    if rows.empty:
        raise ValueError(f"no {key!r} of the labels is among the inputs; the labels begin with {list(table[key][:2])}")
    return rows
