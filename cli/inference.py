"""The commands of `dfdc` that look at videos with the ensemble, and at the machine: parse, call, print."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli.options import (
    EXIT_FAILED,
    EXIT_FALLBACKS,
    MEMBERS_FOLDER,
    BlendFile,
    Competition,
    Device,
    FramesPerVideo,
    Json,
    Members,
    Prior,
    Tolerance,
    VideoSeconds,
)
from cli.stopping import when_stopped

Restart = Annotated[bool, typer.Option("--restart", help="do not go on with a run that was stopped")]

# A budget counts from here, or from where the process that started this one says.
STARTED = float(os.environ.get("DFDC_STARTED", time.time()))


def predict(
    videos: Annotated[
        list[Path] | None, typer.Argument(help="videos, or folders of videos", show_default=False)
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="the CSV: filename,label")] = Path("submission.csv"),
    files_from: Annotated[
        str | None, typer.Option(help="a list of further videos, one a line; - reads it from stdin")
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="search folders inside, too; names are then paths in the folder")
    ] = False,
    frames: FramesPerVideo = None,
    tolerance: Tolerance = None,
    sample: Annotated[Path | None, typer.Option(help="a sample_submission.csv: its rows, in its order")] = None,
    report: Annotated[Path | None, typer.Option(help="also write an HTML page with pictures here")] = None,
    probabilities: Annotated[
        Path | None, typer.Option(help="also write every member's logit of every face that was scored")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="end in time whatever happens: 9h, 90m; plans frames and members")
    ] = None,
    reserve: Annotated[str, typer.Option(help="of the budget, kept for writing")] = "2m",
    restart: Restart = False,
    max_fallback: Annotated[float, typer.Option(help="share of videos that may get the prior", min=0, max=1)] = 0.1,
    members: Members = MEMBERS_FOLDER,
    blend: BlendFile = None,
    competition: Competition = False,
    prior: Prior = None,
    device: Device = "auto",
    video_seconds: VideoSeconds = None,
    json: Json = False,
    jsonl: Annotated[
        bool,
        typer.Option(
            "--jsonl",
            help="print a line of JSON as each video ends: faces, boxes, seconds; the last line of a video counts",
        ),
    ] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="no progress bar")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="no progress bar, no table and no summary; notes and errors are printed")
    ] = False,
) -> None:
    """Predict videos: P(fake) of each, into a submission CSV.

    When it was stopped or killed, the same command goes on where it was. Every video gets a row. A video that cannot be
    read, or shows no face, gets 0.5 (with --prior, that share) and a reason. When those are more than --max-fallback of
    all, the run ends with exit code 3, because a column of 0.5 looks like success and is none.
    """
    if json and jsonl:
        raise ValueError("--json prints one document and --jsonl lines: ask for one of them")
    inputs = _inputs(videos, files_from, (sample,))
    if no_progress or quiet:
        os.environ["TQDM_DISABLE"] = "1"
    when_stopped(f"what is finished is in {output}")
    from inference.outputs import to_json_line
    from inference.predict import PredictRequest
    from inference.predict import predict as run_predict

    result = run_predict(
        PredictRequest(
            videos=inputs,
            output=output,
            sample=sample,
            report=report,
            probabilities=probabilities,
            frames=frames,
            tolerance=tolerance,
            budget=budget,
            reserve=reserve,
            restart=restart,
            max_fallback=max_fallback,
            members=members,
            blend=blend,
            competition=competition,
            prior=prior,
            device=device,
            recursive=recursive,
            video_seconds=video_seconds,
            on_result=(lambda *told: print(to_json_line(*told), flush=True)) if jsonl else None,
            started=STARTED,
            command=sys.argv[1:],
        )
    )
    if json or not (jsonl or quiet):
        typer.echo(result.to_json() if json else result.table())
    if not quiet or result.too_many_fallbacks:
        typer.echo(result.summary(), err=True)
    if result.too_many_fallbacks:
        raise typer.Exit(EXIT_FALLBACKS)


def _inputs(videos: list[Path] | None, files_from: str | None, files: Sequence[Path | None]) -> list[Path]:
    """The inputs of a prediction; ValueError for what is not there, before anything large is imported."""
    from inference.videos import read_list

    inputs = list(videos or [])
    if files_from == "-":
        inputs += read_list(sys.stdin)
    elif files_from is not None:
        # Lines end at line feeds alone: names may hold all else that str.splitlines splits at.
        inputs += read_list(Path(files_from).read_bytes().decode("utf-8-sig", "surrogateescape").split("\n"))
    if not inputs:
        raise ValueError("no video is given; name videos or folders, or a list with --files-from")
    if urls := [str(path) for path in inputs if ":/" in str(path) and not path.exists()]:
        raise ValueError(f"{urls[0]} is an address; only files can be predicted: fetch it first")
    if missing := [path for path in files if path is not None and not path.is_file()]:
        raise ValueError(f"{missing[0]} does not exist, or is no file")
    if gone := [path for path in inputs if not (path.exists() or path.is_symlink())]:
        raise ValueError(f"{gone[0]} does not exist; give videos, or folders of videos")
    return inputs


def evaluate(
    inputs: Annotated[list[Path], typer.Argument(help="videos, or face crops (folders or tars)", show_default=False)],
    labels: Annotated[
        Path, typer.Option(help="metadata.json, or CSV: face or filename, label (REAL/FAKE or 0/1), a group if known")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="a CSV with a row per video or face")] = Path(
        "evaluation.csv"
    ),
    frames: Annotated[
        int | None, typer.Option(help="frames per video, evenly spread (default: what the blend says)", min=1)
    ] = None,
    restart: Restart = False,
    members: Members = MEMBERS_FOLDER,
    blend: BlendFile = None,
    competition: Competition = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Score the members and their blend on labelled videos or face crops.

    Prints AUC, log loss (classes weighted half each as in the test set, and plain), accuracy and calibration error,
    each with a 95 % bootstrap interval over groups (column original_group or group), and what was not found. When it
    was stopped or killed, the same command goes on where it was.
    """
    _inputs(inputs, None, (labels,))
    when_stopped(f"what is finished is in {output}")
    from inference.evaluate import EvaluateRequest
    from inference.evaluate import evaluate as run_evaluate
    from inference.evaluation import format_evaluation

    result = run_evaluate(EvaluateRequest(inputs, labels, frames, members, blend, device, competition, output, restart))
    typer.echo(result.to_json() if json else format_evaluation(result))
    typer.echo(f"a row for each is in {output}", err=True)


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
COMMANDS: dict[str, Callable[..., None]] = {"predict": predict, "evaluate": evaluate, "doctor": doctor}
