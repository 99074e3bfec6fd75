#!/usr/bin/env python3
"""The real planner against simulated machines: does every run end in time, with every row, and use the time it has?

python benchmarks/simulate_budget.py --scenarios 1000 --picture budget.png

Where the process dies, what the next one knows comes from a real journal, whose last line was torn.

Columns: in time: the file was written inside the budget. filled: every video has a status. skipped: share of the videos
that the budget left without a prediction, mean and largest. below: runs that did not give all but the first videos the
top plan, and the share of the budget those used. tight: those of them in which the top plan for all would not have
fitted, and their use. stopped: videos under way when time was up. value: 1 if all videos had the top plan, 0 for the
prior.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.simulated_machine import CUT, SCORED, SKIPPED, Machine, Outcome, simulate
from ensemble.blend import FILE, Blend
from inference.schedule.plans import Plan, make_plans

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREY, RED = "#2a6fb0", "#d9822b", "#888888", "#b03a2e"
MEMORY = Path("/dev/shm")  # noqa: S108 - a journal waits for its disk, and a simulation has no time for that
WEIGHTS = Path(__file__).resolve().parents[1] / "models" / "weights"

TOLD = {  # those of the picture
    "steady, twice too much work": Machine(videos=10000, decode=2.0, score=0.12, workers=3, drift=0.05, seed=1),
    "3x slower at 80 % of the budget": Machine(videos=4000, score=0.19, slow_at=0.8, slow=3, seed=2),
    "decoding is the wall, 3x slower at half": Machine(videos=4000, decode=12, score=0.01, slow_at=0.5, slow=3, seed=3),
    "1 % of the videos hang, strong drift": Machine(videos=10000, score=0.06, hang=0.01, drift=0.35, seed=13),
    "dies twice, shared cores": Machine(
        videos=4000, score=0.15, restarts=(0.3, 0.75), lost=1200, contention=0.5, ordered=True, seed=5
    ),
    "too little time for all": Machine(videos=10000, decode=12, score=0.1, drift=0.2, seed=6),
}


KINDS = (
    "steady",
    "drift",
    "3x slower at 50 %",
    "3x slower at 80 %",
    "3x faster midway",
    "1 % hang",
    "restarts",
    "shared cores",
    "short budget",
    "few videos",
    "fast GPU",
    "too little time",
    "all at once",
)


def draw(kind: str, seed: int) -> Machine:
    """A machine of a kind of scenario."""
    random = np.random.default_rng([seed, sum(map(ord, kind))])

    def between(low: float, high: float) -> float:
        return float(math.exp(random.uniform(math.log(low), math.log(high))))

    machine = Machine(
        videos=int(random.choice([4000, 10000])),
        workers=int(random.integers(2, 5)),
        decode=between(1, 6),
        decode_frames=float(random.uniform(0.1, 0.6)),
        detect=between(0.003, 0.2),
        score=between(0.003, 0.6),
        faces=float(random.choice([1.0, 1.2, 2.0])),
        spread=float(random.uniform(0.2, 0.7)),
        drift=float(random.uniform(0, 0.15)),
        hang=float(random.choice([0, 0.001])),
        startup=float(random.uniform(20, 60)),
        ordered=bool(random.random() < 0.5),
        seed=seed,
    )
    share = float(random.uniform(0.2, 0.8))
    dies = tuple(sorted(random.uniform(0.02, 0.95, random.integers(1, 4)).tolist()))
    minutes = between(20, 240)
    kinds: dict[str, Machine] = {
        "steady": replace(machine, drift=0.02, hang=0.0),
        "drift": replace(machine, drift=0.35),
        "3x slower at 50 %": replace(machine, slow_at=0.5, slow=3.0),
        "3x slower at 80 %": replace(machine, slow_at=0.8, slow=3.0),
        "3x faster midway": replace(machine, slow_at=share, slow=1 / 3),
        "1 % hang": replace(machine, hang=0.01),
        "restarts": replace(machine, restarts=dies, lost=between(10, 900)),
        "shared cores": replace(machine, contention=float(random.uniform(0.2, 0.8))),
        "short budget": replace(
            machine, videos=int(minutes * between(4, 40)), budget=minutes * 60, reserve=max(60.0, 0.6 * minutes)
        ),
        "few videos": replace(
            machine, videos=int(random.choice([20, 300])), budget=minutes * 60, reserve=max(60.0, 0.6 * minutes)
        ),
        "fast GPU": replace(machine, detect=0.0015, score=0.001, decode=between(0.5, 2), workers=4),
        "too little time": replace(machine, decode=between(15, 40), score=between(0.05, 0.5)),
        "all at once": replace(
            machine, slow_at=share, slow=3.0, drift=0.2, hang=0.01, restarts=dies, contention=0.3, faces=2.0
        ),
    }
    return kinds[kind]


@dataclass(frozen=True)
class Row:
    """What is counted of one run."""

    inside: bool
    filled: bool
    skipped: float
    use: float  # of the budget; nan where all but the first videos had the top plan
    tight: bool
    stopped: int
    changes: int
    frames: float  # mean over the videos that were predicted
    value: float  # mean, without the videos that were cut


def measure(machine: Machine, outcome: Outcome, plans: Sequence[Plan]) -> Row:
    """Count one run."""
    counts = {status: outcome.status.count(status) for status in (SCORED, CUT, SKIPPED)}
    lower = sum(plan != plans[0] for plan in outcome.plans)
    below = counts[SKIPPED] > 0 or lower > max(0.02 * machine.videos, 20)
    frames = [plan.frames for plan in outcome.plans]
    return Row(
        inside=outcome.finish <= machine.budget,
        filled=sum(counts.values()) == machine.videos,
        skipped=counts[SKIPPED] / max(1, machine.videos),
        use=outcome.finish / machine.budget if below else math.nan,
        tight=below and SKIPPED in simulate(machine, (plans[0],)).status,
        stopped=outcome.stopped,
        changes=outcome.changes,
        frames=float(np.mean(frames)) if frames else 0.0,
        value=sum(plan.value for plan in outcome.plans) / max(1, counts[SCORED] + counts[SKIPPED]),
    )


def table(rows: dict[str, list[Row]]) -> str:
    """One line per kind of scenario, and one for all."""
    head = f"{'kind':<18}{'runs':>5}{'in time':>8}{'filled':>7}{'skipped':>8}{'max':>7}{'below':>6}{'use':>7}"
    head += f"{'tight':>6}{'use':>7}{'min':>7}{'stopped':>8}{'changes':>8}{'max':>4}{'frames':>7}{'value':>7}"
    lines = [head]
    for kind, some in [*rows.items(), ("all", list(chain(*rows.values())))]:
        if not some:
            continue
        below = [row.use for row in some if not math.isnan(row.use)]
        tight = [row.use for row in some if row.tight]
        lines.append(
            f"{kind:<18}{len(some):>5}{_mean([r.inside for r in some]):>8.1%}{_mean([r.filled for r in some]):>7.0%}"
            f"{_mean([r.skipped for r in some]):>8.2%}{max(r.skipped for r in some):>7.1%}"
            f"{len(below):>6}{_mean(below):>7.1%}"
            f"{len(tight):>6}{_mean(tight):>7.1%}{min(tight, default=math.nan):>7.1%}"
            f"{_mean([r.stopped for r in some]):>8.2f}{_mean([r.changes for r in some]):>8.1f}"
            f"{max(r.changes for r in some):>4}{_mean([r.frames for r in some]):>7.1f}"
            f"{_mean([r.value for r in some]):>7.3f}"
        )
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def shipped_plans() -> tuple[Plan, ...]:
    """The plans of the blend that ships, as if all members took equally long."""
    blend = Blend.read(WEIGHTS / FILE)
    if blend.expected_log_loss is None:
        raise ValueError(f"{WEIGHTS / FILE} names no expected log loss; tune it again")
    losses = [blend.expected_log_loss, *(fallback.log_loss for fallback in blend.fallbacks)]
    shares = [1.0, *(len(fallback.members) / len(blend.members) for fallback in blend.fallbacks)]
    return make_plans(blend.frames, len(blend.fallbacks), shares, losses)


def picture(path: Path, rows: dict[str, list[Row]], plans: tuple[Plan, ...]) -> None:
    """Six runs with their plans and forecasts, and how the tight runs used their budgets."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(17, 14), dpi=80, layout="constrained")
    runs, below = figure.subfigures(2, 1, height_ratios=[4.2, 1])
    cells = runs.subplots(4, 3, height_ratios=[1.2, 1, 1.2, 1], sharex=True)
    for number, (title, machine) in enumerate(TOLD.items()):
        top = number // 3 * 2
        outcome = simulate(machine, plans, trace=True)
        _forecasts(cells[top, number % 3], title, machine, outcome)
        _plans(cells[top + 1, number % 3], machine, outcome, plans)
    cells[0, 0].legend(loc="lower right", fontsize=9, frameon=False)
    uses = {kind: [100 * row.use for row in some if row.tight] for kind, some in rows.items()}
    uses = {kind: values for kind, values in uses.items() if values}
    if uses:
        axes = below.subplots()
        everything = list(chain(*uses.values()))
        axes.hist(everything, bins=np.arange(math.floor(min(everything)), 100.5, 0.25).tolist(), color=BLUE)
        axes.axvline(90, color=RED, linewidth=1)
        axes.set_xlabel(f"% of the budget used, {len(everything)} runs in which the top plan would not have fitted")
        axes.set_ylabel("runs")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def _forecasts(axes: Axes, title: str, machine: Machine, outcome: Outcome) -> None:
    now, _, finish, low, high = (np.array(column) / 3600 for column in zip(*outcome.trace, strict=True))
    axes.fill_between(now, low, high, color=BLUE, alpha=0.25, linewidth=0, label="forecast, 90 %")
    axes.plot(now, finish, color=BLUE, linewidth=1, label="forecast by today's plan")
    axes.axhline(machine.budget / 3600, color=RED, linewidth=1.2, label="budget")
    axes.plot(outcome.finish / 3600, outcome.finish / 3600, "o", color=ORANGE, label="end of the run", zorder=5)
    events = [*machine.restarts, *([machine.slow_at] if machine.slow > 1 else [])]
    for share in events:
        axes.axvline(share * machine.budget / 3600, color=GREY, linewidth=1, linestyle=":")
    skipped = outcome.status.count(SKIPPED) / machine.videos
    axes.set_title(f"{title}\n{machine.videos:,} videos, {skipped:.1%} skipped", fontsize=11, loc="left")
    axes.set_ylim(5, max(11.0, np.percentile(high, 95) + 0.5))  # the first are infinite
    axes.set_xlim(0, 9.2)
    axes.set_ylabel("predicted finish, h")
    axes.spines[["top", "right"]].set_visible(False)


