"""From tables of probabilities and a blend to a submission: what `dfdc blend` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.files import refuse_overwriting
from common.labels import read_labels
from ensemble.aggregate import aggregate
from ensemble.blend import Blend
from ensemble.drift import Drift, drift
from ensemble.inputs import convert
from ensemble.metrics import Estimate, bootstrap
from ensemble.prior import Prior, read_prior
from ensemble.table import Faces, read_faces
from inference.earlier import Likeness, compare_submissions
from inference.submission import read_sample, write_submission


@dataclass(frozen=True)
class BlendRequest:
    """What a user asks of `dfdc blend`."""

    tables: tuple[Path, ...]
    blend: Path  # a blend.json
    output: Path  # the CSV filename,label
    sample: Path | None = None  # a sample_submission.csv: its rows, in its order
    labels: Path | None = None  # for scores
    invert: tuple[str, ...] = ()
    probabilities: tuple[str, ...] = ()
    held_out: tuple[Path, ...] = ()  # labelled tables that the blend was tuned on, to see whether these are like them
    earlier: tuple[Path, ...] = ()  # submissions to compare with
    prior: str | None = None  # share of fakes to assume, or "em" to estimate it; None is half


@dataclass(frozen=True)
class Blended:
    """What became of a BlendRequest."""

    rows: int  # of the submission
    unscored: int  # of them: without a scored face, which get the prior
    outside: tuple[str, ...]  # scored videos that the sample does not name
    lost: tuple[str, ...]  # what the tables had and the blend did not use, for people
    labelled: int  # videos whose truth is known
    prior: Prior  # the share of fakes that the probabilities assume
    scores: dict[str, Estimate]  # metric -> estimate on these; empty without labels
    drift: tuple[Drift, ...] = ()  # from the held-out tables; empty without them
    earlier: tuple[Likeness, ...] = ()


def blend_tables(request: BlendRequest) -> Blended:
    """Apply a blend to tables of probabilities and write a submission.

    Args:
        request: what the user asks for.

    Raises:
        ValueError: a table or the sample cannot be read, or a member of the blend is missing.
        DfdcError: the blend cannot be read.
    """
    refuse_overwriting((*request.tables, request.blend, request.sample, request.labels), (request.output,))
    chosen = Blend.read(request.blend).needed()
    faces = read_faces(request.tables, members=chosen.members, truth=False, most_lost=1.0)
    faces = convert(faces, request.invert, request.probabilities)
    values = aggregate(faces.logit, faces.layout, chosen.aggregation)
    free = chosen.free(values, faces.face_pixels)
    prior = Prior.of(read_prior(request.prior), free)
    chosen = replace(chosen, prior=prior.share)
    moved = chosen.free(values, faces.face_pixels)
    prob = dict(zip(faces.filename.tolist(), np.clip(moved, *chosen.clip).tolist(), strict=True))
    order = read_sample(request.sample) if request.sample else sorted({*prob, *faces.unscored})
    rows = {name: prob.get(name, chosen.unseen) for name in order}
    write_submission(request.output, rows, order, chosen.clip)
    labelled, scores = _scores(request, chosen, prob)
    outside = tuple(sorted(prob.keys() - set(order)))
    unscored = sum(name not in prob for name in rows)
    known = _held_out(request, chosen)
    return Blended(
        *(len(rows), unscored, outside, faces.lost, labelled, prior, scores),
        drift=() if known is None else tuple(drift(known, faces)),
        earlier=tuple(compare_submissions(request.output, request.earlier)),
    )


def _held_out(request: BlendRequest, chosen: Blend) -> Faces | None:
    if not request.held_out:
        return None
    labels = None if request.labels is None else read_labels(request.labels)
    faces = read_faces(request.held_out, labels, members=chosen.members, most_lost=1.0)
    return convert(faces, request.invert, request.probabilities)


def _scores(request: BlendRequest, chosen: Blend, prob: Mapping[str, float]) -> tuple[int, dict[str, Estimate]]:
    labels = None if request.labels is None else read_labels(request.labels)
    truth = read_faces(request.tables, labels, chosen.members, most_lost=1.0)
    if truth.truth is None:
        return 0, {}
    here = np.array([prob[name] for name in truth.filename.tolist()])
    return len(here), bootstrap(truth.truth.label, here, truth.truth.group)
