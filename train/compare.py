"""Runs side by side: how far each is, its best epoch, and the curves of all in one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from common.files import write_text
from common.html import Cell, Table, number, render
from common.html.svg import GREY, css_colour, svg
from train.curves import COIN, DECIDES

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

HISTORY = "history.csv"
COLUMNS = ("epoch", "train_loss", DECIDES, "val_auc", "seconds")
# Okabe and Ito's colours in an order in which neighbours are told apart; a line's dots and dashes tell more of them.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
STYLES = ("-", "--", ":")


@dataclass(frozen=True)
class RunSummary:
    """What the folder of a run says."""

    name: str  # the folder, as it was given or found below what was given
    history: pd.DataFrame  # a row per epoch, COLUMNS as numbers
    exported: bool  # the member is written; else the run goes on, was stopped, or died

    @property
    def best(self) -> pd.Series[float] | None:
        """The row of the epoch that is kept: the first with the least calibrated loss; None where there is none."""
        known = self.history[DECIDES].dropna()
        return None if known.empty else self.history.loc[known.idxmin()]


def read_runs(places: Sequence[Path]) -> list[RunSummary]:
    """Read runs.

    Args:
        places: folders of runs, or folders that hold such folders at any depth.

    Returns:
        The runs, the one with the lowest calibrated validation loss first, those without one last.

    Raises:
        ValueError: a place holds no run, or a history is damaged.
    """
    runs: dict[Path, RunSummary] = {}
    for place in places:
        found = [place / HISTORY] if (place / HISTORY).is_file() else sorted(place.rglob(HISTORY))
        if not found:
            raise ValueError(f"{place} holds no run with a finished epoch ({HISTORY}); dfdc train -o makes one")
        for path in found:
            runs.setdefault(path.parent.resolve(), _read_run(path))
    return sorted(runs.values(), key=_rank)


def render_runs(runs: Sequence[RunSummary]) -> str:
    """Write the runs as a table for a terminal."""
    head = ("run", "epochs", "best", "log loss", "AUC", "last", "hours", "member")
    rows = [head, *(tuple(_cells(run)) for run in runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        f"{row[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def write_page(path: Path, runs: Sequence[RunSummary]) -> None:
    """Write a page with the table and the curves of all runs, whole or not at all; it opens anywhere, offline.

    Raises:
        OSError: it cannot be written.
    """
    head = ("run", "epochs", "best epoch", "log loss", "AUC", "last log loss", "hours", "member")
    rows = []
    for place, run in enumerate(runs):
        name, *numbers = _cells(run)
        rows.append((Cell(names=(name,), swatch=css_colour(COLOURS[place % len(COLOURS)])), *numbers))
    pictures = [
        ("Validation log loss, calibrated, classes half each", _curves(runs, DECIDES, "log loss", COIN)),
        ("Validation AUC", _curves(runs, "val_auc", "AUC", None)),
        ("Training loss", _curves(runs, "train_loss", "loss", None)),
    ]
    title = f"{len(runs)} training run{'s' if len(runs) != 1 else ''}"
    table = Table(head, rows, "numbers sortable", "runs")
    write_text(path, render("train/compare.html.j2", title=title, table=table, pictures=pictures))


def _read_run(path: Path) -> RunSummary:
    try:
        history = pd.read_csv(path)
    except ValueError as error:
        raise ValueError(f"{path} is no history of a run: {error}") from error
    if missing := [name for name in COLUMNS if name not in history]:
        raise ValueError(f"{path} is no history of a run: it lacks the column {missing[0]!r}")
    history = history[list(COLUMNS)].apply(pd.to_numeric, errors="coerce").astype(float)
    history = history.replace([math.inf, -math.inf], math.nan)
    return RunSummary(str(path.parent), history, any(path.parent.glob("*.safetensors")))


def _rank(run: RunSummary) -> tuple[bool, float, str]:
    best = run.best
    return best is None, math.inf if best is None else float(best[DECIDES]), run.name


def _cells(run: RunSummary) -> list[str]:
    best, last = run.best, run.history.iloc[-1] if len(run.history) else None
    return [
        run.name,
        str(len(run.history)),
        "n/a" if best is None else f"{best['epoch']:.0f}",
        number(None if best is None else best[DECIDES], 4),
        number(None if best is None else best["val_auc"], 4),
        number(None if last is None else last[DECIDES], 4),
        number(None if last is None else last["seconds"] / 3600, 2),
        "exported" if run.exported else "not yet",
    ]


def _curves(runs: Sequence[RunSummary], column: str, axis: str, level: float | None) -> Markup:
    """All runs in one picture over epochs; level: a dotted line."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, run in enumerate(runs):
            colour, style = COLOURS[place % len(COLOURS)], STYLES[place // len(COLOURS) % len(STYLES)]
            axes.plot(run.history["epoch"], run.history[column], style, marker="o", markersize=3, color=colour)
        if level is not None:
            axes.axhline(level, linewidth=1, linestyle=":", color=GREY)
        axes.set_xlabel("epoch")
        axes.set_ylabel(axis)
        axes.locator_params(axis="x", integer=True)
        axes.grid(axis="y", linewidth=0.8)

    return svg(draw, 3.2, f"{axis} of {len(runs)} runs over epochs")
