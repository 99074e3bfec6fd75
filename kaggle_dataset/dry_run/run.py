"""The dry run: the kernel as it will be pushed runs on real clips, in a place like a Kaggle session."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from common.errors import DfdcError
from inference.videos import find_videos
from kaggle_dataset.bundle.checks import DATASET_METADATA, LIMIT_BYTES, check_dataset
from kaggle_dataset.bundle.wheels import IMAGE, read_image
from kaggle_dataset.dry_run.check import GRACE, Checked, Program
from kaggle_dataset.dry_run.environment import SessionEnvironment, compare_versions, make_environment
from kaggle_dataset.dry_run.report import HOURS, PLANNED, DryRunReport, RunResult
from kaggle_dataset.dry_run.sandbox import Ended, Isolation, Sandbox, Say, find_means

Layout = Literal["slug", "owner"]
# Where Kaggle has been seen to mount a dataset, and a competition's data.
LAYOUTS: dict[Layout, tuple[str, str]] = {
    "slug": ("{slug}", "{competition}"),
    "owner": ("datasets/{owner}/{slug}", "competitions/{competition}"),
}
# Seconds, below which no budget is scaled: pip, imports and compiled networks cost the same for one video as for 4,000.
LEAST = 300.0
RESERVE = 120.0 / HOURS  # of the budget: the kernel's own 2 minutes of 9 hours


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
