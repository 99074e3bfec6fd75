#!/usr/bin/env python3
"""The command `dfdc`: parse, call, print. The work is in the rooms; heavy imports happen inside the commands."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

# The rooms are plain packages beside this file; names such as `models` must not be found elsewhere first.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """DeepFake Detection Challenge: from videos to a submission, from faces to members."""


@app.command()
def train(
    experiment: Annotated[str, typer.Argument(help="a name in train/experiments, for example lite0_tight")],
    crops: Annotated[list[Path], typer.Option(help="folder or uncompressed tar of face crops; may be repeated")],
    labels: Annotated[Path, typer.Option(help="CSV with face, label, split; original and original_group if known")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder of the run; a stopped run goes on from it")],
    epochs: Annotated[int | None, typer.Option(help="instead of the experiment's")] = None,
    seed: Annotated[int | None, typer.Option(help="instead of the experiment's")] = None,
    device: Annotated[str, typer.Option(help="cuda, cpu, or auto")] = "auto",
    workers: Annotated[int, typer.Option(help="loader processes; 0 loads in the training process")] = 1,
) -> None:
    """Train one member on labelled face crops; leaves <name>.safetensors and its card in the run's folder."""
    import torch

    from train.config import load_experiment
    from train.run import load_data, train_member

    config = load_experiment(experiment)
    changes = {"epochs": epochs, "seed": seed}
    config = dataclasses.replace(config, **{k: v for k, v in changes.items() if v is not None})
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    data = load_data(crops, labels)
    name = f"{labels.name} ({len(data.train)} training faces)"
    card = train_member(experiment, config, data, output, torch.device(device), workers, name)
    typer.echo(f"{output / card.name}.safetensors: {card.bytes} bytes, {card.metrics['val']}")


if __name__ == "__main__":
    app()
