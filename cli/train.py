"""The commands of `dfdc` around training: parse, call, print. Heavy imports happen inside them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cli.options import CROPS_CACHE_GIB, MEMBERS_FOLDER, Crops, CropsCache, Device, VideoSeconds, crop_sources
from cli.stopping import EXIT_STOPPED, command_again, when_stopped
from common.device import find_device, pick_device

if TYPE_CHECKING:
    from train.scored_table import ScoredTable


def extract(
    videos: Annotated[
        list[Path], typer.Argument(help="videos, folders of them, parts of DFDC, FaceForensics++ or Celeb-DF")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder of the shards; a stopped run goes on there")],
    labels: Annotated[Path | None, typer.Option(help="CSV filename,label[,original] instead of metadata.json")] = None,
    frames: Annotated[int, typer.Option(help="frames per video, evenly spread", min=1)] = 32,
    fps: Annotated[float | None, typer.Option(help="instead: frames per second of video")] = None,
    every_frame: Annotated[bool, typer.Option("--every-frame", help="instead: all frames (4 GB each worker)")] = False,
    image_format: Annotated[str, typer.Option("--format", help="jpg (quality 95) or png (lossless, larger)")] = "jpg",
    margin: Annotated[float, typer.Option(help="kept around a face at least, in sides of its box", min=0)] = 0.75,
    shard_videos: Annotated[int, typer.Option(help="videos per shard, at least; families stay whole", min=1)] = 64,
    workers: Annotated[int | None, typer.Option(help="processes (default: cores); 0: none but this one", min=0)] = None,
    skip: Annotated[list[str] | None, typer.Option(help="name of a video to set aside; may be repeated")] = None,
    video_seconds: VideoSeconds = None,
    video_memory: Annotated[float, typer.Option(help="GiB for decoding one video", min=0.25)] = 8.0,
    device: Device = "auto",
) -> None:
    """Cut the faces out of videos, into shards of crops that training reads.

    Leaves shard_*.tar, index.csv (a row per face) and videos.csv (a row per video, also those that could not be
    used, with the reason). A fake is cut where its original shows faces. Stop it at any time: the same command
    goes on, and the same videos give the same bytes. A video that hangs (timed_out), or that ends its decoder or
    takes more memory than allowed twice (crashed), is such a row and holds nothing up.
    """
    when_stopped(f"the shards that are whole are in {output}")
    from dataclasses import replace
    from typing import cast

    from faces.decode.watchdog import VideoLimits
    from train.data.extract import ExtractRequest, extract_for_members
    from train.data.extract_video import ExtractOptions, ImageFormat

    options = ExtractOptions(
        frames, fps, every_frame, cast(ImageFormat, image_format), margin=margin, shard_videos=shard_videos
    )
    limits = replace(VideoLimits.of(video_seconds), memory=int(video_memory * (1 << 30)))
    aside = tuple(skip or ())
    request = ExtractRequest(tuple(videos), output, options, find_device(device), labels, workers, aside, limits)
    typer.echo(extract_for_members(request), err=True)


def folds(
    index: Annotated[list[Path] | None, typer.Argument(help="index.csv of `dfdc extract`, or tables like it")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="the rows with columns group and fold")] = Path(
        "folds.csv"
    ),
    count: Annotated[int, typer.Option("--folds", help="how many", min=2)] = 5,
    by: Annotated[str, typer.Option(help="parts (blocks of DFDC's parts), groups, or auto")] = "auto",
    holdout_parts: Annotated[
        str | None, typer.Option(help="parts never trained on (default 0-2, siblings of the public test set), or none")
    ] = None,
    cluster: Annotated[str | None, typer.Option(help="a column whose equal values stay together: a person")] = None,
    seed: Annotated[int, typer.Option(help="of --by groups: another seed, other folds", min=0)] = 0,
    audit: Annotated[Path | None, typer.Option(help="check this table for leaks instead")] = None,
) -> None:
    """Assign faces to folds so that no family is in two, or check that with --audit.

    A family: a video, all that was made from it, all byte-identical copies; with --cluster also all of one person.
    """
    from train.data.audit import audit_folds
    from train.data.folds import FoldOptions, make_folds

    if audit is not None:
        typer.echo(audit_folds(audit, cluster))
    else:
        typer.echo(make_folds(index or [], output, FoldOptions(count, by, holdout_parts, cluster, seed)))


def train(
    experiment: Annotated[
        str,
        typer.Argument(help="a name in train/experiments, for example lite0_tight, or the path of a file like those"),
    ],
    crops: Crops,
    labels: Annotated[Path, typer.Option(help="CSV with face, label, split; original and original_group if known")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder of the run; a stopped run goes on from it")],
    fold: Annotated[int | None, typer.Option(help="validate on this fold of `dfdc folds`, train on the others")] = None,
    mesh: Annotated[
        Path | None, typer.Option(help="meshes of the real faces, to make fakes from (scripts/find_mesh.py)")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="instead of the experiment's", min=1)] = None,
    until: Annotated[int | None, typer.Option(help="pause after this epoch; the same command goes on", min=1)] = None,
    seed: Annotated[int | None, typer.Option(help="instead of the experiment's", min=0)] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="batch=64: an option instead of the experiment's; may be repeated")
    ] = None,
    init: Annotated[Path | None, typer.Option(help="start from this member's .safetensors: fine-tune it")] = None,
    extend: Annotated[
        bool, typer.Option("--extend", help="go on with more epochs, another lr or another number of GPUs")
    ] = False,
    mirror: Annotated[
        str | None, typer.Option(help="copy each checkpoint to s3://, gs://, hf:// or file://, and go on from there")
    ] = None,
    track: Annotated[
        list[str] | None, typer.Option(help="wandb or mlflow: show the run there too; may be repeated")
    ] = None,
    device: Device = "auto",
    workers: Annotated[
        int | None, typer.Option(help="loader processes (default: the cores; 1 on the CPU); 0: none", min=0)
    ] = None,
    checkpoint_every: Annotated[int, typer.Option(help="steps; what kill -9 can lose at most", min=1)] = 200,
    max_dropped: Annotated[
        float, typer.Option(help="share of the labels' rows that may lack a label or a crop", min=0, max=1)
    ] = 0.1,
    crops_cache: CropsCache = CROPS_CACHE_GIB,
    compiled: Annotated[bool, typer.Option("--compile", help="torch.compile the network")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="time 20 steps and say what the run will take; nothing is written")
    ] = False,
    price: Annotated[float | None, typer.Option(help="of an hour of the machine, for --dry-run", min=0)] = None,
) -> None:
    """Train one member on labelled face crops.

    Leaves <name>.safetensors and its card <name>.json in the run's folder; copy the two to models/weights to use
    them. SIGTERM stops it with exit code 75 and Ctrl-C with 130, and the same command goes on where it stopped; 0
    means that the member is there. On several GPUs: torchrun --nproc-per-node 4 -m dfdc train ... with these options.
    """
    from train.stopping import StoppedError, stop_requests

    try:
        with stop_requests() as stops:  # from here on: importing torch takes seconds
            from common.engine import keep_freed_memory
            from train.run import TrainRequest, run_training

            # For the whole process or not at all: set after others have allocated, it was seen to crash OpenVINO.
            keep_freed_memory()
            result = run_training(
                TrainRequest(
                    experiment, crop_sources(crops), labels, output, pick_device(device), fold, mesh, epochs, until,
                    seed, workers, checkpoint_every, tuple(changes or ()), init, extend, compiled, mirror, dry_run,
                    price, max_dropped, crops_cache, tuple(track or ()),
                )
            )  # fmt: skip
    except StoppedError as stop:
        _end_stopped(str(stop), stops.interrupted)
    if result.stopped:
        _end_stopped(result.message, result.interrupted)
    if result.message:
        typer.echo(result.message, err=result.card is None)


def _end_stopped(message: str, interrupted: bool) -> NoReturn:
    """End a training that was asked to stop: one line with the command that goes on, and the code of the signal."""
    from train.stopping import EXIT_GO_ON

    if message:
        typer.echo(f"dfdc: {message}: {command_again()}", err=True)
    # torchrun takes any other code than 0 for a failure of the process and prints a traceback.
    in_team = "TORCHELASTIC_RUN_ID" in os.environ
    raise typer.Exit(0 if in_team else EXIT_STOPPED if interrupted else EXIT_GO_ON)


def kfold(
    experiment: Annotated[str, typer.Argument(help="as for `dfdc train`")],
    crops: Crops,
    labels: Annotated[Path, typer.Option(help="CSV of `dfdc folds`: face, label, group, fold")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder: a run for each fold, and oof.csv")],
    changes: Annotated[list[str] | None, typer.Option("--set", help="as for `dfdc train`")] = None,
    mirror: Annotated[str | None, typer.Option(help="as for `dfdc train`; each fold gets a folder there")] = None,
    track: Annotated[list[str] | None, typer.Option(help="as for `dfdc train`")] = None,
    device: Device = "auto",
    workers: Annotated[int | None, typer.Option(help="as for `dfdc train`", min=0)] = None,
    crops_cache: CropsCache = CROPS_CACHE_GIB,
) -> None:
    """Train an experiment on every fold, one after the other, then score each face by the run that left it out.

    Stopped or killed, the same command goes on; exit code 75 (SIGTERM) or 130 (Ctrl-C) means stopped. Finished folds
    are not trained again.
    On a cluster, one job for each fold (deploy/train.slurm) and then `dfdc oof` do the same.
    """
    when_stopped(f"what is finished is in {output}")
    from common.engine import keep_freed_memory
    from train.kfold import run_kfold
    from train.run import TrainRequest
    from train.stopping import StoppedError

    keep_freed_memory()
    request = TrainRequest(
        experiment, crop_sources(crops), labels, output, pick_device(device), workers=workers,
        changes=tuple(changes or ()), mirror=mirror, cache_gib=crops_cache, track=tuple(track or ()),
    )  # fmt: skip
    try:
        scored = run_kfold(request)
    except StoppedError as stop:
        _end_stopped(str(stop), stop.interrupted)
    _print_scored(output / "oof.csv", scored)


def runs(
    places: Annotated[list[Path], typer.Argument(help="folders of runs, or folders that hold such folders")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="also write a page with their curves")] = None,
) -> None:
    """Compare training runs: how far each is, its best epoch, its log loss and AUC on the faces it was validated on.

    Runs that still train are read as far as they are. The lowest calibrated validation loss comes first.
    """
    from train.compare import read_runs, render_runs, write_page

    found = read_runs(places)
    typer.echo(render_runs(found))
    if output is not None:
        write_page(output, found)
        typer.echo(f"look at:  {output}", err=True)


def holdout(
    crops: Crops,
    labels: Annotated[Path, typer.Option(help="CSV with face, label, group, and split or fold")],
    members: Annotated[Path, typer.Argument(help="folder of members", show_default="models/weights")] = MEMBERS_FOLDER,
    output: Annotated[Path, typer.Option("-o", "--output", help="the table: .csv or .parquet")] = Path(
        "probabilities.csv"
    ),
    fold: Annotated[int | None, typer.Option(help="score this fold (-1: what no run saw), not split = val")] = None,
    flip: Annotated[bool, typer.Option("--flip", help="score each face mirrored too, and average the logits")] = False,
    degraded: Annotated[
        bool,
        typer.Option("--degraded", help="a quarter of the videos each: as they are, small, recompressed, overlaid"),
    ] = False,
    device: Device = "auto",
) -> None:
    """Score held-out faces by every member of a folder: what the blend is tuned on.

    A member that was trained on one of their groups is refused. Prints each member's scores, those of their
    equal-weight mean, and how alike they are.
    """
    when_stopped(f"the logits that are finished are beside {output}")
    from train.holdout import HoldoutRequest, write_holdout

    request = HoldoutRequest(members, crop_sources(crops), labels, output, pick_device(device), fold, flip, degraded)
    _print_scored(output, write_holdout(request))


def oof(
    runs: Annotated[list[Path], typer.Argument(help="run folders of one member, each with another --fold left out")],
    crops: Crops,
    labels: Annotated[Path, typer.Option(help="the CSV that the runs were trained on, with its column fold")],
    output: Annotated[Path, typer.Option("-o", "--output", help="the table: .csv or .parquet")] = Path("oof.csv"),
    flip: Annotated[bool, typer.Option("--flip", help="score each face mirrored too, and average the logits")] = False,
    device: Device = "auto",
) -> None:
    """Make out-of-fold logits: each face scored by the one run of a member that was not trained on its group.

    Checks from the cards that it was not. The faces of a fold that no run left out are missing from the table.
    """
    when_stopped(f"the logits that are finished are beside {output}")
    from train.oof import OofRequest, write_oof

    request = OofRequest(tuple(runs), crop_sources(crops), labels, output, pick_device(device), flip)
    _print_scored(output, write_oof(request))


def _print_scored(output: Path, scored: ScoredTable) -> None:
    """Print the scores to stdout, and what to know about them to stderr."""
    from train.scores import render, summarise

    typer.echo(render(summarise(scored.rows)))
    typer.echo(f"{output}: {len(scored.rows)} rows", err=True)
    for note in scored.notes:
        typer.echo(f"note: {note}", err=True)


# In the order in which they are used and `dfdc --help` lists them.
COMMANDS: dict[str, Callable[..., None]] = {
    "extract": extract, "folds": folds, "train": train, "runs": runs, "kfold": kfold, "holdout": holdout, "oof": oof,
}  # fmt: skip
