#!/usr/bin/env python3
"""How much each training trick contributes: a short run with it and one without, on the same faces, seed and steps.

    python benchmarks/ablations.py --crops faces_train_0.tar --crops faces_val.tar --labels faces.csv -o runs/ablations

The runs are short and small so that a laptop can do them; they tell which way a trick goes on little data, not what it
gives to a long run. A stopped run goes on; a finished one is not run again.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import typer

from common.engine import keep_freed_memory

# Every variant differs from "base" (a fake beside its original, standard augmentation) in one thing.
VARIANTS = {
    "base": {},
    "self_blend": {"self_blend": 0.3},
    "cutout": {"cutout": 0.4},
    "mixup": {"mixup": 0.5, "same_augment": True},
    "no_pairs": {"sampling": "independent"},
    "more_epochs": {"epochs": 6},
    "larger": {"size": 128},
    "strong": {"augment": "strong"},
    "degrade": {"degrade": 0.3},
    "all_regularisers": {"self_blend": 0.3, "cutout": 0.3, "mixup": 0.5, "same_augment": True},
}


def main(
    crops: Annotated[list[Path], typer.Option(help="face crops, as for dfdc train")],
    labels: Annotated[Path, typer.Option(help="their labels, with the five points for self-blends and cut-outs")],
    output: Annotated[Path, typer.Option("-o", help="folder of the runs")],
    size: Annotated[int, typer.Option(help="pixels, the input")] = 96,
    epochs: int = 3,
    seed: int = 0,
    only: Annotated[list[str] | None, typer.Option(help="these variants alone")] = None,
) -> None:
    """Run the variants one after the other and print one line for each."""
    import pandas as pd
    import torch

    from common.files import write_text
    from train.config import TrainConfig
    from train.data.load import load_data
    from train.distributed import Machine
    from train.loop import Trainer

    keep_freed_memory()
    data = load_data(crops, labels)
    base = TrainConfig("lite0_tight", size=size, epochs=epochs, small_epochs=0, seed=seed)
    rows = []
    for name in only or VARIANTS:
        config = dataclasses.replace(base, **VARIANTS[name])
        trainer = Trainer(config, data, output / f"{name}_{seed}", Machine(torch.device("cpu")))
        trainer.run()
        last = trainer.history[-1]
        best = min(trainer.history, key=lambda row: row["val_log_loss_calibrated"])
        rows.append(
            {
                "variant": name,
                "auc": round(last["val_auc"], 4),
                "log_loss_calibrated": round(last["val_log_loss_calibrated"], 4),
                "log_loss_raw": round(last["val_log_loss_balanced"], 4),
                "best_epoch": best["epoch"],
                "train_loss": round(last["train_loss"], 4),
                "seconds": round(last["seconds"]),
            }
        )
        table = pd.DataFrame(rows)
        write_text(output / f"ablations_{seed}.csv", table.to_csv(index=False))
        print(table.to_string(index=False), flush=True)


if __name__ == "__main__":
    typer.run(main)
