"""The commands of `dfdc` from members to a score on Kaggle: parse, call, print. Heavy imports happen inside them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
from cli.options import EXIT_FALLBACKS
from cli.stopping import when_stopped
from common.errors import DfdcError

if TYPE_CHECKING:
    from kaggle_dataset.bundle.build import Built
    from kaggle_dataset.bundle.options import BuildOptions
    from kaggle_dataset.submit.kaggle_client import Kaggle

LAST, STATE, DRY_RUN_REPORT = "last", "state", "rehearsal.json"  # in the output folder, and the last in a build's


@takes_build_options
def build(options: BuildOptions, output: Output = OUTPUT, dry_run: DryRun = False) -> None:
    """Pack members, blend, detectors, code and the wheels that Kaggle lacks; refuse what Kaggle or the rules refuse.

    The same sources give the same bytes, in a folder named after its manifest's hash. Wheels are downloaded once.
    """
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) if dry_run else output
        made = _build(options, into)
        _print_built(made, dry_run)


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
    seconds = _seconds(budget)
    folder = _chosen(built, output)
    result = _dry_run(folder, videos, isolation, max_fallback, keep, seconds)
    typer.echo((folder / DRY_RUN_REPORT).read_text(encoding="utf-8").strip() if json else result)


def upload(built: BuiltFolder = None, output: Output = OUTPUT, dry_run: DryRun = False) -> None:
    """Make the built dataset the newest version on Kaggle, once, and read it back.

    What Kaggle has decides whether it creates the dataset or adds a version. After a kill or a lost connection the same
    command goes on; when Kaggle has this manifest already it sends nothing.
    """
    _upload(_chosen(built, output), _kaggle(output), dry_run)


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
    _push(_chosen(built, output), _kaggle(output), sample, most_prior, dry_run, adopt, anew, allow_cpu)


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

    _refuse_without_an_answer(yes, dry_run)
    _submit(_chosen(built, output), _kaggle(output), competition_name(competition), ledger, per_day, yes, dry_run)


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
    seconds = _seconds(budget)
    competition = _look_first(options.owner, competition, output, dry_run)
    if check:
        return
    _refuse_without_an_answer(yes, dry_run)
    made = _build(options, output)
    _print_built(made, False)
    folder, kaggle = made.dataset.parent, _kaggle(output)
    if (folder / DRY_RUN_REPORT).exists():
        _say(f"the dry run of {made.id} was passed before: {folder / DRY_RUN_REPORT}")
    else:
        typer.echo(_dry_run(folder, videos, "auto", max_fallback, False, seconds))
    _upload(folder, kaggle, dry_run)
    if competition == DFDC and not dry_run:
        raise DfdcError(
            f"{DFDC} takes no submissions any more, so ship stops before a session with a GPU is spent; the dataset is "
            f"on Kaggle. dfdc push runs the kernel on it all the same; --competition names one that is open"
        )
    _push(folder, kaggle, sample, most_prior, dry_run, allow_cpu=allow_cpu)
    _submit(folder, kaggle, competition, ledger, per_day, yes, dry_run)


def can_ask() -> bool:
    """Whether there is somebody to answer."""
    return sys.stdin.isatty()


def _refuse_without_an_answer(yes: bool, dry_run: bool) -> None:
    """Refuse at the start what would have to ask, and cannot; ValueError."""
    if not (yes or dry_run or can_ask()):
        raise ValueError("there is no terminal to ask on before a submission is used up: give --yes")


def _look_first(owner: str, competition: str, output: Path, dry_run: bool) -> str:
    """Look at account and competition, and return its name; a dry run goes on without an account."""
    from kaggle_dataset.submit.account import competition_name, look_first
    from kaggle_dataset.submit.kaggle_client import NotSignedIn

    name = competition_name(competition)
    try:
        look_first(owner, name, _kaggle(output), _say)
    except NotSignedIn as error:
        if not dry_run:
            raise
        _say(f"note: {error}")
    return name


def _build(options: BuildOptions, into: Path) -> Built:
    """Build into a folder, and remember there which was the last."""
    from common.files import write_text
    from kaggle_dataset.bundle.build import build as run_build

    made = run_build(options, into, say=_say)
    write_text(into / LAST, made.id + "\n")
    return made


def _print_built(made: Built, dry_run: bool) -> None:
    from kaggle_dataset.bundle.report import write_report

    typer.echo(made.report.render())
    known = {name: weights["max_drift"] for name, weights in made.manifest["blend"]["weights"].items()}
    drift = {name: made.drift[name] if name in made.converted else known.get(name) for name in known | made.drift}
    told = (f"{name} {value:.4f}" if value is not None else f"{name} not measured" for name, value in drift.items())
    typer.echo(f"\nstored in fp16, prob_fake of a face moved by at most: {', '.join(told)}")
    if dry_run:
        typer.echo(f"dry run: it would be {made.id}; nothing was kept", err=True)
    else:
        write_report(made.dataset.parent / "build.html", made.id, made.report, drift)
        typer.echo(f"{'written' if made.fresh else 'there already, the same'}: {made.dataset.parent}", err=True)


def _seconds(budget: str | None) -> float | None:
    from inference.schedule.duration import parse_duration

    return None if budget is None else parse_duration(budget)


def _dry_run(folder: Path, videos: Path, isolation: str, max_fallback: float, keep: bool, budget: float | None) -> str:
    """Run it, keep what it showed beside the build, which is what `ship` believes, and return that for people."""
    import json
    from typing import cast

    from common.files import write_text
    from kaggle_dataset.dry_run import sandbox
    from kaggle_dataset.dry_run.report import write_report
    from kaggle_dataset.dry_run.run import dry_run

    means = cast("sandbox.Isolation", isolation)
    (folder / DRY_RUN_REPORT).unlink(missing_ok=True)  # one that was passed before says nothing if this one fails
    shown = dry_run(folder, videos, isolation=means, max_fallback=max_fallback, budget=budget, keep=keep, say=_say)
    write_text(folder / DRY_RUN_REPORT, json.dumps(shown.to_dict(), indent=1) + "\n")
    write_report(folder / "dry_run.html", shown)
    return shown.render()


def _upload(folder: Path, kaggle: Kaggle, dry_run: bool) -> None:
    when_stopped(f"what was done is noted in {folder.parent / STATE}")
    from kaggle_dataset.submit.upload import upload as run_upload

    done = run_upload(folder / "dataset", kaggle, dry_run=dry_run, say=_say)
    what = "sent" if done.sent else "would be" if dry_run else "there already, nothing was sent"
    typer.echo(f"dataset {done.ref} version {done.version}: {what}")


def _push(
    folder: Path,
    kaggle: Kaggle,
    sample: Path | None,
    most_prior: float,
    dry_run: bool,
    adopt: int | None = None,
    anew: bool = False,
    allow_cpu: bool = False,
) -> None:
    when_stopped(f"what was done is noted in {folder.parent / STATE}")
    from kaggle_dataset.submit.push import push as run_push

    done = run_push(
        folder / "kernel", folder / "output", kaggle,
        sample=sample, most_prior=most_prior, adopt=adopt, anew=anew, dry_run=dry_run, say=_say,
    )  # fmt: skip
    if not dry_run:
        typer.echo(f"kernel {done.ref} version {done.version}: {done.url}\nits output, validated: {done.submission}")
    if done.on_cpu and not allow_cpu:
        _say("the session did without the GPU that was asked for; push again (--anew), or go on with it: --allow-cpu")
        raise typer.Exit(EXIT_FALLBACKS)


def _submit(
    folder: Path, kaggle: Kaggle, competition: str, ledger: Path, per_day: int, yes: bool, dry_run: bool
) -> None:
    when_stopped(f"what was done is noted in {folder.parent / STATE} and {ledger}")
    from kaggle_dataset.submit.ladder import advice
    from kaggle_dataset.submit.ledger import read_ledger
    from kaggle_dataset.submit.push import last_push
    from kaggle_dataset.submit.submit import submit as run_submit

    try:
        kernel, version = last_push(folder / "kernel")
    except ValueError:
        if not dry_run:
            raise
        _say(f"would submit the version that the push makes to {competition}")
        return
    entry = run_submit(
        folder / "dataset" / "manifest.json", kernel, version, kaggle,
        ledger=ledger, confirm=typer.confirm, competition=competition, yes=yes, dry_run=dry_run, per_day=per_day,
        say=_say,
    )  # fmt: skip
    if not dry_run:
        scores = f"public {entry.public_score}, private {entry.private_score}, expected {entry.expected_log_loss}"
        typer.echo(f"{competition}: {entry.status}, {scores}; noted in {ledger}")
        if said := advice(entry, read_ledger(ledger)):
            typer.echo(said)


def _kaggle(output: Path) -> Kaggle:
    from kaggle_dataset.submit.kaggle_client import Kaggle

    return Kaggle(output / STATE)


def _chosen(built: Path | None, output: Path) -> Path:
    """The build that is meant; ValueError when there is none."""
    if built is not None:
        return built
    last = output / LAST
    if not last.exists():
        raise ValueError(f"there is no build in {output}; first: dfdc build --owner NAME, or give build/<id>")
    return output / last.read_text(encoding="utf-8").strip()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# Name and function, in the order in which they are used and `dfdc --help` lists them.
COMMANDS: dict[str, Callable[..., None]] = {
    "build": build, "dry-run": dry_run_kernel, "upload": upload, "push": push, "submit": submit, "ship": ship,
}  # fmt: skip
