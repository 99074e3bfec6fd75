"""Runs of a scheduler on a clock that the test moves."""

from pathlib import Path

from inference.result import VideoResult


def follow(scheduler, now, videos, speed):
    """A run of one decoder, 10 s a video at the top plan and full speed; (video, plan) of each look, in their order."""
    looks = []
    for path, frames in scheduler.jobs([Path(f"{i}.mp4") for i in range(videos)]):
        plan, slow = scheduler.plan_of(path), speed(now[0])
        share = frames / 32
        seconds = {"decode": 0.5 * slow, "detect": 4.0 * share * slow, "judge": 5.5 * share * plan.members * slow}
        now[0] += sum(seconds.values())
        status = {"7": "no_face", "8": "timed_out"}.get(path.stem, "ok")
        scheduler.finished(path, VideoResult(path.name, status, 0.5, seconds=seconds))
        looks.append((path.stem, plan))
    return looks
