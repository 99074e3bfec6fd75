"""Pictures of the metadata table: how labels differ in what the files are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from common.html.svg import BLUE, GREY, INK, LINE, RED, SOFT, svg
from ensemble.metrics import Floats

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"REAL": BLUE, "FAKE": RED, "": GREY}
NAMES = {"REAL": "real", "FAKE": "fake", "": "no label"}
WIDTH = 5.2  # inches: letters then have their size where a picture is 374 pixels wide
FEW = 10  # so many different values are bars with names, more are a scale
DOTS = 60  # so few videos are dots, more are a histogram
SPREAD = 20.0  # a scale whose ends are further apart than this factor is logarithmic
TITLES = {
    "fps": ("Frames per second", "frames per second, average", 1.0),
    "duration": ("Duration", "duration in seconds", 1.0),
    "width": ("Width", "width in pixels, as stored", 1.0),
    "height": ("Height", "height in pixels, as stored", 1.0),
    "frames": ("Frames", "frames of the video", 1.0),
    "bit_rate": ("Bit rate", "bit rate of the video stream in kbit per second", 1e-3),
}


@dataclass(frozen=True)
class Picture:
    """A picture of a page and what to say beside it."""

    name: str
    svg: Markup
    title: str
    caption: str  # plain text


def draw_charts(table: pd.DataFrame) -> list[Picture]:
    """Draw the distributions of a metadata table; the same table gives the same pictures.

    Args:
        table: of `metadata_table`. Distributions are of its readable videos.

    Returns:
        The pictures: labels, distributions by label, fakes per original. A column without any value has none, nor have
        fakes per original where no original is known.

    Raises:
        ValueError: the table has no rows.
    """
    if table.empty:
        raise ValueError("there is no video to draw; give a folder that holds one")
    pictures = [_draw_labels(table)]
    ok = table[table["status"] == "ok"]
    pictures += [_draw_column(ok, name) for name in TITLES if ok[name].notna().any()]
    return pictures + ([_draw_originals(table)] if table["fakes_of_original"].notna().any() else [])


def _draw_labels(table: pd.DataFrame) -> Picture:
    counts = {label: int((table["label"] == label).sum()) for label in COLOURS}
    parts = {label: count for label, count in counts.items() if count}

    def draw(figure: Figure) -> None:
        axes, left = figure.subplots(), 0
        for label, count in parts.items():
            axes.barh(0, count, left=left, color=COLOURS[label])
            left += count
        # Under the bar, evenly: a name does not fit into a narrow part.
        for at, (label, count) in enumerate(parts.items()):
            text = f"{NAMES[label]}: {count} ({100 * count / len(table):.1f} %)"
            axes.text(at / 3, -0.3, text, color=COLOURS[label], transform=axes.transAxes, fontweight="bold")
        axes.set_xlim(0, len(table))
        axes.axis("off")

    caption = f"{len(table)} files" + (f", {counts['']} of them without a label." if counts[""] else ".")
    return _picture("labels", draw, 0.9, "Share of labels", caption)


def _draw_column(ok: pd.DataFrame, name: str) -> Picture:
    title, unit, scale = TITLES[name]
    values = {
        label: np.sort((ok.loc[ok["label"] == label, name].dropna().astype("float64") * scale).to_numpy())
        for label in COLOURS
    }
    values = {label: found for label, found in values.items() if len(found)}
    every = np.concatenate(list(values.values()))
    distinct = np.unique(every.round(2))
    # Names for values that repeat: fps, sizes. Five files of five lengths are rather points on a scale.
    if len(distinct) <= FEW and 2 * len(distinct) <= max(len(every), 2):
        height = 1.15 + len(distinct) * (0.1 + 0.18 * len(values))
        draw = _draw_bars
    else:
        height = 0.7 + (0.75 if len(every) <= DOTS else 1.15) * len(values)
        draw = _draw_scale
    missing = len(ok) - len(every)
    medians = "; ".join(f"{NAMES[label]} {_number(float(np.median(found)))}" for label, found in values.items())
    caption = f"Median {unit}: {medians}." + (f" Not known of {missing}." if missing else "")
    return _picture(name, lambda figure: draw(figure, values, unit), height, f"{title} by label", caption)


def _draw_bars(figure: Figure, values: dict[str, Floats], unit: str) -> None:
    """A bar for each value and label, as share of the label: there are more fakes than reals."""
    distinct = np.unique(np.concatenate([found.round(2) for found in values.values()]))
    thick = 0.8 / len(values)
    axes = figure.subplots()
    for row, (label, found) in enumerate(values.items()):
        counts = np.array([(found.round(2) == value).sum() for value in distinct])
        at = np.arange(len(distinct)) + (row - (len(values) - 1) / 2) * thick
        shares = 100 * counts / len(found)
        axes.barh(at, shares, thick * 0.92, color=COLOURS[label], label=_count(label, found))
        for y, share, count in zip(at, shares, counts, strict=True):
            if count:
                axes.text(share + 0.8, y, f"{count}", va="center", fontsize=8, color=COLOURS[label])
    axes.set_yticks(range(len(distinct)), [_number(value) for value in distinct])
    axes.set_xlim(0, 108)
    axes.set_xticks(range(0, 101, 20))
    axes.invert_yaxis()
    axes.set_title(unit, loc="left", fontsize=9, color=SOFT)
    axes.set_xlabel("share of the label's videos, %; numbers are videos")
    _dress(axes, "x")
    figure.legend(loc="outside upper left", ncols=2)


def _draw_scale(figure: Figure, values: dict[str, Floats], unit: str) -> None:
    """A row for each label over one scale: dots for few videos, else histograms as share of the label."""
    every = np.concatenate(list(values.values()))
    low, high = float(every.min()), float(every.max())
    logarithmic = low > 0 and high / low > SPREAD
    dots = len(every) <= DOTS
    rows = figure.subplots(len(values), 1, sharex=True, squeeze=False)[:, 0]
    spread = (
        (np.geomspace if logarithmic else np.linspace)(low, high, 31) if high > low else np.array([low - 1, high + 1])
    )
    top = 0.0
    for axes, (label, found) in zip(rows, values.items(), strict=True):
        if dots:
            # Up and down in turn, so that equal values are seen beside each other.
            axes.scatter(
                found,
                (np.arange(len(found)) * 2 % 5 - 2 * (len(found) > 1)) / 6,
                s=28,
                color=COLOURS[label],
                alpha=0.75,
                linewidth=0,
            )
            axes.set_ylim(-0.8, 0.8)
            axes.set_yticks([])
        else:
            heights, *_ = axes.hist(
                found, list(spread), weights=np.full(len(found), 100 / len(found)), color=COLOURS[label]
            )
            top = max(top, float(np.max(heights)))
            axes.set_ylabel("%")
        if len(found) > 2:
            axes.axvline(float(np.median(found)), color=INK, linewidth=1, linestyle="--", zorder=0.5 if dots else 3)
        title = f"{_count(label, found)}, median {_number(float(np.median(found)))}"
        axes.set_title(title, loc="left", fontsize=9, color=COLOURS[label], fontweight="bold")
        _dress(axes, "x" if dots else "both")
        if logarithmic:
            _logarithmic(axes)
    for axes in rows:
        if not dots:
            axes.set_ylim(0, top * 1.08)  # one height for all, or shares could not be compared
    rows[-1].set_xlabel(unit + (", logarithmic" if logarithmic else ""))


def _draw_originals(table: pd.DataFrame) -> Picture:
    """How many originals have how many fakes, each original counted once."""
    from matplotlib.ticker import MaxNLocator

    known = table[table["fakes_of_original"].notna()]
    original = known["original"].where(known["original"] != "", known["filename"])
    fakes = known["fakes_of_original"].astype(int).groupby(original).first().to_numpy()
    counts = np.bincount(fakes)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.bar(range(len(counts)), counts, 0.9, color=RED)
        for at in np.flatnonzero(counts).tolist() if len(counts) <= 2 * FEW else ():
            axes.text(at, counts[at], f"{counts[at]}", ha="center", va="bottom", fontsize=8, color=RED)
        axes.margins(y=0.12)
        axes.xaxis.set_major_locator(MaxNLocator(20, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("fakes of one original")
        axes.set_ylabel("originals")
        _dress(axes, "y")

    caption = (
        f"{len(fakes)} originals, {int(fakes.sum())} fakes, {fakes.mean():.1f} for each; files that are not here count."
    )
    return _picture("fakes_per_original", draw, 2.4, "Fakes per original", caption)


def _picture(name: str, draw: Callable[[Figure], None], height: float, title: str, caption: str) -> Picture:
    return Picture(name, svg(draw, height, f"{title}. {caption}", WIDTH), title, caption)


def _dress(axes: Axes, grid: str) -> None:
    axes.set_axisbelow(True)
    axes.grid(axis=grid, color=LINE, linewidth=0.8)  # type: ignore[arg-type]
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(which="both", colors=SOFT, length=0, labelsize=9)
    axes.xaxis.label.set(color=SOFT, size=9)
    axes.yaxis.label.set(color=SOFT, size=9)


def _logarithmic(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _count(label: str, found: Floats) -> str:
    return f"{NAMES[label]}, {len(found)} video{'s' * (len(found) != 1)}"


def _number(value: float) -> str:
    """Two places for small numbers, none for large ones, no zeros at the end."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.2f}".rstrip("0").rstrip(".")
