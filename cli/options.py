"""Options that several commands of `dfdc` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch

# Said here too, since models.checkpoint, which knows it, imports torch.
MEMBERS_FOLDER = Path(__file__).resolve().parents[1] / "models" / "weights"

Device = Annotated[str, typer.Option(help="cuda, cpu, or auto: cuda where there is one that works")]
Members = Annotated[Path, typer.Option(help="folder of members (default: models/weights)", show_default=False)]
BlendFile = Annotated[
    Path | None, typer.Option("--blend", help="a blend.json (default: the one beside the members)", show_default=False)
]
FramesPerVideo = Annotated[
    int | None, typer.Option(help="frames judged per video, evenly spread (default: what the blend says)", min=1)
]
Json = Annotated[bool, typer.Option("--json", help="print JSON on stdout instead of a table")]


def pick_device(name: str) -> torch.device:
    """The device called `name`; ValueError when it is not there."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() and _cuda_answers() else "cpu"
    if name.split(":")[0] not in ("cuda", "cpu"):
        raise ValueError(f"device is {name!r}; it must be cuda, cpu or auto")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("torch sees no CUDA device here; use --device cpu, and `dfdc doctor` to see what there is")
    return torch.device(name)


def _cuda_answers() -> bool:
    """Whether the GPU computes: one that fell off its bus, or that this torch has no code for, is still listed."""
    import torch

    try:
        return bool(torch.ones(2, device="cuda").sum().item() == 2)
    except RuntimeError as error:
        typer.echo(f"the GPU does not work ({str(error).splitlines()[0]}): going on with the CPU", err=True)
        return False
