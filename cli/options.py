"""Options that several commands of `dfdc` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# models.checkpoint has it too, but imports torch, and the options must be there at once.
MEMBERS_FOLDER = Path(__file__).resolve().parents[1] / "models" / "weights"

EXIT_FAILED, EXIT_USAGE, EXIT_FALLBACKS = 1, 2, 3  # `dfdc --help` says what they mean

Device = Annotated[str, typer.Option(help="cuda, cpu, or auto: cuda where there is one that works")]
Members = Annotated[Path, typer.Option(help="folder of members (default: models/weights)", show_default=False)]
BlendFile = Annotated[
    Path | None,
    typer.Option("--blend", help="a blend.json (default: one of those beside the members)", show_default=False),
]
Competition = Annotated[
    bool,
    typer.Option(
        "--competition", help="the videos are DFDC's: blend.json, tuned on DFDC alone, and not blend_any.json"
    ),
]
Prior = Annotated[
    str | None,
    typer.Option(
        help="share of fakes among the videos, 0 to 1, or 'em' to estimate it (default: half, as in DFDC's test set)",
        show_default=False,
    ),
]
FramesPerVideo = Annotated[
    int | None,
    typer.Option(
        help="frames per video, evenly spread (default: 12 of up to 10 seconds, up to 32 of longer ones; always 32 "
        "with a budget, or with --tolerance 0)",
        min=1,
        show_default=False,
    ),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        help="score a video's faces until the standard error of P(fake) is this, against all of them; 0 scores all "
        "(default: 0.0075, and 0 with a budget that is long enough)",
        min=0,
        max=0.49,
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="print JSON on stdout instead of a table")]
VideoSeconds = Annotated[
    float | None,
    typer.Option(help="of CPU for decoding one video (default: 60, and 2 for each second it lasts)", min=1),
]
CROPS_CACHE_GIB = 50.0  # faces.remote has it too
Crops = Annotated[
    list[str],
    typer.Option(
        help="folder or uncompressed tar of face crops, or URL of a folder of `dfdc extract`; may be repeated"
    ),
]
CropsCache = Annotated[float, typer.Option(help="GiB of --crops behind URLs that this machine keeps", min=0)]


def crop_sources(given: list[str]) -> tuple[Path | str, ...]:
    """Read --crops: paths, and URLs as they are."""
    from faces.store import source_of

    return tuple(map(source_of, given))
