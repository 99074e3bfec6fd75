"""What a run writes beside the submission: the table of probabilities, and JSON for other programs."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common.files import write_text
from ensemble.blend import Blend
from inference.result import VideoResult
from inference.run import Run
from inference.verdict import Verdict, verdict_of

# One row per member and face; face_pixels is the width of the face in the full frame.
PROBABILITIES = ("filename", "member", "frame", "person", "logit", "status", "face_pixels")


def write_probabilities(path: Path, results: Sequence[VideoResult]) -> None:
    """Write what every member says of every face, in the columns of PROBABILITIES.

    A video without faces has one row with empty member, frame, person and logit, so that no video is lost.

    Args:
        path: the CSV.
        results: of all videos.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(PROBABILITIES)
    writer.writerows(row for result in results for row in probability_rows(result))
    write_text(path, text.getvalue())


def probability_rows(result: VideoResult) -> Iterator[tuple[object, ...]]:
    """The rows of one video in the table of probabilities."""
    if not result.faces:
        yield (result.filename, "", "", "", "", result.status, "")
    for face in result.faces:
        width = f"{face.width:.1f}"
        for member, logit in face.logits.items():
            yield (result.filename, member, face.frame, face.person, f"{logit:.5f}", result.status, width)


def to_json(run: Run, blend: Blend) -> str:
    """The run for other programs: one object per video, without pictures and single faces; `blend` gave its numbers."""
    videos = [
        {
            "filename": r.filename,
            "prob_fake": round(r.prob_fake, 6),
            "status": r.status,
            "reason": r.reason,
            "verdict": _verdict(verdict_of(r, blend)),
            "people": [dataclasses.asdict(person) for person in r.people],
            "faces": len(r.faces),
            "evidence": r.evidence,
            "detector_steps": dict(Counter(face.detector for face in r.faces)),
            "seconds": {stage: round(value, 3) for stage, value in r.seconds.items()},
        }
        for r in run.results
    ]
    share, prior = round(run.fallback_share, 4), run.prior.to_dict()
    facts: dict[str, Any] = {
        "seconds": round(run.seconds, 3),
        "fallback_share": share,
        "prior": {name: round(v, 6) if isinstance(v, float) else v for name, v in prior.items()},
        "profile": run.profile.to_dict(),
    }
    facts["plans"] = [
        {
            "seconds": round(c.seconds, 1),
            "left": c.left,
            "frames": c.plan.frames,
            "tolerance": c.plan.tolerance,
            "rung": c.plan.fallback,
            "again": c.again,
        }
        for c in run.plans
    ]
    return json.dumps({"videos": videos, **facts}, indent=2)


def to_json_line(result: VideoResult, verdict: Verdict) -> str:
    """One video as a line of JSON, with its faces: their boxes, seconds and logits."""
    faces = [
        {
            "frame": face.frame,
            "second": round(face.second, 3),
            "person": face.person,
            "box_xyxy": [round(float(value), 1) for value in face.box_xyxy],
            "score": round(face.score, 4),
            "detector": face.detector,
            "prob_fake": round(face.prob_fake, 6),
            "logits": {name: round(value, 5) for name, value in face.logits.items()},
        }
        for face in result.faces
    ]
    values = {
        "filename": result.filename,
        "prob_fake": round(result.prob_fake, 6),
        "status": result.status,
        "reason": result.reason,
        "verdict": _verdict(verdict),
        "width": result.width,
        "height": result.height,
        "duration": round(result.duration, 3),
        "people": [dataclasses.asdict(person) for person in result.people],
        "evidence": result.evidence,
        "faces": faces,
        "seconds": {stage: round(value, 3) for stage, value in result.seconds.items()},
    }
    return json.dumps(values)


def _verdict(verdict: Verdict) -> dict[str, str]:
    return {"kind": verdict.kind, "sentence": verdict.sentence}
