"""The command `dfdc explore` and the two below it: parse, call, print. Heavy imports happen inside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from cli.grouped_help import GroupedHelp
from cli.stopping import when_stopped

if TYPE_CHECKING:
    import pandas as pd
    from typer._click import Context, HelpFormatter

DEFAULT = "page"


class ExploreGroup(GroupedHelp):
    """Takes `dfdc explore VIDEOS` as `dfdc explore page VIDEOS`, so that the plain form needs no further word.

    Videos in a folder called frames, audio or page are given as ./frames.
    """

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse the arguments, with the default command put in front where no command is named."""
        if args and args[0] not in {*self.commands, *self.get_help_option_names(ctx)}:
            args = [DEFAULT, *args]
        elif args and Path(args[0]).is_dir() and not any(Path(argument).exists() for argument in args[1:]):
            raise ValueError(f"{args[0]} is a command of explore and a folder here; to look at the folder: ./{args[0]}")
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        """The group's help, then that of the plain form, whose options would else be one step further away."""
        super().format_help(ctx, formatter)
        page = self.commands[DEFAULT]
        inner = type(ctx)(page, info_name="", parent=ctx)
        page.format_help(inner, formatter)


app = typer.Typer(cls=ExploreGroup, no_args_is_help=True, rich_markup_mode=None)

Videos = Annotated[list[Path], typer.Argument(help="videos, or folders of videos", show_default=False)]


@app.callback()
def explore() -> None:
    """Look first: what the videos are, what detectors see on them, what a fake changed.

    \b
    dfdc explore VIDEOS -o report        all of it in one page
    dfdc explore frames VIDEOS -o DIR    pictures out of the videos
    dfdc explore audio VIDEOS -o DIR     the sound out of the videos
    """  # noqa: D301 - click reads the character, not the two of a raw string


@app.command(DEFAULT)
def page(
    videos: Videos,
    output: Annotated[Path, typer.Option("-o", "--output", help="folder of the page; a stopped run goes on there")],
    labels: Annotated[
        Path | None, typer.Option(help="metadata.json, or CSV filename,label[,original,group] (default: beside videos)")
    ] = None,
    frames: Annotated[int, typer.Option(help="frames per video that detectors look at", min=1)] = 4,
    detectors: Annotated[
        str | None, typer.Option(help="names with commas between them (default: all that are installed)")
    ] = None,
    dlib_points: Annotated[
        Path | None, typer.Option(help="dlib's shape_predictor_68_face_landmarks.dat, to draw its points as well")
    ] = None,
) -> None:
    """Do all of it in one page, with tables and pictures beside it, as `dfdc explore VIDEOS` does.

    It leaves index.html, metadata.csv and .parquet, the detectors' boxes, faces by their vote, and pairs.csv. A file
    that cannot be read is a row with the reason. The page links the videos where they are: move both or neither.
    """
    when_stopped(f"what is finished is in {output}")
    from explore.run import ExploreOptions, find_media
    from explore.run import explore as run_explore

    names = tuple(name.strip() for name in detectors.split(",") if name.strip()) if detectors else ()
    written = run_explore(
        find_media(videos), labels, output, ExploreOptions(frames, names, dlib_points=dlib_points), _bar
    )
    typer.echo(written)


@app.command("frames")
def frames_command(
    videos: Videos,
    output: Annotated[Path, typer.Option("-o", "--output", help="a folder per video is made there")],
    rate: Annotated[str, typer.Option(help="frames per second of video: 0.2, 1, 3 ...; or all")] = "1",
    image_format: Annotated[Literal["png", "jpg"], typer.Option("--format", help="lossless, or smaller")] = "png",
) -> None:
    """Write frames of each video as pictures, DIR/<video>/<frame number>.png; a stopped run goes on."""
    when_stopped(f"what is finished is in {output}")
    from explore.frames import extract_frames
    from explore.run import find_media

    paths, update = _counted(videos, find_media, "frames")
    _tell(extract_frames(paths, output, _rate(rate), image_format, update), "frames", output)


@app.command("audio")
def audio_command(
    videos: Videos,
    output: Annotated[Path, typer.Option("-o", "--output", help="a file per video is made there")],
    sound_format: Annotated[Literal["wav", "aac"], typer.Option("--format", help="decoded, or AAC as it is")] = "wav",
) -> None:
    """Write the sound of each video, DIR/<video>.wav; a stopped run goes on."""
    when_stopped(f"what is finished is in {output}")
    from explore.audio import extract_audio
    from explore.run import find_media

    paths, update = _counted(videos, find_media, "audio")
    _tell(extract_audio(paths, output, sound_format, update), "bytes", output)


def _rate(said: str) -> float | None:
    """Frames per second, None for all; ValueError for anything else."""
    if said == "all":
        return None
    try:
        return float(said)
    except ValueError:
        raise ValueError(f"--rate is {said!r}; give frames per second such as 0.2, 1 or 3, or all") from None


def _counted(
    videos: list[Path], find: Callable[[list[Path]], list[Path]], stage: str
) -> tuple[list[Path], Callable[[int], None]]:
    paths = find(videos)
    return paths, _bar(stage, len(paths))


def _bar(stage: str, total: int) -> Callable[[int], None]:
    """A bar for one stage, on stderr; gives what is called with the steps done."""
    from tqdm import tqdm

    return cast("Callable[[int], None]", tqdm(total=total, unit="video", desc=f"{stage:<16}").update)


def _tell(rows: pd.DataFrame, counted: str, output: Path) -> None:
    """Print a line for each video on stdout, and how many there are on stderr."""
    for row in rows.to_dict("records"):
        typer.echo(f"{row['status']:<10}  {row[counted]:>9}  {row['filename']}  {row['reason']}".rstrip())
    good = int((rows["status"] == "ok").sum())
    typer.echo(f"{good} of {len(rows)} videos, written: {output}", err=True)
