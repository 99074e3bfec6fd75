"""A run over many videos: order, journal, progress, and a submission that is whole at every moment."""

from __future__ import annotations

import hashlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from ensemble.blend import Blend
from ensemble.prior import Prior
from inference.answer import answer_again, share_of_fakes
from inference.journal import Journal
from inference.pipeline import Pipeline
from inference.result import PRIOR, VideoResult
from inference.schedule.scheduler import Change, Scheduler
from inference.stages import Profile, profile
from inference.submission import read_sample, write_submission
from inference.videos import as_named, journal_of
from inference.work import SKIPPED

# Seconds between two writings of a submission that is not finished. Writing 4,000 rows takes milliseconds; a minute is
# what a run that dies without a journal loses.
REFRESH = 60.0
# Deaths of the process while it worked on a video, after which that video is given up. A video that was begun and not
# finished comes last the next time, so only one that kills the process again and again, and not a user who stops runs
# by hand, comes to so many. inference/kernel.py restarts more often than that.
DEATHS = 25


@dataclass(frozen=True)
class Run:
    """A finished run."""

    results: list[VideoResult]  # in the order of the submission
    seconds: float  # wall clock, networks already loaded
    profile: Profile  # of the videos of this run, without those that an earlier one had finished
    plans: tuple[Change, ...] = ()  # the changes of plan, of a run with a budget
    prior: Prior = field(default_factory=Prior)  # the share of fakes that the probabilities assume

    @property
    def fallbacks(self) -> list[VideoResult]:
        """The videos that got the prior instead of a prediction."""
        return [result for result in self.results if result.status != "ok"]

    @property
    def fallback_share(self) -> float:
        """The share of all rows that have the prior, 0..1; 0 for a run without rows."""
        return len(self.fallbacks) / max(1, len(self.results))

    def reasons(self) -> str:
        """The fallbacks for people: a line of counts per status, then a line per video."""
        counts = Counter(result.status for result in self.fallbacks)
        lines = [f"{count} {status}" for status, count in counts.most_common()]
        return "\n".join([", ".join(lines), *(f"  {r.filename}: {r.status}: {r.reason}" for r in self.fallbacks)])


def predict_videos(
    pipeline: Pipeline,
    videos: Sequence[Path] | Mapping[str, Path],
    output: Path,
    sample: Path | None = None,
    journal: Journal | None = None,
    scheduler: Scheduler | None = None,
    on_result: Callable[[VideoResult], None] | None = None,
    estimate: bool = False,
) -> Run:
    """Predict `videos` and write the submission; progress goes to stderr.

    The submission is there from the first second, the prior in every row, and is renewed every REFRESH seconds.

    Args:
        pipeline: predicts.
        videos: paths, no two of one name; or paths by the names that they have in the submission.
        output: the submission CSV.
        sample: a sample_submission.csv. Its names and their order are the submission's: a name without a video gets
            the prior and a reason, a video that it does not name is left out. Without it rows are sorted by name.
        journal: what it knows is not predicted again. It is removed when the run is over.
        scheduler: may end the run early; videos that it leaves get the prior. All videos alike without one.
        on_result: is called with each row's result as soon as it is known: those of the journal first, and
            last the rows without a video or a look at it.
        estimate: the share of fakes is estimated when all videos are scored, and the probabilities follow it; until
            then those in the file, and those that `on_result` is told, assume half.

    Returns:
        The run, one result per row.

    Raises:
        ValueError: the sample is none.
        DfdcError: the submission cannot be written as it should be.
    """
    order, named = _rows_of(videos, sample)
    began = time.perf_counter()
    blend = pipeline.blend
    done = {} if journal is None else finished_before(journal, named, blend.unseen)
    save = _Saver(output, order, blend, done)
    waiting = [name for name in named if name not in done]
    if journal is not None:
        waiting.sort(key=lambda name: journal.begun[name])  # those that were begun, and not finished, come last
    tell = on_result or (lambda _: None)
    for result in done.values():
        tell(result)
    names = {path: name for name, path in named.items()}
    begin = journal.begin if journal else None
    results = pipeline.run_as_finished([named[name] for name in waiting], scheduler, begin, names)
    try:
        for result in _with_progress(results, len(named), list(done.values())):
            latest = done[result.filename] = with_second_look(done.get(result.filename), result)
            if journal is not None:
                journal.add(latest, size_of(named[result.filename]))
            tell(latest)
            save.now_and_then()
    finally:
        # Also where the user stops the run: what is finished is in the file.
        save.now()
    prior = Prior.given(blend.prior)
    if estimate:
        prior = share_of_fakes(done.values(), blend)
        blend = replace(blend, prior=prior.share)
        done = {name: answer_again(result, blend) for name, result in done.items()}
        _Saver(output, order, blend, done)
    if journal is not None:
        journal.close(remove=True)
    seconds, plans = time.perf_counter() - began, tuple(scheduler.history) if scheduler else ()
    scored = profile([done[name] for name in waiting if name in done], seconds, pipeline.decoders)
    rows = [done.get(name) or _lacking(name, name in named, blend.unseen) for name in order]
    for row in rows:
        if row.filename not in done:  # of a sample without its video, or left by the budget
            tell(row)
    return Run(rows, seconds, scored, plans, prior)


