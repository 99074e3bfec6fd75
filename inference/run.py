"""What `dfdc predict` does around the pipeline: order, progress, files, and whether the run may be trusted."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from dfdc_common import write_text
from inference.predict import Pipeline
from inference.result import PRIOR, VideoResult
from inference.submission import read_sample, write_submission


@dataclass(frozen=True)
class Run:
    """A finished run."""

    results: list[VideoResult]  # in the order of the submission
    seconds: float  # wall clock, networks already loaded

    @property
    def fallbacks(self) -> list[VideoResult]:
        """The videos that got the prior instead of a judgement."""
        return [result for result in self.results if result.status != "ok"]

    @property
    def fallback_share(self) -> float:
        """Of all rows; 0 for a run without rows."""
        return len(self.fallbacks) / max(1, len(self.results))

    def reasons(self) -> str:
        """The fallbacks for people: a line per status, then a line per video."""
        counts = Counter(result.status for result in self.fallbacks)
        lines = [f"{count} {status}" for status, count in counts.most_common()]
        return "\n".join([", ".join(lines), *(f"  {r.filename}: {r.status}: {r.reason}" for r in self.fallbacks)])


def predict(pipeline: Pipeline, videos: Sequence[Path], output: Path, sample: Path | None = None) -> Run:
    """Judge `videos`, write the submission to `output`; progress goes to stderr.

    With a sample file its names and order are the submission's: a name without a video gets the prior and a reason,
    a video that it does not name is not judged. Without one the rows are sorted by name.
    """
    by_name = {path.name: path for path in videos}
    order = read_sample(sample) if sample else sorted(by_name)
    if ignored := sorted(by_name.keys() - set(order)):
        print(f"{len(ignored)} videos are not named in {sample} and were left out: {ignored[:3]} ...", file=sys.stderr)
    began = time.perf_counter()
    todo = [by_name[name] for name in order if name in by_name]
    done = {result.filename: result for result in _with_progress(pipeline.run(todo), len(todo))}
    results = [done.get(name) or _absent(name) for name in order]
    run = Run(results, time.perf_counter() - began)
    write_submission(output, {r.filename: r.prob_fake for r in results}, order, pipeline.blend.clip)
    return run


def _with_progress(results: Iterator[VideoResult], total: int) -> Iterator[VideoResult]:
    fallbacks = 0
    with tqdm(results, total=total, unit="video", desc="judging", smoothing=0.1) as bar:
        for result in bar:
            fallbacks += result.status != "ok"
            bar.set_postfix(fallbacks=fallbacks)
            yield result


def _absent(name: str) -> VideoResult:
    return VideoResult(name, "unreadable", PRIOR, "the sample submission names it, and no such video was given")


def write_probabilities(path: Path, results: Sequence[VideoResult]) -> None:
    """Raw member outputs, one row per member and face: filename, member, frame, person, logit, status.

    A video without faces has one row with empty member, frame, person and logit, so that no video is lost.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["filename", "member", "frame", "person", "logit", "status"])
    for result in results:
        if not result.faces:
            writer.writerow([result.filename, "", "", "", "", result.status])
        for face in result.faces:
            for member, logit in face.logits.items():
                writer.writerow([result.filename, member, face.frame, face.person, f"{logit:.5f}", result.status])
    write_text(path, text.getvalue())


def to_json(run: Run) -> str:
    """The run for other programs: one object per video, without pictures and single faces."""
    videos = [
        {
            "filename": r.filename,
            "prob_fake": round(r.prob_fake, 6),
            "status": r.status,
            "reason": r.reason,
            "people": [dataclasses.asdict(person) for person in r.people],
            "faces": len(r.faces),
            "detector_steps": dict(Counter(face.step for face in r.faces)),
            "seconds": {stage: round(value, 3) for stage, value in r.seconds.items()},
        }
        for r in run.results
    ]
    share = round(run.fallback_share, 4)
    return json.dumps({"videos": videos, "seconds": round(run.seconds, 3), "fallback_share": share}, indent=2)
