"""The dry run: the kernel as it will be pushed runs on real clips, in a place like a Kaggle session."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import math
import os
import platform
import re
import shlex
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.errors import DfdcError
from inference.videos import find_videos, journal_of
from kaggle_dataset.bundle.checks import DATASET_METADATA, LIMIT_BYTES, check_dataset
from kaggle_dataset.bundle.wheels import IMAGE, read_image
from kaggle_dataset.dry_run.environment import SessionEnvironment, compare_versions, make_environment
from kaggle_dataset.dry_run.report import DISK, HOURS, MEMORY, PLANNED, DryRunReport, RunResult
from kaggle_dataset.dry_run.sandbox import Ended, Isolation, Sandbox, Say, find_means, last_lines

Layout = Literal["slug", "owner"]
# Where Kaggle has been seen to mount a dataset, and a competition's data.
LAYOUTS: dict[Layout, tuple[str, str]] = {
    "slug": ("{slug}", "{competition}"),
    "owner": ("datasets/{owner}/{slug}", "competitions/{competition}"),
}
# Seconds, below which no budget is scaled: pip, imports and compiled networks cost the same for one video as for 4,000.
LEAST = 300.0
RESERVE = 120.0 / HOURS  # of the budget: the kernel's own 2 minutes of 9 hours
GRACE = 60.0  # seconds over the budget, after which the kernel is late
LINES = 40  # of the log, in an error
MISSING = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
UNMET = re.compile(r"No matching distribution found for ([\w.\-]+)")


@dataclass(frozen=True)
class Program:
    """A built folder, as far as a session is laid out by it."""

    folder: Path
    owner: str
    slug: str
    competition: str
    script: Path
    manifest: dict[str, Any]
    clip: tuple[float, float]  # of the blend: every label lies inside it, or is the prior


def dry_run(
    built: Path,
    videos: Path,
    *,
    layouts: Sequence[Layout] = ("slug", "owner"),
    isolation: Isolation = "auto",
    image: Path = IMAGE,
    max_fallback: float = 0.1,
    budget: float | None = None,
    keep: bool = False,
    say: Say = lambda _: None,
) -> DryRunReport:
    """Run the kernel of a build on videos, once per layout, and look at all that it does.

    Args:
        built: a folder build/<id>.
        videos: a folder of real clips.
        layouts: of /kaggle/input, as Kaggle has them.
        isolation: auto, namespaces or hook.
        image: the list of what Kaggle's image has; the kernel finds that, and the wheels that it installs itself.
        max_fallback: share of videos that may get the prior.
        budget: seconds; None: the videos' share of 9 hours.
        keep: leave the folder of the run for looking; `say` names it.
        say: is given news.

    Raises:
        ValueError: `built` is no such folder, or there is no video or no layout.
        DfdcError: with the end of its log, the kernel fails or is late, tries to open a connection, writes into its
            input, leaves a submission with another row than one per video inside the clip, falls back for more than
            `max_fallback` of them, or needs more memory, disk or data than Kaggle gives.
    """
    if unknown := [name for name in layouts if name not in LAYOUTS] or not layouts:
        raise ValueError(f"layouts {unknown if layouts else 'are none'}: give some of {', '.join(LAYOUTS)}")
    program, clips = read_built(built), find_videos([videos])
    external = check_dataset(program.folder / "dataset", program.manifest.get("others")).total
    if external > LIMIT_BYTES:
        raise DfdcError(f"{built} and what is attached with it has {external:,} bytes, {LIMIT_BYTES:,} are allowed")
    stated, means = read_image(image), find_means(isolation)
    seconds = budget or scaled_budget(len(clips))
    say(f"kept apart by: {means}")
    results: list[RunResult] = []
    for layout in layouts:
        with scratch(keep, say) as folder:
            sandbox = Sandbox(folder / "session", means)
            fresh = make_environment(sandbox.host / "environment", stated.distributions, sandbox.connections)
            if not results:
                for line in compare_versions(fresh.linked, stated.distributions, stated.pythons):
                    say(line)
            place = furnish(sandbox, program, clips, layout)
            say(f"the kernel runs on {len(clips)} videos for at most {seconds:g} s, the dataset at {place}")
            ended = run_kernel(sandbox, program, fresh, seconds, say)
            results.append(Checked(sandbox, program, ended, seconds).result(str(place), clips, max_fallback))
    parts = fresh.linked, fresh.below, fresh.absent, tuple(program.manifest.get("wheels", ()))
    return DryRunReport(built.name, str(means), platform.python_version(), *parts, external, seconds, tuple(results))


@contextlib.contextmanager
def scratch(keep: bool, say: Say) -> Iterator[Path]:
    """Yield a temporary folder, which is gone however the block ends, unless it is kept."""
    folder = Path(tempfile.mkdtemp(prefix="dfdc-dry-run-"))
    try:
        yield folder
    finally:
        if keep:
            say(f"kept: {folder}")
        else:
            shutil.rmtree(folder)


def scaled_budget(videos: int) -> float:
    """Seconds for some videos out of the 9 hours for 4,000, but at least LEAST."""
    return max(LEAST, round(HOURS * videos / PLANNED, 1))


def read_built(built: Path) -> Program:
    """Look at a built folder; ValueError naming what is missing."""
    try:
        metadata = _read(built / "kernel" / "kernel-metadata.json")
        manifest = _read(built / "dataset" / "manifest.json")
        owner, slug = str(metadata["dataset_sources"][0]).split("/")
        blend = next(entry["name"] for entry in manifest["files"] if Path(entry["path"]).name == "blend.json")
        low, high = _read(built / "dataset" / blend)["clip"]
        script = built / "kernel" / metadata["code_file"]
        competition = str(metadata["competition_sources"][0])
        return Program(built, owner, slug, competition, script, manifest, (float(low), float(high)))
    except (OSError, ValueError, KeyError, TypeError, IndexError, StopIteration) as error:
        raise ValueError(f"{built} is no folder that dfdc build wrote ({error!r}); give build/<id>") from error


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def furnish(sandbox: Sandbox, program: Program, clips: Sequence[Path], layout: Layout) -> Path:
    """Lay out /kaggle/input, the dataset and the competition's data; return where the kernel finds the dataset."""
    dataset, competition = (
        sandbox.input / part.format(owner=program.owner, slug=program.slug, competition=program.competition)
        for part in LAYOUTS[layout]
    )
    tests = competition / "test_videos"
    dataset.mkdir(parents=True)
    tests.mkdir(parents=True)
    # Links cost nothing, but without a read-only mount the file itself could be written through them.
    place = _link if sandbox.means.namespaces else shutil.copyfile
    for path in (program.folder / "dataset").iterdir():
        if path.name != DATASET_METADATA:  # the client does not send it
            place(path, dataset / path.name)
    for path in clips:
        place(path, tests / path.name)
    rows = "".join(f"{path.name},0.5\n" for path in clips)
    (competition / "sample_submission.csv").write_text("filename,label\n" + rows)
    shutil.copyfile(program.script, sandbox.source / "script.py")
    return sandbox.inside(dataset)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # on another disk, or somebody else's
        shutil.copyfile(source, target)