def _rows_of(videos: Sequence[Path] | Mapping[str, Path], sample: Path | None) -> tuple[list[str], dict[str, Path]]:
    """The names of all rows in their order, and the videos of those that have one; those left out are told."""
    by_name = dict(videos) if isinstance(videos, Mapping) else {path.name: path for path in videos}
    order = read_sample(sample) if sample else sorted(by_name)
    by_name = as_named(by_name, order)
    if ignored := sorted(by_name.keys() - set(order)):
        print(f"{len(ignored)} videos are not named in {sample} and were left out: {ignored[:3]} ...", file=sys.stderr)
    return order, {name: by_name[name] for name in order if name in by_name}


def open_journal(pipeline: Pipeline, output: Path, restart: bool = False) -> Journal:
    """Open the journal beside `output`, or go on with it.

    Args:
        pipeline: its blend, weights and frames decide the numbers, and the journal must have the same.
        output: the submission CSV.
        restart: throw away what is in the journal.

    Raises:
        DfdcError: the journal is of another blend, other weights or other frames, or another run has it open.
    """
    about = {
        "blend": hashlib.sha256(pipeline.blend.to_json().encode()).hexdigest(),
        "members": {loaded.card.name: loaded.card.sha256 for loaded in pipeline.loaded_members},
        "frames": pipeline.options.frames,
        "tolerance": pipeline.options.tolerance,
        "sparing": pipeline.options.sparing,
    }
    return Journal(journal_of(output), about, restart)


def size_of(path: Path) -> int:
    """Return the bytes of a file; 0 for one that cannot be looked at, such as a link to nowhere."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class _Saver:
    """Keeps the submission on the disk, as far as it is known, at every moment."""

    def __init__(self, output: Path, order: list[str], blend: Blend, done: Mapping[str, VideoResult]) -> None:
        self.output, self.order, self.blend, self.done = output, order, blend, done
        self.now()

    def now(self) -> None:
        known, unseen = self.done, self.blend.unseen
        prob = {name: known[name].prob_fake if name in known else unseen for name in self.order}
        write_submission(self.output, prob, self.order, self.blend.clip)
        self.last = time.monotonic()

    def now_and_then(self) -> None:
        if time.monotonic() - self.last > REFRESH:
            self.now()


def finished_before(journal: Journal, named: Mapping[str, Path], unseen: float = PRIOR) -> dict[str, VideoResult]:
    """Say what needs no further work: what an earlier run has finished, and videos on which too many processes died.

    Args:
        journal: of that run.
        named: the videos that are wanted, by the names that the journal has for them.
        unseen: P(fake) of a video that is given up.

    Returns:
        Their results by name; how many there are is said on stderr.
    """
    done = {}
    for name, path in named.items():
        if result := journal.known(name, size_of(path)):
            done[name] = result
        elif journal.begun[name] >= DEATHS:
            done[name] = VideoResult(name, "crashed", unseen, f"the process died {DEATHS} times while it worked on it")
    if done:
        print(f"{len(done)} of {len(named)} videos were finished before; going on with the others", file=sys.stderr)
    return done


def _with_progress(
    results: Iterator[VideoResult], total: int, before: Collection[VideoResult]
) -> Iterator[VideoResult]:
    fallbacks = {result.filename for result in before if result.status != "ok"}
    seen, again = {result.filename for result in before}, 0
    with tqdm(total=total, initial=len(before), unit="video", desc="predicting", smoothing=0.1) as bar:
        for result in results:
            new = result.filename not in seen
            again += not new
            if result.status == "ok":
                fallbacks.discard(result.filename)
            elif new:
                fallbacks.add(result.filename)
            bar.set_postfix(fallbacks=len(fallbacks), **({"again": again} if again else {}))
            bar.update(new)
            seen.add(result.filename)
            yield result


def with_second_look(first: VideoResult | None, second: VideoResult) -> VideoResult:
    """Choose between the results of one video that was perhaps looked at before.

    Args:
        first: what is known already; None where this is the first look.
        second: of the look that has just ended.

    Returns:
        The second one, unless it failed where the first had more to say; with the seconds of both.
    """
    if first is None:
        return second
    kept = second if second.status in ("ok", first.status) else first
    both = {
        name: {stage: a.get(stage, 0.0) + b.get(stage, 0.0) for stage in {**a, **b}}
        for name, a, b in (("seconds", first.seconds, second.seconds), ("cpu", first.cpu, second.cpu))
    }
    return replace(kept, seconds=both["seconds"], cpu=both["cpu"])


def _lacking(name: str, given: bool, unseen: float) -> VideoResult:
    if given:
        return VideoResult(name, "skipped_by_budget", unseen, SKIPPED)
    return VideoResult(name, "unreadable", unseen, "the sample submission names it, and no such video was given")
