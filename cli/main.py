"""The command `dfdc`: parse, call, print. The rooms do the work; heavy imports happen inside the commands."""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

import cli.ensemble
import cli.explore
import cli.kaggle
import cli.train
from cli.options import MEMBERS_FOLDER, BlendFile, Device, FramesPerVideo, Json, Members
from common import __version__
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
    """DeepFake Detection Challenge: predict videos, train members, tune their blend, find out what each contributes.

    Results go to stdout, progress and logs to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done, but more
    videos than --max-fallback could not be predicted.
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
    """Predict videos: P(fake) of each, into a submission CSV.

    Stopped or killed, the same command goes on where it was. Every video gets a row. One that cannot be read, or shows
    no face, gets 0.5 and a reason. When those are more than --max-fallback of all, the run ends with exit code 3: a
    column of 0.5 looks like success and is none.
    """
    from inference.predict import PredictRequest
    from inference.predict import predict as run_predict

    result = run_predict(
        PredictRequest(
            videos=videos,
            output=output,
            sample=sample,
            report=report,
            probabilities=probabilities,
            frames=frames,
            budget=budget,
            reserve=reserve,
            restart=restart,
            max_fallback=max_fallback,
            members=members,
            blend=blend,
            device=device,
            started=STARTED,
            command=sys.argv[1:],
        )
    )
    typer.echo(result.to_json() if json else result.table())
    typer.echo(result.summary(), err=True)
    if result.too_many_fallbacks:
        raise typer.Exit(EXIT_FALLBACKS)


@app.command()
def evaluate(
    inputs: Annotated[list[Path], typer.Argument(help="videos, or face crops (folders or tars)", show_default=False)],
    labels: Annotated[Path, typer.Option(help="CSV with face or filename, label (REAL/FAKE or 0/1), a group if known")],
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
    from inference.evaluate import EvaluateRequest, format_evaluation
    from inference.evaluate import evaluate as run_evaluate

    result = run_evaluate(EvaluateRequest(inputs, labels, frames, members, blend, device))
    typer.echo(result.to_json() if json else format_evaluation(result))


@app.command()
def doctor(members: Members = MEMBERS_FOLDER) -> None:
    """Look at what this machine has and lacks: versions, devices, weights and their hashes."""
    from inference.doctor import DoctorRequest, examine

    failed = False
    for finding in examine(DoctorRequest(members)):
        typer.echo(finding)
        failed |= finding.failed
    if failed:
        raise typer.Exit(EXIT_FAILED)


for command in (*cli.train.COMMANDS, *cli.ensemble.COMMANDS):
    app.command()(command)
for name, named in cli.kaggle.COMMANDS.items():
    app.command(name)(named)
app.add_typer(cli.explore.app, name="explore")


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
