"""The commands of `dfdc` for work that outgrows one machine: parse, call, print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cli.options import (
    EXIT_FAILED,
    EXIT_FALLBACKS,
    BlendFile,
    Competition,
    Device,
    FramesPerVideo,
    Tolerance,
    VideoSeconds,
)
from cli.stopping import when_stopped

Store = Annotated[str, typer.Argument(help="folder of the run: a path, s3://, gs://", show_default=False)]
UNIT_VIDEOS = 64


def plan(
    inputs: Annotated[
        str, typer.Argument(metavar="INPUT", help="folder of videos: a path, s3://, gs://", show_default=False)
    ],
    store: Store,
    extract: Annotated[bool, typer.Option("--extract", help="plan `dfdc extract` instead of `dfdc predict`")] = False,
    unit_videos: Annotated[int, typer.Option(help="videos in a unit; families stay whole", min=1)] = UNIT_VIDEOS,
    frames: FramesPerVideo = None,
    tolerance: Tolerance = None,
    members: Annotated[Path | None, typer.Option(help="folder of members (default: models/weights)")] = None,
    blend: BlendFile = None,
    competition: Competition = False,
    labels: Annotated[Path | None, typer.Option(help="extract: CSV instead of metadata.json")] = None,
    fps: Annotated[float | None, typer.Option(help="extract: frames per second instead of --frames")] = None,
    image_format: Annotated[str, typer.Option("--format", help="extract: jpg or png")] = "jpg",
    margin: Annotated[float, typer.Option(help="extract: as for `dfdc extract`", min=0)] = 0.75,
    video_seconds: VideoSeconds = None,
    video_memory: Annotated[float, typer.Option(help="extract: GiB for decoding one video", min=0.25)] = 8.0,
) -> None:
    """Cut a folder of videos into units of work, for many machines: then `run-units` on each, then `merge`.

    Three commands and not one, because the first and the last run once and the middle one as often and on as many
    machines as wanted: what decides the numbers (code, weights, blend, options) is said here only, and pinned. The
    merged result has the bytes that `dfdc predict` or `dfdc extract` would write; a video is called by its path below
    INPUT. On one machine without S3, `dfdc predict` and `dfdc extract` are simpler.
    """
    from scale.plan import PlanRequest, make_plan

    request = PlanRequest(
        inputs,
        store,
        task="extract" if extract else "predict",
        unit_videos=unit_videos,
        video_seconds=video_seconds,
        frames=None if extract else frames,
        tolerance=tolerance,
        members=members,
        blend=blend,
        competition=competition,
        labels=labels,
        extract={"frames": frames or 32, "fps": fps, "image_format": image_format, "margin": margin} if extract else {},
        video_memory=int(video_memory * (1 << 30)),
    )
    typer.echo(make_plan(request), err=True)


def run_units(
    store: Store,
    engine: Annotated[str, typer.Option(help="local: processes of this machine; ray: tasks of a cluster")] = "local",
    shard: Annotated[
        str | None, typer.Option(help="i/n: only every n-th unit from the i-th on, for job arrays; i from 0")
    ] = None,
    slots: Annotated[
        int | None, typer.Option(help="local: units at a time (default: 1, or the cores for extract)", min=1)
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="ray: of the cluster; local: a new one here (default: RAY_ADDRESS)")
    ] = None,
    cpus: Annotated[float | None, typer.Option(help="ray: of each task (default: 2, or 1 for extract)", min=0)] = None,
    gpus: Annotated[float, typer.Option(help="ray: of each task", min=0)] = 0.0,
    members: Annotated[Path | None, typer.Option(help="folder of members (default: models/weights)")] = None,
    device: Device = "auto",
    unit_seconds: Annotated[
        float | None, typer.Option(help="that a unit may take (default: 600, and 60 for each video)", min=1)
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="predict: end in time, 9h or 90m; units use fewer frames or members for it")
    ] = None,
    reserve: Annotated[str, typer.Option(help="of --budget, kept for writing results")] = "2m",
) -> None:
    """Run the units of a plan that are not done; the same command again, here or elsewhere, goes on.

    A unit whose process dies or hangs is tried again video by video, and the video that does it a second time gets the
    status crashed or timed_out. A machine that goes away costs its units nothing but time. A unit whose storage does
    not answer stays undone: exit code 1, and the same command goes on with it. So does one that the budget does not
    reach; each unit's index says how its videos were predicted.
    """
    when_stopped(f"the units that are done are in {store}")
    from scale.run import RunRequest, read_shard
    from scale.run import run_units as run

    if engine not in ("local", "ray"):
        raise ValueError(f"--engine is {engine!r}; it must be local or ray")
    chosen = read_shard(shard) if shard is not None else None
    request = RunRequest(
        store,
        "ray" if engine == "ray" else "local",
        chosen,
        slots,
        cpus,
        gpus,
        address,
        members,
        device,
        unit_seconds,
        budget,
        reserve,
    )
    summary = run(request)
    typer.echo(summary, err=True)
    if summary.pending or summary.over:
        raise typer.Exit(EXIT_FAILED)


def merge(
    store: Store,
    output: Annotated[
        str, typer.Option("-o", "--output", help="predict: the CSV; extract: the folder of shards; a path or a URL")
    ],
    probabilities: Annotated[str | None, typer.Option(help="predict: also every member's logit of every face")] = None,
    max_fallback: Annotated[float, typer.Option(help="share of videos that may get the prior", min=0, max=1)] = 0.1,
) -> None:
    """Put the units of a finished run together: the bytes of `dfdc predict -o`, or the shards of `dfdc extract -o`."""
    from scale.merge import merge as run

    summary = run(store, output, probabilities)
    typer.echo(summary, err=True)
    if summary.predicts and summary.fallback_share > max_fallback:
        typer.echo(f"{summary.fallback_share:.0%} are the prior, more than --max-fallback {max_fallback:.0%}", err=True)
        raise typer.Exit(EXIT_FALLBACKS)


# Name -> command, in the order in which they are used.
COMMANDS: dict[str, Callable[..., None]] = {"plan": plan, "run-units": run_units, "merge": merge}
