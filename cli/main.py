"""The command `dfdc`: parse, call, print. The work is in the rooms; heavy imports happen inside the commands."""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

import cli.ensemble
import cli.explore
import cli.kaggle
import cli.train
from cli.options import MEMBERS_FOLDER, BlendFile, Device, FramesPerVideo, Json, Members
from common import __version__
from common.device import pick_device
from common.errors import DfdcError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

# A budget counts from here, or from where the process that started this one says.
STARTED = float(os.environ.get("DFDC_STARTED", time.time()))
EXIT_FAILED, EXIT_USAGE, EXIT_FALLBACKS = 1, 2, 3


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dfdc {__version__}")
        raise typer.Exit


@app.callback()
def dfdc(
    version: Annotated[
        bool, typer.Option("--version", help="print the version and exit", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """DeepFake Detection Challenge: judge videos, train members, tune their blend, find out what they are worth.

    Results go to stdout, progress and logs to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done, but more
    videos than --max-fallback could not be judged.
    """


@app.command()
def predict(
    videos: Annotated[list[Path], typer.Argument(help="videos, or folders of videos", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="the CSV: filename,label")] = Path("submission.csv"),
    frames: FramesPerVideo = None,
    sample: Annotated[Path | None, typer.Option(help="a sample_submission.csv: its rows, in its order")] = None,
    report: Annotated[Path | None, typer.Option(help="also write an HTML page with pictures here")] = None,
    probabilities: Annotated[Path | None, typer.Option(help="also write every member's logit of every face")] = None,
    budget: Annotated[
        str | None, typer.Option(help="end in time whatever happens: 9h, 90m; plans frames and members")
    ] = None,
    reserve: Annotated[str, typer.Option(help="of the budget, kept for writing")] = "2m",
    restart: Annotated[bool, typer.Option("--restart", help="do not go on with a run that was stopped")] = False,
    max_fallback: Annotated[float, typer.Option(help="share of videos that may get the prior", min=0, max=1)] = 0.1,
    members: Members = MEMBERS_FOLDER,
    blend: BlendFile = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Judge videos: P(fake) of each into a submission CSV.

    Stopped or killed, the same command goes on where it was. Every video gets a row. One that cannot be read, or shows
    no face, gets 0.5 and a reason; when those are more than --max-fallback of all, the run ends with exit code 3: a
    column of 0.5 looks like success and is none.
    """
    from inference.pipeline import PredictOptions, load_blend, make_pipeline
    from inference.run import make_scheduler, open_journal, to_json, write_probabilities
    from inference.run import predict as run_predict
    from inference.videos import find_videos

    paths = find_videos(videos)
    mixed, chosen = load_blend(members, blend), pick_device(device)
    options = PredictOptions(frames=frames or mixed.frames, thumbnails=8 if report else 0)
    pipeline = make_pipeline(options, chosen, members, blend=mixed)
    scheduler = None if budget is None else make_scheduler(pipeline, len(paths), budget, reserve, STARTED)
    run = run_predict(pipeline, paths, output, sample, open_journal(pipeline, output, restart), scheduler)
    if probabilities:
        write_probabilities(probabilities, run.results)
    if report:
        from inference.report.facts import facts_of
        from inference.report.page import write_report

        write_report(report, run.results, facts_of(pipeline, run, chosen, sys.argv[1:]))
    if json:
        typer.echo(to_json(run))
    else:
        for result in run.results:
            typer.echo(f"{result.prob_fake:.4f}  {result.status:<10}  {result.filename}")
    written = [str(path) for path in (output, report, probabilities) if path]
    per_video = run.seconds / max(1, len(paths))
    typer.echo(f"{len(run.results)} videos, {per_video:.2f} s each; written: {', '.join(written)}", err=True)
    typer.echo(run.profile.sentence(), err=True)
    for change in run.plans:
        typer.echo(f"plan at {change.seconds:.0f} s, {change.left} videos to start: {change}", err=True)
    if run.fallbacks:
        typer.echo(f"not judged: {run.reasons()}", err=True)
    if run.fallback_share > max_fallback:
        share = f"{run.fallback_share:.0%} of the rows are the prior"
        typer.echo(f"{share}, more than --max-fallback {max_fallback:.0%}", err=True)
        raise typer.Exit(EXIT_FALLBACKS)


@app.command()
def evaluate(
    inputs: Annotated[list[Path], typer.Argument(help="videos, or face crops (folders or tars)", show_default=False)],
    labels: Annotated[Path, typer.Option(help="CSV: face or filename, label (REAL/FAKE), and a group if known")],
    frames: FramesPerVideo = None,
    members: Members = MEMBERS_FOLDER,
    blend: BlendFile = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Score the members and their blend on labelled videos or face crops.

    Prints AUC, log loss (classes weighted half each as in the test set, and plain), accuracy and calibration error,
    each with a 95 % bootstrap interval over groups (column original_group or group), and what was not found.
    """
    from inference.evaluate import evaluate_faces, evaluate_videos, is_videos, render
    from inference.pipeline import PredictOptions, load_blend, make_pipeline
    from models.backend import load_members
    from models.registry import TIGHT

    mixed, chosen = load_blend(members, blend), pick_device(device)
    options = PredictOptions(frames=frames or mixed.frames)
    if is_videos(inputs):
        result = evaluate_videos(make_pipeline(options, chosen, members, blend=mixed), inputs, labels)
    else:
        loaded_members = load_members(chosen, members)
        result = evaluate_faces(loaded_members, inputs, labels, TIGHT, mixed)
    typer.echo(_dump(result.to_dict()) if json else render(result))


@app.command()
def doctor(members: Members = MEMBERS_FOLDER) -> None:
    """Look at what this machine has and lacks: versions, devices, weights and their hashes."""
    from inference.doctor import examine

    failed = False
    for finding in examine(members):
        failed |= finding.level == "failed"
        typer.echo(f"{finding.level:<8} {finding.what:<24} {finding.detail}")
    if failed:
        raise typer.Exit(EXIT_FAILED)


for command in (*cli.train.COMMANDS, *cli.ensemble.COMMANDS):
    app.command()(command)
for name, named in cli.kaggle.COMMANDS.items():
    app.command(name)(named)
app.add_typer(cli.explore.app, name="explore")


def _dump(values: dict[str, Any]) -> str:
    """JSON without NaN, which other programs refuse: undefined numbers become null."""
    import json
    import math

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [clean(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(clean(values), indent=2)


def main() -> None:
    """Run the command; mistakes of the user and our own errors are one line, anything else is a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # names of files are shown whatever their bytes are
    try:
        app()
    except (ValueError, DfdcError) as error:
        if os.environ.get("DFDC_TRACEBACK"):
            raise
        typer.echo(f"dfdc: {error} (DFDC_TRACEBACK=1 shows where)", err=True)
        sys.exit(EXIT_USAGE if isinstance(error, ValueError) else EXIT_FAILED)
