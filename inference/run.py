"""What `dfdc predict` does around the pipeline: order, progress, files, and whether the run may be trusted."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common.files import write_text
from ensemble.blend import Blend
from inference.journal import Journal
from inference.pipeline import Pipeline
from inference.result import PRIOR, VideoResult
from inference.schedule.duration import parse_duration
from inference.schedule.planner import Planner
from inference.schedule.plans import PRIOR_LOSS, make_plans
from inference.schedule.scheduler import BudgetScheduler, Change, Scheduler
from inference.stages import Profile, profile
from inference.submission import read_sample, write_submission
from inference.videos import journal_of

REFRESH = 60.0  # seconds between two writings of a submission that is not finished
# Deaths of the process while it judged a video, after which that video is given up. Who is begun and not finished comes
# last the next time, so only what kills a process again and again, and not who ends runs by hand, comes to so many.
DEATHS = 25


@dataclass(frozen=True)
class Run:
    """A finished run."""

    results: list[VideoResult]  # in the order of the submission
    seconds: float  # wall clock, networks already loaded
    profile: Profile  # of the videos that it judged itself, not those that an earlier one had finished
    plans: tuple[Change, ...] = ()  # how the plan went, of a run with a budget

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


def predict(
    pipeline: Pipeline,
    videos: Sequence[Path],
    output: Path,
    sample: Path | None = None,
    journal: Journal | None = None,
    scheduler: Scheduler | None = None,
) -> Run:
    """Judge `videos`, write the submission to `output`; progress goes to stderr.

    The submission is there from the first second, the prior in every row, and is renewed every REFRESH seconds. With a
    sample file its names and order are the submission's: a name without a video gets the prior and a reason, a video
    that it does not name is not judged. Without one the rows are sorted by name. journal: what it knows is not judged
    again; it is removed when the run is over. pace: may end the run early; videos that it left get the prior.
    """
    by_name = {path.name: path for path in videos}
    order = read_sample(sample) if sample else sorted(by_name)
    if ignored := sorted(by_name.keys() - set(order)):
        print(f"{len(ignored)} videos are not named in {sample} and were left out: {ignored[:3]} ...", file=sys.stderr)
    began = time.perf_counter()
    named = {name: by_name[name] for name in order if name in by_name}
    done = {} if journal is None else _known(journal, named)
    save = _Saver(output, order, pipeline.blend.clip, done)
    todo = [path for name, path in named.items() if name not in done]
    if journal is not None:
        todo.sort(key=lambda path: journal.begun[path.name])  # those that were begun, and not finished, come last
    results = pipeline.run(todo, scheduler, journal.begin if journal else None)
    for result in _with_progress(results, len(named), list(done.values())):
        done[result.filename] = result
        if journal is not None:
            journal.add(result, _size(by_name[result.filename]))
        save.now_and_then()
    save.now()
    if journal is not None:
        journal.close(remove=True)
    seconds, plans = time.perf_counter() - began, tuple(scheduler.history) if scheduler else ()
    scored = profile([done[path.name] for path in todo if path.name in done], seconds, pipeline.decoders)
    return Run([done.get(name) or _lacking(name, name in named) for name in order], seconds, scored, plans)


def open_journal(pipeline: Pipeline, output: Path, restart: bool = False) -> Journal:
    """The journal beside `output`; DfdcError when it is of another blend, other weights or other frames."""
    about = {
        "blend": hashlib.sha256(pipeline.blend.to_json().encode()).hexdigest(),
        "members": {loaded.card.name: loaded.card.sha256 for loaded in pipeline.loaded_members},
        "frames": pipeline.options.frames,
    }
    return Journal(journal_of(output), about, restart)


def make_scheduler(pipeline: Pipeline, videos: int, budget: str, reserve: str, started: float) -> BudgetScheduler:
    """A pace that ends `reserve` before `budget` is over. started: of time.time(), when the budget began to run."""
    seconds, kept = parse_duration(budget), parse_duration(reserve)
    if kept >= seconds:
        raise ValueError(f"--reserve {reserve} leaves nothing of --budget {budget}")
    blend = pipeline.blend
    plans = make_plans(pipeline.options.frames, len(blend.fallbacks), _shares(pipeline), _losses(blend))
    return BudgetScheduler(Planner(plans, videos, seconds, kept, started, pipeline.decoders))


def _shares(pipeline: Pipeline) -> list[float]:
    """Seconds of the members on each rung of the blend's ladder, as a share of all members'; empty where not known."""
    seconds = {loaded.card.name: loaded.card.seconds_per_32_crops or 0.0 for loaded in pipeline.loaded_members}
    if not all(seconds.values()):
        return []
    fallbacks = [pipeline.blend.members, *(fallback.members for fallback in pipeline.blend.fallbacks)]
    return [sum(seconds[name] for name in fallback) / sum(seconds.values()) for fallback in fallbacks]


def _losses(blend: Blend) -> list[float]:
    """Expected log loss on each rung; empty where the whole blend's is not known, or not below the prior's."""
    whole = blend.facts.get("expected_log_loss", {}).get("value")
    losses = [] if whole is None else [float(whole), *(fallback.log_loss for fallback in blend.fallbacks)]
    return losses if all(loss < PRIOR_LOSS for loss in losses) else []


def _size(path: Path) -> int:
    """Bytes of a file; 0 for one that cannot be looked at, such as a link to nowhere."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class _Saver:
    """The submission as far as it is known, on the disk at every moment."""

    def __init__(
        self, output: Path, order: list[str], clip: tuple[float, float], done: Mapping[str, VideoResult]
    ) -> None:
        self.output, self.order, self.clip, self.done = output, order, clip, done
        self.now()

    def now(self) -> None:
        prob = {name: self.done[name].prob_fake if name in self.done else PRIOR for name in self.order}
        write_submission(self.output, prob, self.order, self.clip)
        self.last = time.monotonic()

    def now_and_then(self) -> None:
        if time.monotonic() - self.last > REFRESH:
            self.now()