def _plans(axes: Axes, machine: Machine, outcome: Outcome, plans: Sequence[Plan]) -> None:
    now, rank = np.array([step[0] for step in outcome.trace]) / 3600, [step[1] for step in outcome.trace]
    axes.step(now, rank, where="post", color=ORANGE, linewidth=1.3)
    names = [
        f"{plan.frames} fr, fallback {plan.fallback}" + ("" if plan.thorough else ", first look") for plan in plans
    ]
    axes.set_yticks(range(0, len(plans), 2), names[::2], fontsize=8)
    axes.set_ylim(len(plans) - 0.5, -0.5)
    axes.set_xlabel(f"hours; frames scored on average: {np.mean([plan.frames for plan in outcome.plans]):.1f}")
    axes.tick_params(labelbottom=True)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Parse, simulate, print a table, draw; exit status 1 when a run was late or a row is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", type=int, default=130)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=KINDS, help="one kind of scenario")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    kinds = [options.only] if options.only else KINDS
    plans = shipped_plans()
    rows: dict[str, list[Row]] = {kind: [] for kind in kinds}
    for number in range(options.seed, options.seed + options.scenarios):
        kind = kinds[number % len(kinds)]
        machine = draw(kind, number)
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
            outcome = simulate(machine, plans, journal=Path(folder) / "journal" if machine.restarts else None)
        row = measure(machine, outcome, plans)
        rows[kind].append(row)
        if not (row.inside and row.filled):
            print(f"late or not filled, {kind}: {row} {machine}", file=sys.stderr)
    print(table(rows))
    if options.picture:
        picture(options.picture, rows, plans)
    sys.exit(not all(row.inside and row.filled for row in chain(*rows.values())))


if __name__ == "__main__":
    main()
