"""What `dfdc predict` does: one request, from the paths of the videos to the files that it writes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from common.device import find_device
from common.files import refuse_overwriting
from ensemble.blend import Blend
from ensemble.prior import EM, read_prior
from faces.decode.watchdog import VideoLimits
from inference.blends import load_blend
from inference.outputs import to_json, write_probabilities
from inference.pipeline import Pipeline, PredictOptions, make_pipeline
from inference.result import VideoResult
from inference.run import Run, open_journal, predict_videos
from inference.schedule.budget import make_scheduler
from inference.schedule.plans import TOLERANCE, is_sparing
from inference.submission import read_sample
from inference.verdict import Verdict, legend_of, verdict_of
from inference.videos import as_named, gather_videos
from models.backend import words_of
from models.checkpoint import WEIGHTS_DIR

# Frames per video that a report shows: one row of pictures on a wide screen.
REPORT_THUMBNAILS = 8
RUN_ON = "the members run on "  # begins a line of the log, by which `dfdc push` knows what a session had


@dataclass(frozen=True)
class PredictRequest:
    """What a user asks of a prediction."""

    videos: Sequence[Path]  # videos, or folders of videos
    output: Path  # the submission CSV: filename,label
    sample: Path | None = None  # a sample_submission.csv: its rows, in its order; all videos by name without it
    report: Path | None = None  # an HTML page with pictures, where wanted
    probabilities: Path | None = None  # a CSV of every member's logit of every face, where wanted
    frames: int | None = None  # per video, evenly spread; what the blend says without it
    # A video's faces are scored until the standard error of its P(fake) is this, against all of them; 0: all. Without
    # it it is TOLERANCE, and 0 where a budget is given, where it grows when the time gets short.
    tolerance: float | None = None
    budget: str | None = None  # end in time whatever happens: 9h, 90m
    reserve: str = "2m"  # of the budget, kept for writing
    restart: bool = False  # throw away the journal of a run that was stopped
    max_fallback: float = 0.1  # share of videos, 0..1, that may get the prior
    members: Path = WEIGHTS_DIR  # folder of members
    blend: Path | None = None  # a blend.json; one of those beside the members without it
    competition: bool = False  # take the blend that is tuned for DFDC alone, not the one for videos from anywhere
    prior: str | None = None  # the share of fakes among the videos, or "em" to estimate it; None is half
    device: str = "auto"  # cuda, cpu or auto
    recursive: bool = False  # search folders inside the folders
    video_seconds: float | None = None  # of CPU, for decoding one video; by its length without it
    # Is called as each video is finished; where the share of fakes is estimated, when all are.
    on_result: Callable[[VideoResult, Verdict], None] | None = None
    started: float = field(default_factory=time.time)  # of time.time(): when the budget began to run
    command: Sequence[str] = ()  # the arguments of the command, which the report shows


@dataclass(frozen=True)
class PredictResult:
    """A request that is answered: its files are written."""

    request: PredictRequest
    run: Run
    blend: Blend  # that gave the probabilities, with the share of fakes that they assume
    videos: int  # that were found

    @property
    def too_many_fallbacks(self) -> bool:
        """Whether more videos got the prior than the request allows."""
        return self.run.fallback_share > self.request.max_fallback

    def table(self) -> str:
        """A line per video, what is said of it with its grounds, and below them what the words are worth."""
        lines = []
        for result in self.run.results:
            verdict = verdict_of(result, self.blend)
            told = "; ".join(part for part in (verdict.grounds, verdict.unlike) if part)
            lines.append(f"{result.prob_fake:.4f}  {verdict.kind:<13}  {result.filename}  ({told})")
        return "\n".join([*lines, legend_of(self.blend)])

    def to_json(self) -> str:
        """The results for other programs."""
        return to_json(self.run, self.blend)

    def summary(self) -> str:
        """What a reader wants to know of the run: files, seconds, plans, the videos without a prediction."""
        run, asked = self.run, self.request
        written = ", ".join(str(path) for path in (asked.output, asked.report, asked.probabilities) if path)
        per_video = run.seconds / max(1, self.videos)
        lines = [f"{len(run.results)} videos, {per_video:.2f} s each; written: {written}", run.profile.sentence()]
        lines += [f"plan at {c.seconds:.0f} s, {c.left} videos to start: {c}" for c in run.plans]
        if run.fallbacks:
            lines.append(f"not predicted: {run.reasons()}")
        if told := run.prior.sentence():
            lines.append(told)
        if self.too_many_fallbacks:
            share = f"{run.fallback_share:.0%} of the rows are the prior"
            lines.append(f"{share}, more than --max-fallback {asked.max_fallback:.0%}")
        return "\n".join(lines)


def predict(request: PredictRequest) -> PredictResult:
    """Predict the videos of a request and write its files; progress goes to stderr.

    Stopped or killed, the same request goes on where it was.

    Raises:
        ValueError: an input does not exist, is named twice, or an option is out of its range, such as the prior.
        DfdcError: members, blend or journal do not fit, or a file cannot be written.
    """
    asked = read_prior(request.prior)
    gathered = gather_videos(request.videos, request.recursive)
    # Before anything is written: the submission is there before the first video is read.
    refuse_overwriting(
        (*gathered.videos, request.sample, request.blend), (request.output, request.report, request.probabilities)
    )
    if request.sample is not None:
        read_sample(request.sample)
    for line in gathered.sentences():
        print(line, file=sys.stderr)
    pipeline = _pipeline_of(request, asked)
    blend = pipeline.blend
    scheduler = None
    if request.budget is not None:
        scheduler = make_scheduler(pipeline, len(gathered.named), request.budget, request.reserve, request.started)
    journal = open_journal(pipeline, request.output, request.restart)
    told = request.on_result
    each = None if told is None or asked == EM else lambda result: told(result, verdict_of(result, blend))
    run = predict_videos(
        pipeline, gathered.named, request.output, request.sample, journal, scheduler, each, asked == EM
    )
    final = replace(blend, prior=run.prior.share)
    if told is not None and asked == EM:  # only now is the share of fakes known
        for result in run.results:
            told(result, verdict_of(result, final))
    answered = PredictResult(request, run, final, len(gathered.named))
    _write_others(answered, pipeline, gathered.named)
    return answered


def _pipeline_of(request: PredictRequest, prior: float | str | None) -> Pipeline:
    """Load what a request asks for; where the members run is said on stderr."""
    blend, device = load_blend(request.members, request.blend, request.competition), find_device(request.device)
    if isinstance(prior, float):
        blend = replace(blend, prior=prior)
    tolerance = request.tolerance
    if tolerance is None:
        tolerance = TOLERANCE if request.budget is None else 0.0
    options = PredictOptions(
        frames=request.frames or blend.frames,
        tolerance=tolerance,
        sparing=request.budget is None and is_sparing(request.frames, tolerance),
        thumbnails=REPORT_THUMBNAILS if request.report else 0,
        # Whoever is short of time gets no heat maps: each takes about as long as the members take for its video.
        heatmap=bool(request.report) and request.budget is None,
        limits=VideoLimits.of(request.video_seconds),
    )
    pipeline = make_pipeline(options, device, request.members, blend=blend)
    print(f"{RUN_ON}{words_of(device)}", file=sys.stderr)
    return pipeline


def _write_others(answered: PredictResult, pipeline: Pipeline, named: Mapping[str, Path]) -> None:
    """Write the files that were asked for beside the submission."""
    request, run = answered.request, answered.run
    if request.probabilities:
        write_probabilities(request.probabilities, run.results)
    if request.report:
        from inference.report.facts import facts_of
        from inference.report.page import write_report

        facts = facts_of(pipeline, run, answered.blend, request.command)
        videos = as_named(named, [result.filename for result in run.results])
        write_report(request.report, run.results, facts, videos=videos)
