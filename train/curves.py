"""What a run looks like: a table of its epochs, and a picture of its losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from common.files import atomic_path, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which the colour-blind tell apart.
TRAIN, RAW, CALIBRATED, AUC, RATE = "#999999", "#E69F00", "#0072B2", "#009E73", "#555555"
COIN = math.log(2)  # the log loss of answering 0.5, in nats
DECIDES = "val_log_loss_calibrated"  # the loop keeps the epoch with the least of it


def write_curves(history: Sequence[dict[str, Any]], path: Path, title: str | None = None) -> None:
    """Draw a run into one PNG: losses, AUC and learning rate over epochs, the best epoch marked.

    Args:
        history: a row per epoch with epoch, train_loss, val_log_loss_balanced, val_log_loss_calibrated, val_auc, lr, as
            the loop writes them; a value that is missing or not finite leaves a gap.
        path: the .png, written whole or not at all.
        title: the run's name; that of the picture's folder by default.

    Raises:
        ValueError: there are no rows, or the path ends otherwise.
    """
    if not history or path.suffix != ".png":
        raise ValueError(f"curves of {len(history)} epochs into {path}: one epoch at least, into a .png")
    # Not pyplot: it keeps a global list of figures, and in a training every one of them would stay.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    loss, area, rate = figure.subplots(3, 1, sharex=True, height_ratios=(5, 3, 1.4))
    _draw_losses(loss, history)
    _line(area, history, "val_auc", AUC)
    _line(rate, history, "lr", RATE)
    area.set_ylabel("validation AUC")
    rate.set_ylabel("learning rate")
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    rate.set_xlabel("epoch")
    rate.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    best = _best(history)
    for axes in (loss, area, rate):
        _dress(axes, best)
    loss.legend(frameon=False, fontsize=9)
    loss.set_title(_title(title or path.resolve().parent.name, best), loc="left", fontweight="bold", pad=12)
    figure.align_ylabels()
    with atomic_path(path) as temporary:
        # The software's name and version would make the bytes depend on it.
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw_losses(axes: Axes, history: Sequence[dict[str, Any]]) -> None:
    _line(axes, history, "train_loss", TRAIN, "training", style="--")
    _line(axes, history, "val_log_loss_balanced", RAW, "validation")
    _line(axes, history, DECIDES, CALIBRATED, "validation, calibrated", width=2.2)
    axes.axhline(COIN, color="#BBBBBB", linewidth=1, linestyle=":", zorder=0)
    # Mixed coordinates: at the left edge of the picture, at the line's height. Points off it, below.
    axes.annotate(
        "what answering 0.5 scores",
        (0, COIN),
        xycoords=("axes fraction", "data"),
        xytext=(4, -3),
        textcoords="offset points",
        va="top",
        color="#777777",
        fontsize=8,
    )
    axes.set_ylabel("log loss, classes half each")


def _line(
    axes: Axes,
    history: Sequence[dict[str, Any]],
    key: str,
    colour: str,
    label: str = "",
    width: float = 1.6,
    style: str = "-",
) -> None:
    epochs = [row["epoch"] for row in history]
    values = [_value(row, key) for row in history]
    if not any(map(math.isfinite, values)):
        return  # or the legend would name a line that is not there
    axes.plot(epochs, values, style, marker="o", markersize=3.5, color=colour, linewidth=width, label=label)


def _value(row: dict[str, Any], key: str) -> float:
    value = row.get(key)
    return float(value) if value is not None else math.nan


def _best(history: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The row that the loop kept: the first with the least calibrated loss; None where there is none."""
    known = [row for row in history if math.isfinite(_value(row, DECIDES))]
    return min(known, key=lambda row: _value(row, DECIDES), default=None)


def _dress(axes: Axes, best: dict[str, Any] | None) -> None:
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if best is not None:
        axes.axvline(best["epoch"], color="#D55E00", linewidth=1, linestyle="--", zorder=0, label="best epoch")


def _title(name: str, best: dict[str, Any] | None) -> str:
    if best is None:
        return name
    scores = f"log loss {_value(best, DECIDES):.4f}, AUC {_value(best, 'val_auc'):.4f}"
    return f"{name}: best in epoch {best['epoch']}, {scores}"


def publish(history: Sequence[dict[str, Any]], folder: Path, title: str) -> None:
    """Write a run for people to look at: history.csv and curves.png.

    Args:
        history: a row for each epoch, as the loop writes them.
        folder: of the run.
        title: the run's name in the picture.
    """
    write_text(folder / "history.csv", pd.DataFrame(history).to_csv(index=False))
    write_curves(history, folder / "curves.png", title)
