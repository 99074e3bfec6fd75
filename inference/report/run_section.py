"""What a report says of the run itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.html import html
from inference.report.markup import number, small_table
from inference.schedule.scheduler import Change
from inference.stages import NAMES, Profile


@dataclass(frozen=True)
class RunFacts:
    """What is the same for all videos of a run."""

    title: str
    members: tuple[str, ...]
    frames_per_video: int  # asked for; a short video has fewer
    wall_seconds: float  # of the whole run
    device: str
    versions: dict[str, str]  # package -> version
    clip: tuple[float, float]  # the lowest and the highest prob_fake that the blend gives
    command: str
    profile: Profile  # where the time went
    plans: tuple[Change, ...] = ()  # of a run with a budget


def _time_table(profile: Profile) -> str:
    """Each stage's work, how busy whoever does it was, and its part of the CPU's time."""
    rows = [
        (
            f"{NAMES[stage]}, {profile.workers} at a time" if stage == "decode" else NAMES[stage],
            number(seconds, 1),
            number(100 * profile.busy(stage), 0, " %"),
            number(profile.cpu.get(stage, 0.0), 1),
            number(100 * profile.cpu_share(stage), 0, " %"),
        )
        for stage, seconds in profile.seconds.items()
    ]
    names = ("stage", "seconds of work", "busy", "CPU seconds", "share of CPU")
    table = small_table(f"Where the time went: bound by {html(profile.bound())}", names, rows)
    return f'<div class="time tables">{table}</div>' if rows else ""


def _plan_table(plans: Sequence[Change]) -> str:
    """How a budget was kept: from when on each video was judged how."""
    rows = [(html(str(change)), number(change.seconds, 0, " s"), str(change.left)) for change in plans]
    table = small_table("Plan over time", ("plan", "from", "videos to start"), rows)
    return f'<div class="time tables">{table}</div>' if rows else ""


def run_section(run: RunFacts) -> str:
    """The last section of the page: where the time went, how the plan changed, and what a repetition needs."""
    versions = ", ".join(" ".join(pair) for pair in sorted(run.versions.items()))
    names = ("members", "frames asked per video", "P(fake) is clipped to", "device", "versions", "command")
    clip = f"{run.clip[0]:g} to {run.clip[1]:g}"
    values = (", ".join(run.members), run.frames_per_video, clip, run.device, versions, run.command)
    rows = (f"<div><dt>{name}</dt><dd>{html(value)}</dd></div>\n" for name, value in zip(names, values, strict=True))
    facts = f'{_time_table(run.profile)}{_plan_table(run.plans)}<dl class="run">\n{"".join(rows)}</dl>'
    return f'<section><div class="title"><h2>This run</h2></div>\n{facts}</section>'
