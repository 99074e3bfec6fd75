"""The steps behind the commands from members to a score: each calls its room and prints what came of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.options import EXIT_FALLBACKS
from cli.stopping import when_stopped

if TYPE_CHECKING:
    from kaggle_dataset.bundle.build import Built
    from kaggle_dataset.bundle.options import BuildOptions
    from kaggle_dataset.submit.kaggle_client import Kaggle

LAST, STATE, DRY_RUN_REPORT = "last", "state", "rehearsal.json"  # in the output folder, and the last in a build's


def can_ask() -> bool:
    """Whether there is somebody to answer."""
    return sys.stdin.isatty()


def refuse_without_an_answer(yes: bool, dry_run: bool) -> None:
    """Refuse at the start what would have to ask, and cannot; ValueError."""
    if not (yes or dry_run or can_ask()):
        raise ValueError("there is no terminal to ask on before a submission is used up: give --yes")


def look_first(owner: str, competition: str, output: Path, dry_run: bool) -> str:
    """Look at account and competition, and return its name; a dry run goes on without an account."""
    from kaggle_dataset.submit.account import competition_name, look_first
    from kaggle_dataset.submit.kaggle_client import NotSignedIn

    name = competition_name(competition)
    try:
        look_first(owner, name, kaggle_of(output), say)
    except NotSignedIn as error:
        if not dry_run:
            raise
        say(f"note: {error}")
    return name


def build(options: BuildOptions, into: Path) -> Built:
    """Build into a folder, and remember there which was the last."""
    from common.files import write_text
    from kaggle_dataset.bundle.build import build as run_build

    made = run_build(options, into, say=say)
    write_text(into / LAST, made.id + "\n")
    return made


def print_built(made: Built, dry_run: bool) -> None:
    """Print what was built, its bytes and how far fp16 moved predictions, and write that as a page."""
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


def seconds_of(budget: str | None) -> float | None:
    """Read a duration such as 5m; None stays None."""
    from inference.schedule.duration import parse_duration

    return None if budget is None else parse_duration(budget)


def dry_run(folder: Path, videos: Path, isolation: str, max_fallback: float, keep: bool, budget: float | None) -> str:
    """Run it, keep what it showed beside the build, which is what `ship` believes, and return that for people."""
    import json
    from typing import cast

    from common.files import write_text
    from kaggle_dataset.dry_run import sandbox
    from kaggle_dataset.dry_run.report import write_report
    from kaggle_dataset.dry_run.run import dry_run as run_kernel

    means = cast("sandbox.Isolation", isolation)
    (folder / DRY_RUN_REPORT).unlink(missing_ok=True)  # one that was passed before says nothing if this one fails
    shown = run_kernel(folder, videos, isolation=means, max_fallback=max_fallback, budget=budget, keep=keep, say=say)
    write_text(folder / DRY_RUN_REPORT, json.dumps(shown.to_dict(), indent=1) + "\n")
    write_report(folder / "dry_run.html", shown)
    return shown.render()


def upload(folder: Path, kaggle: Kaggle, dry_run: bool) -> None:
    """Send the dataset once and print what Kaggle has."""
    when_stopped(f"what was done is noted in {folder.parent / STATE}")
    from kaggle_dataset.submit.upload import upload as run_upload

    done = run_upload(folder / "dataset", kaggle, dry_run=dry_run, say=say)
    what = "sent" if done.sent else "would be" if dry_run else "there already, nothing was sent"
    typer.echo(f"dataset {done.ref} version {done.version}: {what}")


def push(
    folder: Path,
    kaggle: Kaggle,
    sample: Path | None,
    most_prior: float,
    dry_run: bool,
    adopt: int | None = None,
    anew: bool = False,
    allow_cpu: bool = False,
) -> None:
    """Push the kernel, wait for its session and print where its output is; exit code 3 where it did without the GPU."""
    when_stopped(f"what was done is noted in {folder.parent / STATE}")
    from kaggle_dataset.submit.push import push as run_push

    done = run_push(
        folder / "kernel", folder / "output", kaggle,
        sample=sample, most_prior=most_prior, adopt=adopt, anew=anew, dry_run=dry_run, say=say,
    )  # fmt: skip
    if not dry_run:
        typer.echo(f"kernel {done.ref} version {done.version}: {done.url}\nits output, validated: {done.submission}")
    if done.on_cpu and not allow_cpu:
        say("the session did without the GPU that was asked for; push again (--anew), or go on with it: --allow-cpu")
        raise typer.Exit(EXIT_FALLBACKS)


def submit(
    folder: Path, kaggle: Kaggle, competition: str, ledger: Path, per_day: int, yes: bool, dry_run: bool
) -> None:
    """Ask, submit the pushed version once and print its score."""
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
        say(f"would submit the version that the push makes to {competition}")
        return
    entry = run_submit(
        folder / "dataset" / "manifest.json", kernel, version, kaggle,
        ledger=ledger, confirm=typer.confirm, competition=competition, yes=yes, dry_run=dry_run, per_day=per_day,
        say=say,
    )  # fmt: skip
    if not dry_run:
        scores = f"public {entry.public_score}, private {entry.private_score}, expected {entry.expected_log_loss}"
        typer.echo(f"{competition}: {entry.status}, {scores}; noted in {ledger}")
        if said := advice(entry, read_ledger(ledger)):
            typer.echo(said)


def kaggle_of(output: Path) -> Kaggle:
    """Make a client whose notes lie in the output folder."""
    from kaggle_dataset.submit.kaggle_client import Kaggle

    return Kaggle(output / STATE)


def chosen(built: Path | None, output: Path) -> Path:
    """The build that is meant; ValueError when there is none."""
    if built is not None:
        return built
    last = output / LAST
    if not last.exists():
        raise ValueError(f"there is no build in {output}; first: dfdc build --owner NAME, or give build/<id>")
    return output / last.read_text(encoding="utf-8").strip()


def say(text: str) -> None:
    """Print news on stderr."""
    print(text, file=sys.stderr, flush=True)
