"""The commands of `dfdc` that look at videos with the ensemble, and at the machine: parse, call, print."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from cli.options import (
    EXIT_FAILED,
    EXIT_FALLBACKS,
    MEMBERS_FOLDER,
    BlendFile,
    Device,
    FramesPerVideo,
    Json,
    Members,
)

# A budget counts from here, or from where the process that started this one says.
STARTED = float(os.environ.get("DFDC_STARTED", time.time()))


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

    When it was stopped or killed, the same command goes on where it was. Every video gets a row. A video that cannot be
    read, or shows no face, gets 0.5 and a reason. When those are more than --max-fallback of all, the run ends with
    exit code 3, because a column of 0.5 looks like success and is none.
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


def doctor(members: Members = MEMBERS_FOLDER) -> None:
    """Look at what this machine has and lacks: versions, devices, weights and their hashes."""
    from inference.doctor import DoctorRequest, examine

    failed = False
    for finding in examine(DoctorRequest(members)):
        typer.echo(finding)
        failed |= finding.failed
    if failed:
        raise typer.Exit(EXIT_FAILED)


# In the order in which `dfdc --help` lists them.
COMMANDS = (predict, evaluate, doctor)