def run_kernel(sandbox: Sandbox, program: Program, fresh: SessionEnvironment, budget: float, say: Say) -> Ended:
    """Run the script as Kaggle does, from the working folder, for at most `budget` + GRACE seconds.

    It is told only its budget, and to report as JSON.
    """
    arguments = ["--budget", f"{budget:g}s", "--reserve", f"{max(1.0, budget * RESERVE):g}s", "--json"]
    environment = {"DFDC_ARGUMENTS": shlex.join(arguments)}
    if not sandbox.means.namespaces:
        environment["DFDC_INPUT"] = str(sandbox.input)
        environment["DFDC_OUTPUT"] = str(sandbox.working / "submission.csv")
    command = [str(fresh.python), str(sandbox.inside(sandbox.source / "script.py"))]
    return sandbox.run(command, environment, budget + GRACE, fresh.reads, say)


@dataclass(frozen=True)
class Checked:
    """A run that ended, and whether it may be trusted."""

    sandbox: Sandbox
    program: Program
    ended: Ended
    budget: float

    def result(self, dataset: str, clips: Sequence[Path], max_fallback: float) -> RunResult:
        """Check the run and say what it took.

        Args:
            dataset: where the kernel found the dataset.
            clips: the videos.
            max_fallback: share of them that may get the prior.

        Raises:
            DfdcError: for the first thing that is wrong.
        """
        self._behaved()
        self._ended_well()
        self._fits()
        run = self._scored(len(clips))
        statuses = Counter(str(video["status"]) for video in run["videos"])
        result = RunResult(
            dataset, self.ended.seconds, float(run["seconds"]), dict(statuses), self.ended.memory, self.ended.disk
        )
        self._check_submission([path.name for path in clips], {v["filename"]: v["status"] for v in run["videos"]})
        if result.fallbacks > max_fallback * result.videos:
            bad = [f"  {v['filename']}: {v['status']}: {v['reason']}" for v in run["videos"] if v["status"] != "ok"]
            share = f"{result.fallbacks} of {result.videos} videos were not scored, more than {max_fallback:.0%}"
            if "skipped_by_budget" in statuses:
                share += self._slow(statuses["ok"])
            raise DfdcError("\n".join([share, *bad[:LINES]]))
        return result

    def _behaved(self) -> None:
        """Nothing was tried that Kaggle would not let pass, whatever became of it."""
        if self.ended.attempts:
            tried = "\n".join(f"  {attempt}" for attempt in self.ended.attempts[:LINES])
            raise self._failed(f"the kernel tried to open a connection, and Kaggle has no network for it:\n{tried}")
        if self.ended.changed:
            raise self._failed(f"the kernel wrote into its input, which is read-only: {', '.join(self.ended.changed)}")

    def _ended_well(self) -> None:
        if self.ended.code is None:
            late = f"the kernel ran on {GRACE:g} s after its budget of {self.budget:g} s and was ended"
            raise self._failed(late + self._slow(self._journalled()))
        if self.ended.code:
            slow = self._slow(self._journalled()) if self.ended.seconds >= self.budget else ""
            raise self._failed(f"the kernel failed with exit code {self.ended.code}{slow}{self._lacking()}")

    def _slow(self, finished: int) -> str:
        """What a user can do about a machine that is too slow for the budget."""
        return (
            f": this machine is too slow for them in {self.budget:g} s, it finished {finished}; give it more time, as "
            f"in --budget {math.ceil(self.budget / 30)}m, or fewer --videos"
        )

    def _journalled(self) -> int:
        from inference.journal import results_of

        journal = journal_of(self.sandbox.working / "submission.csv")
        return len(results_of(journal)) if journal.exists() else 0

    def _lacking(self) -> str:
        """Which file the dataset lacks, or which distribution the environment, as far as the log says."""
        dataset = self.program.folder / "dataset"
        if gone := [e["name"] for e in self.program.manifest["files"] if not (dataset / e["name"]).exists()]:
            return f": the dataset lacks {', '.join(gone)}, which its manifest names"
        text = last_lines(self.sandbox.err, 1000)
        if found := UNMET.findall(text):
            return f": pip found no wheel of {found[-1]} in the dataset"
        if not (found := MISSING.findall(text)):
            return ""
        module = found[-1].split(".")[0]
        known = importlib.metadata.packages_distributions().get(module, [])
        name = " or ".join(sorted(set(known))) or f"the one with the module {module}"
        return (
            f": the distribution {name} is missing (module {module}): it is not on the list of what Kaggle's image "
            f"has, and the dataset has no wheel of it"
        )

    def _fits(self) -> None:
        if self.ended.memory > MEMORY:
            raise self._failed(f"it took {self.ended.memory / 1e9:.1f} GB of memory; a session has {MEMORY / 1e9:g} GB")
        if self.ended.disk > DISK:
            raise self._failed(f"it wrote {self.ended.disk / 1e9:.1f} GB; a session has {DISK / 1e9:g} GB")

    def _scored(self, videos: int) -> dict[str, Any]:
        """What predicting reported on stdout; without a report it did not come to its end."""
        out = self.sandbox.out.read_text(encoding="utf-8", errors="replace")
        try:
            run = json.JSONDecoder().raw_decode(out[re.search(r"^\{", out, re.MULTILINE).start() :])[0]  # type: ignore[union-attr]
            if len(run["videos"]) == videos and float(run["seconds"]) >= 0:
                return dict(run)
        except (AttributeError, ValueError, KeyError, TypeError):
            pass
        done = self._journalled()
        slow = self._slow(done) if self.ended.seconds >= self.budget else ""
        told = f"predicting did not come to its end: {done} of {videos} videos journalled, and no report{slow}"
        raise self._failed(told)

    def _check_submission(self, names: list[str], statuses: dict[str, str]) -> None:
        """Every row once, in the order of the sample, finite; inside the clip unless it is the prior."""
        from inference.result import PRIOR
        from inference.submission import validate_submission

        path = self.sandbox.working / "submission.csv"
        if not path.is_file():
            raise self._failed("the kernel left no /kaggle/working/submission.csv")
        validate_submission(path, names)
        low, high = self.program.clip
        for line in path.read_text(encoding="utf-8").splitlines()[1:]:
            name, _, label = line.rpartition(",")
            value = float(label)
            if not math.isfinite(value) or not (low <= value <= high or value == PRIOR):
                raise self._failed(f"submission.csv: {name} has {value}, outside the blend's clip [{low}, {high}]")
            if statuses.get(name, "") == "":
                raise self._failed(f"submission.csv: the kernel's report does not speak of {name}")

    def _failed(self, what: str) -> DfdcError:
        # The report goes to stdout, and would push out what is of interest.
        lines = (last_lines(self.sandbox.err, LINES) or last_lines(self.sandbox.out, LINES)).splitlines()
        log = "\n".join(f"  {line}" for line in lines) or "  (nothing)"
        return DfdcError(f"{what}\nthe kernel's last lines:\n{log}")
