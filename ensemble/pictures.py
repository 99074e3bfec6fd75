"""Pictures of the report, drawn by matplotlib into SVG that lies inside the page and takes the page's colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from common.html import Cell
from common.html.svg import BLUE, GREY, INK, RED, SOFT, svg

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from ensemble.clip import ClipCurve
    from ensemble.contribution import Reliability
    from ensemble.metrics import Estimate
    from ensemble.select import Candidate

MANY = 300  # subsets: more of them become one bitmap, or each would add 100 bytes to the page


def forest(rows: Sequence[tuple[str, Estimate]], axis: str, marked: Sequence[str] = (), zero: bool = False) -> Markup:
    """Points with their intervals, one below the other. marked: names in another colour. zero: a line at 0."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, (name, estimate) in enumerate(rows):
            colour = RED if name in marked else BLUE
            if all(map(math.isfinite, (estimate.value, estimate.low, estimate.high))):
                axes.plot([estimate.low, estimate.high], [-place, -place], color=colour, linewidth=2.4)
                axes.plot([estimate.value], [-place], "o", color=colour, markersize=6)
            axes.text(0, 0.24 - place, name, transform=axes.get_yaxis_transform(), fontsize=9)
        if zero:
            axes.axvline(0, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_ylim(0.6 - len(rows), 0.8)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", linewidth=0.8)
        axes.locator_params(axis="x", nbins=6)
        axes.set_xlabel(axis)

    return svg(draw, 0.42 * len(rows) + 0.7, f"{axis}: {', '.join(name for name, _ in rows)}")


def reliability(before: Reliability, after: Reliability, names: tuple[str, str], bins: int) -> Markup:
    """The share of fakes over what was said, and how many videos that rests on. names: of before, of after. bins: of
    equal width.
    """

    def draw(figure: Figure) -> None:
        share, count = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        share.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        kinds = ((before, GREY, "s", names[0]), (after, BLUE, "o", names[1]))
        for side, (curve, colour, mark, name) in zip((-1, 1), kinds, strict=True):
            error = f"{curve.error:.3f}" if math.isfinite(curve.error) else "n/a"
            share.plot(curve.said, curve.fake, f"{mark}-", color=colour, markersize=4.5, label=f"{name}: {error}")
            middle = [(min(int(said * bins), bins - 1) + 0.5 + side * 0.2) / bins for said in curve.said]
            count.bar(middle, curve.size, 0.4 / bins, color=colour, linewidth=0)
        share.set_xlim(0, 1)
        share.set_ylim(0, 1)
        share.grid(linewidth=0.8)
        share.set_ylabel("share of fakes")
        share.legend(title="expected calibration error", loc="upper left", title_fontsize=9, alignment="left")
        count.set_ylabel("videos")
        count.locator_params(axis="y", nbins=3)
        count.set_xlabel("prob_fake")

    return svg(draw, 4.6, "Reliability diagram: share of fakes over prob_fake, before and after")


def clip_cost(curve: ClipCurve, clip: tuple[float, float]) -> Markup:
    """The log loss for each bound; above it what one certain error then costs. clip: the chosen bounds."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.plot(curve.bound, curve.worst, color=RED, label="worst fold")
        axes.plot(curve.bound, curve.mean, color=BLUE, label="mean over folds")
        for bound, kind, name in ((clip[0], "--", "low"), (1 - clip[1], ":", "high")):
            if bound > 0:
                where = f"chosen, {name}: {clip[0] if name == 'low' else clip[1]:g}"
                axes.axvline(bound, color=INK, linewidth=1.2, linestyle=kind, label=where)
        axes.set_xlim(curve.bound[0], curve.bound[-1])
        axes.grid(linewidth=0.8)
        axes.set_xlabel("bound on both sides, prob_fake")
        axes.set_ylabel("log loss")
        figure.legend(loc="outside upper left", ncols=2)
        top = axes.secondary_xaxis("top")
        top.set_xlabel("nats that one certain error costs")
        for each, written in ((axes.xaxis, lambda x, _: f"{x:g}"), (top.xaxis, lambda x, _: f"{-math.log(x):.1f}")):
            _log_ticks(each, written)
        top.spines["top"].set_visible(False)

    return svg(draw, 3.9, "Log loss over the bound of the clip, mean over folds and worst fold")


def subsets(
    candidates: Sequence[Candidate],
    frontier: Sequence[Candidate],
    chosen: Candidate,
    cost: Callable[[Candidate], float],
    limit: float,
    axis: str,
) -> Markup:
    """The log loss of subsets over what they cost. limit: in the unit of `cost`."""
    known = [c for c in candidates if math.isfinite(c.log_loss) and math.isfinite(cost(c))]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(
            *_points(known, cost), "o", color=GREY, markersize=4, alpha=0.8, markeredgewidth=0, label="subsets"
        ).pop().set_rasterized(len(known) > MANY)
        axes.plot(
            *_points(frontier, cost), "o-", color=BLUE, markersize=4, linewidth=1.4, label="no cheaper one is better"
        )
        axes.plot(*_points([chosen], cost), "D", color=RED, markersize=8, markerfacecolor="none", label="what ships")
        axes.axvline(limit, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label="limit")
        costs = [*map(cost, known), limit]
        if min(costs) > 0 and max(costs) > 3 * min(costs):
            axes.set_xscale("log")
            _log_ticks(axes.xaxis, lambda x, _: f"{x:g}", math.log10(max(costs) / min(costs)))
        axes.grid(linewidth=0.8)
        axes.set_xlabel(axis)
        axes.set_ylabel("log loss")
        figure.legend(loc="outside upper left", ncols=2)

    return svg(draw, 3.8, f"Log loss over {axis}: {len(known)} subsets, {len(frontier)} of them on the frontier")


def whisker(estimate: Estimate, widest: float) -> Markup:
    """An interval for one cell of a table, 0 in the middle. widest: the end of the axis, the same for all cells."""
    from markupsafe import Markup

    values = (estimate.low, estimate.value, estimate.high)
    if not (widest > 0 and all(map(math.isfinite, values))):
        return Markup()
    low, middle, high = (72 + 66 * value / widest for value in values)
    line = f'<line x1="{low:.1f}" x2="{high:.1f}" y1="8" y2="8"/><circle cx="{middle:.1f}" cy="8" r="3.5"/>'
    return Markup(f'<svg class="whisker" viewBox="0 0 144 16" aria-hidden="true"><path d="M72 0V16"/>{line}</svg>')  # noqa: S704


def shade(value: float, written: str) -> Cell:
    """A cell of a table, as blue as `value` is near 1, as vermilion as it is near -1."""
    strength = min(abs(value), 1.0) ** 2 * 0.7 if math.isfinite(value) else 0.0
    return Cell(written, kind="above" if value >= 0 else "below", strength=strength)


def _points(candidates: Sequence[Candidate], cost: Callable[[Candidate], float]) -> tuple[list[float], list[float]]:
    return [cost(c) for c in candidates], [c.log_loss for c in candidates]


def _log_ticks(axis: Axis, written: Callable[[float, object], str], decades: float = 3.5) -> None:
    """Plain numbers: an exponent in mathematical type would need its own fonts."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1.0,) if decades > 3 else (1.0, 2.0, 5.0) if decades < 2 else (1.0, 3.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(written))
