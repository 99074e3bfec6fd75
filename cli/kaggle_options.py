"""Options of the commands from members to a score on Kaggle; those of a build are declared here once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from cli.options import MEMBERS_FOLDER, BlendFile, Members

if TYPE_CHECKING:
    from kaggle_dataset.bundle.options import BuildOptions

OUTPUT = Path("build")
LEDGER = Path("submissions.csv")
DFDC = "deepfake-detection-challenge"  # the competition's name in its address

Output = Annotated[
    Path, typer.Option("-o", "--output", help="folder of all builds, and of the records of what was sent")
]
BuiltFolder = Annotated[
    Path | None, typer.Argument(help="a folder build/<id> (default: the last one built)", show_default=False)
]
Owner = Annotated[str, typer.Option(envvar="KAGGLE_USERNAME", help="name of the Kaggle account", show_default=False)]
Slug = Annotated[str, typer.Option(help="slug of the dataset; the kernel has the same with -kernel")]
Title = Annotated[str, typer.Option(help="title of the dataset (default: the words of the slug)", show_default=False)]
License = Annotated[str, typer.Option("--license", help="license of the dataset, as Kaggle's client names it")]
OpenVino = Annotated[bool, typer.Option(help="bundle OpenVINO: a session without a GPU is 4 times faster")]
Others = Annotated[
    list[str] | None, typer.Option("--other", help="another dataset that is attached: owner/slug=bytes; may repeat")
]
Clips = Annotated[Path, typer.Option(help="real videos for the dry run, and for the drift of fp16", show_default=False)]
Faces = Annotated[Path | None, typer.Option(help="clips with faces, for members that are not fp16 yet")]
Competition = Annotated[str, typer.Option(help="the competition's name in its address")]
Isolation = Annotated[
    str, typer.Option(help="auto, namespaces (no network, real mounts) or hook (watched Python processes only)")
]
MaxFallback = Annotated[float, typer.Option(help="share of the dry run's videos that may get the prior", min=0, max=1)]
Budget = Annotated[
    str | None,
    typer.Option(help="of the dry run: 20m, 600s (default: the videos' share of 9 h, and at least 5m)"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="only say what the command would do; send and keep nothing")]
Yes = Annotated[bool, typer.Option("--yes", help="do not ask before a submission is used up")]
AllowCpu = Annotated[bool, typer.Option("--allow-cpu", help="go on where a GPU session had to do without its GPU")]
Ledger = Annotated[Path, typer.Option(help="CSV of all submissions: their kernel and members, their scores")]
PerDay = Annotated[int, typer.Option(help="submissions that the competition allows a day (UTC)", min=1)]
Sample = Annotated[Path | None, typer.Option(help="a sample_submission.csv whose rows the kernel's output must have")]
MostPrior = Annotated[float, typer.Option(help="share of rows of that output that may be the prior", min=0, max=1)]


def build_options(
    owner: Owner,
    slug: Slug = "dfdc-ensemble",
    title: Title = "",
    license_: License = "apache-2.0",
    members: Members = MEMBERS_FOLDER,
    blend: BlendFile = None,
    videos: Faces = None,
    openvino: OpenVino = True,
    other: Others = None,
    competition: Competition = DFDC,
    output: Output = OUTPUT,
) -> BuildOptions:
    """Make the options of a build of what the command line says.

    Raises:
        ValueError: an address that Kaggle would not take, an --other of another form, or no video in `videos`.
    """
    from inference.videos import find_videos
    from kaggle_dataset.bundle.options import BuildOptions

    clips = [] if videos is None else find_videos([videos])
    return BuildOptions(
        members, owner, slug, title=title, license=license_, competition=competition, blend=blend, videos=clips,
        openvino=openvino, others=_sizes(other or ()), cache=output / "wheels",
    )  # fmt: skip


def takes_build_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command all options of a build besides its own.

    Args:
        command: takes BuildOptions first and then its own options. An option that `build_options` has as well is
            declared as the command does, and goes to both.

    Returns:
        The function for typer, whose signature has the options of both.
    """
    hints = get_type_hints(command, localns={"BuildOptions": object}, include_extras=True)
    own = list(inspect.signature(command).parameters.values())[1:]
    shared = inspect.signature(build_options, eval_str=True, globals=globals() | {"BuildOptions": object}).parameters
    both = dict(shared) | {option.name: option.replace(annotation=hints[option.name]) for option in own}

    @functools.wraps(command)
    def run(**values: Any) -> None:
        options = build_options(**{name: values[name] for name in shared})
        command(options, **{option.name: values[option.name] for option in own})

    declared = [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in both.values()]
    run.__signature__ = inspect.Signature(declared)  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in declared}
    return run


def _sizes(others: Sequence[str]) -> dict[str, int]:
    """owner/slug=bytes of each; ValueError for another form."""
    sizes = {}
    for text in others:
        ref, _, size = text.partition("=")
        if ref.count("/") != 1 or not size.isdigit():
            raise ValueError(f"--other {text!r} is not owner/slug=bytes")
        sizes[ref] = int(size)
    return sizes