def _known(journal: Journal, named: Mapping[str, Path]) -> dict[str, VideoResult]:
    """What an earlier run has finished, and the videos on which too many processes died."""
    done = {}
    for name, path in named.items():
        if result := journal.known(name, _size(path)):
            done[name] = result
        elif journal.begun[name] >= DEATHS:
            done[name] = VideoResult(name, "crashed", PRIOR, f"the process died {DEATHS} times while judging it")
    if done:
        print(f"{len(done)} of {len(named)} videos were finished before; going on with the others", file=sys.stderr)
    return done


def _with_progress(
    results: Iterator[VideoResult], total: int, before: Collection[VideoResult]
) -> Iterator[VideoResult]:
    fallbacks = sum(result.status != "ok" for result in before)
    with tqdm(results, total=total, initial=len(before), unit="video", desc="judging", smoothing=0.1) as bar:
        for result in bar:
            fallbacks += result.status != "ok"
            bar.set_postfix(fallbacks=fallbacks)
            yield result


def _lacking(name: str, given: bool) -> VideoResult:
    if given:
        return VideoResult(name, "skipped_by_budget", PRIOR, "the budget was used up before it was judged")
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
            "detector_steps": dict(Counter(face.detector for face in r.faces)),
            "seconds": {stage: round(value, 3) for stage, value in r.seconds.items()},
        }
        for r in run.results
    ]
    share = round(run.fallback_share, 4)
    facts: dict[str, Any] = {
        "seconds": round(run.seconds, 3),
        "fallback_share": share,
        "profile": run.profile.to_dict(),
    }
    facts["plans"] = [
        {"seconds": round(c.seconds, 1), "left": c.left, "frames": c.plan.frames, "rung": c.plan.fallback}
        for c in run.plans
    ]
    return json.dumps({"videos": videos, **facts}, indent=2)
