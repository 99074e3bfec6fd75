"""The commands of `dfdc` around training: parse, call, print. Heavy imports happen inside them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from dfdc_options import Device, pick_device


def train(
    experiment: Annotated[str, typer.Argument(help="a name in train/experiments, for example lite0_tight")],
    crops: Annotated[list[Path], typer.Option(help="folder or uncompressed tar of face crops; may be repeated")],
    labels: Annotated[Path, typer.Option(help="CSV with face, label, split; original and original_group if known")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder of the run; a stopped run goes on from it")],
    epochs: Annotated[int | None, typer.Option(help="instead of the experiment's", min=1)] = None,
    seed: Annotated[int | None, typer.Option(help="instead of the experiment's", min=0)] = None,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(help="loader processes; 0 loads in the training process", min=0)] = 1,
) -> None:
    """Train one member on labelled face crops.

    Leaves <name>.safetensors and its card <name>.json in the run's folder; copy the two to models/weights to use
    them. Stop it with Ctrl-C or SIGTERM whenever you must: the same command goes on where it stopped.
    """
    from dfdc_runtime import keep_freed_memory
    from train.config import load_experiment
    from train.run import load_data, train_member

    # For the whole process or not at all: set after other libraries have allocated, it was seen to crash OpenVINO.
    keep_freed_memory()
    config = load_experiment(experiment)
    if epochs is not None:
        config = dataclasses.replace(config, epochs=epochs, small_epochs=min(config.small_epochs, epochs))
    if seed is not None:
        config = dataclasses.replace(config, seed=seed)
    data = load_data(crops, labels)
    name = f"{labels.name} ({len(data.train)} training faces)"
    card = train_member(experiment, config, data, output, pick_device(device), workers, name)
    if card is None:
        typer.echo(f"stopped; the same command goes on from {output}", err=True)
        return
    typer.echo(f"{output / card.name}.safetensors: {card.bytes} bytes, {card.metrics['val']}")


# In the order in which they are used and `dfdc --help` lists them.
COMMANDS = (train,)
