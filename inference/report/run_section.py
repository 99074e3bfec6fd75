"""What a report says of the run itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.html import Table, number
from ensemble.blend import Blend
from inference.schedule.scheduler import Change
from inference.stages import NAMES, Profile


@dataclass(frozen=True)
class RunFacts:
    """What is the same for all videos of a run."""

    title: str
    members: tuple[str, ...]
    frames_per_video: int  # asked for; a short video has fewer
    sparing: bool  # of a short video fewer were asked for
    wall_seconds: float  # of the whole run
    device: str
    versions: dict[str, str]  # package -> version
    clip: tuple[float, float]  # the lowest and the highest prob_fake that the blend gives
    command: str
    profile: Profile  # where the time went
    blend: Blend  # which says what a probability is worth
    plans: tuple[Change, ...] = ()  # of a run with a budget
    prior: str = ""  # a sentence on the share of fakes, where it is not half


def time_table(profile: Profile) -> Table:
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
    return Table(("stage", "seconds of work", "busy", "CPU seconds", "share of CPU"), rows)


def plan_table(plans: Sequence[Change]) -> Table:
    """How the run kept its budget: each plan, and from when on it scored videos."""
    rows = [(str(change), number(change.seconds, 0, " s"), str(change.left)) for change in plans]
    return Table(("plan", "from", "videos to start"), rows)


def run_facts(run: RunFacts) -> list[tuple[str, str]]:
    """What a repetition of the run needs: name and value."""
    versions = ", ".join(" ".join(pair) for pair in sorted(run.versions.items()))
    return [
        ("members", ", ".join(run.members)),
        ("frames asked per video", f"{'up to ' if run.sparing else ''}{run.frames_per_video}"),
        ("P(fake) is clipped to", f"{run.clip[0]:g} to {run.clip[1]:g}"),
        *([("share of fakes", run.prior)] if run.prior else []),
        ("device", run.device),
        ("versions", versions),
        ("command", run.command),
    ]
