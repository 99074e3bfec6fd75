"""The commands of `dfdc` from members to a score on Kaggle: parse, call, print. Heavy imports happen inside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import kaggle_steps as steps
from cli.kaggle_options import (
    DFDC,
    LEDGER,
    OUTPUT,
    AllowCpu,
    Budget,
    BuiltFolder,
    Clips,
    Competition,
    DryRun,
    Isolation,
    Ledger,
    MaxFallback,
    MostPrior,
    Output,
    PerDay,
    Sample,
    Yes,
    takes_build_options,
)  # fmt: skip
from cli.stopping import when_stopped
from common.errors import DfdcError

if TYPE_CHECKING:
    from kaggle_dataset.bundle.options import BuildOptions


@takes_build_options
def build(options: BuildOptions, output: Output = OUTPUT, dry_run: DryRun = False) -> None:
    """Pack members, blend, detectors, code and the wheels that Kaggle lacks; refuse what Kaggle or the rules refuse.

    The same sources give the same bytes, in a folder named after its manifest's hash. Wheels are downloaded once.
    """
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) if dry_run else output
        made = steps.build(options, into)
        steps.print_built(made, dry_run)


def dry_run_kernel(
    videos: Clips,
    built: BuiltFolder = None,
    output: Output = OUTPUT,
    isolation: Isolation = "auto",
    max_fallback: MaxFallback = 0.1,
    budget: Budget = None,
    keep: Annotated[bool, typer.Option("--keep", help="leave the folders of the run for looking")] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON on stdout instead of a table")] = False,
) -> None:
    """Run the built kernel as Kaggle does: in a fresh environment, with read-only input in both layouts, offline.

    Any attempt to open a connection fails the run and is named. The report says memory, disk, bytes, and the hours that
    4,000 and 10,000 videos would take at the speed of this machine.
    """
    seconds = steps.seconds_of(budget)
    folder = steps.chosen(built, output)
    result = steps.dry_run(folder, videos, isolation, max_fallback, keep, seconds)
    typer.echo((folder / steps.DRY_RUN_REPORT).read_text(encoding="utf-8").strip() if json else result)


def upload(built: BuiltFolder = None, output: Output = OUTPUT, dry_run: DryRun = False) -> None:
    """Make the built dataset the newest version on Kaggle, once, and read it back.

    What Kaggle has decides whether it creates the dataset or adds a version. After a kill or a lost connection the same
    command goes on; when Kaggle has this manifest already it sends nothing.
    """
    steps.upload(steps.chosen(built, output), steps.kaggle_of(output), dry_run)


def push(
    built: BuiltFolder = None,
    output: Output = OUTPUT,
    sample: Sample = None,
    most_prior: MostPrior = 0.1,
    adopt: Annotated[
        int | None, typer.Option(help="the version that Kaggle's page shows, after a push whose answer was lost")
    ] = None,
    anew: Annotated[bool, typer.Option("--anew", help="make another version though this one was pushed")] = False,
    allow_cpu: AllowCpu = False,
    dry_run: DryRun = False,
) -> None:
    """Push the kernel, wait until its session is complete, fetch its submission and validate it.

    After a kill the same command goes on waiting and pushes nothing. A session that fails shows the end of its log. One
    that asked for a GPU and ran on the CPU ends with exit code 3.
    """
    steps.push(
        steps.chosen(built, output), steps.kaggle_of(output), sample, most_prior, dry_run, adopt, anew, allow_cpu
    )


def submit(
    built: BuiltFolder = None,
    output: Output = OUTPUT,
    competition: Competition = DFDC,
    ledger: Ledger = LEDGER,
    per_day: PerDay = 2,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Ask, submit the pushed kernel's version once, and wait for its score.

    The ledger and Kaggle's own list are counted against the submissions of the day. DFDC takes no submissions any more.
    """
    from kaggle_dataset.submit.account import competition_name

    steps.refuse_without_an_answer(yes, dry_run)
    folder, kaggle, name = steps.chosen(built, output), steps.kaggle_of(output), competition_name(competition)
    steps.submit(folder, kaggle, name, ledger, per_day, yes, dry_run)


@takes_build_options
def ship(
    options: BuildOptions,
    videos: Clips,
    output: Output = OUTPUT,
    competition: Competition = DFDC,
    max_fallback: MaxFallback = 0.1,
    budget: Budget = None,
    sample: Sample = None,
    most_prior: MostPrior = 0.1,
    ledger: Ledger = LEDGER,
    per_day: PerDay = 2,
    yes: Yes = False,
    allow_cpu: AllowCpu = False,
    dry_run: DryRun = False,
    check: Annotated[
        bool, typer.Option("--check", help="only look, in seconds: client, account, owner, competition, its rules")
    ] = False,
) -> None:
    """Go from members to a score: build, dry-run, upload, push and submit; stop at the first doubt.

    Account, owner and competition are looked at first. Each step knows what was done before, so the same command goes
    on where it stopped. For DFDC itself, which takes no submissions any more, it stops before the push.
    """
    when_stopped(f"the steps that are done are in {output}")
    seconds = steps.seconds_of(budget)
    competition = steps.look_first(options.owner, competition, output, dry_run)
    if check:
        return
    steps.refuse_without_an_answer(yes, dry_run)
    made = steps.build(options, output)
    steps.print_built(made, False)
    folder, kaggle = made.dataset.parent, steps.kaggle_of(output)
    if (folder / steps.DRY_RUN_REPORT).exists():
        steps.say(f"the dry run of {made.id} was passed before: {folder / steps.DRY_RUN_REPORT}")
    else:
        typer.echo(steps.dry_run(folder, videos, "auto", max_fallback, False, seconds))
    steps.upload(folder, kaggle, dry_run)
    if competition == DFDC and not dry_run:
        raise DfdcError(
            f"{DFDC} takes no submissions any more, so ship stops before a session with a GPU is spent; the dataset is "
            f"on Kaggle. dfdc push runs the kernel on it all the same; --competition names one that is open"
        )
    steps.push(folder, kaggle, sample, most_prior, dry_run, allow_cpu=allow_cpu)
    steps.submit(folder, kaggle, competition, ledger, per_day, yes, dry_run)


# Name and function, in the order in which they are used and `dfdc --help` lists them.
COMMANDS: dict[str, Callable[..., None]] = {
    "build": build, "dry-run": dry_run_kernel, "upload": upload, "push": push, "submit": submit, "ship": ship,
}  # fmt: skip
