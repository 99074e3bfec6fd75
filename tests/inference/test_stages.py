"""Where the time of a run went, from results whose times are known."""

from __future__ import annotations

import time

import pytest

from inference.result import VideoResult
from inference.stages import Profile, clocked, profile


def timed(seconds: dict[str, float], cpu: dict[str, float]) -> VideoResult:
    return VideoResult("a.mp4", "ok", 0.5, seconds=seconds, cpu=cpu)


def test_sums_and_shares():
    results = [
        timed({"decode": 3.0, "detect": 1.0, "judge": 0.5}, {"decode": 1.5, "detect": 2.0, "judge": 0.5}),
        timed({"decode": 1.0}, {"decode": 1.0}),
        timed({}, {}),  # skipped
    ]
    told = profile(results, wall=4.0, workers=2)
    assert told.seconds == {"decode": 4.0, "detect": 1.0, "judge": 0.5}
    assert told.busy("decode") == 0.5  # 4 of 2 x 4 seconds
    assert told.busy("detect") == 0.25
    assert told.waiting == pytest.approx(1 - 1.5 / 4)
    assert told.cores_busy == pytest.approx(5 / 4)
    assert told.cpu_share("detect") == pytest.approx(2 / 5)


@pytest.mark.parametrize(
    ("seconds", "cpu", "bound"),
    [
        ({"decode": 19.0, "detect": 4.0, "judge": 4.0}, {"decode": 9.0, "detect": 4.0, "judge": 5.0}, "the CPU, most"),
        ({"decode": 19.0, "detect": 1.0, "judge": 1.0}, {"decode": 6.0, "detect": 1.0, "judge": 1.0}, "decoding"),
        ({"decode": 3.0, "detect": 2.0, "judge": 7.5}, {"decode": 3.0, "detect": 1.0, "judge": 1.0}, "the members"),
        ({"decode": 3.0, "detect": 6.0, "judge": 1.5}, {"decode": 3.0, "detect": 1.0, "judge": 1.0}, "detection"),
        ({}, {}, "nothing was predicted"),
    ],
)  # fmt: skip
def test_what_bounds_a_run_of_ten_seconds_on_two_cores(seconds, cpu, bound):
    assert Profile(10.0, 2, 2, seconds, cpu).bound().startswith(bound)


def test_a_run_that_scored_nothing_can_be_told():
    told = profile([], wall=0.0, workers=2)
    assert "bound by nothing was predicted" in told.sentence()
    assert told.to_dict()["stages"] == {}


def test_clocked_tells_work_from_waiting():
    with clocked(clock=iter([10.0, 13.5]).__next__, cpu_clock=iter([2.0, 2.25]).__next__) as took:
        assert (took.seconds, took.cpu) == (0.0, 0.0)
    assert (took.seconds, took.cpu) == (3.5, 0.25)


def test_clocked_reads_the_clocks_of_this_process():
    with clocked() as took:
        end = time.process_time() + 0.01
        while time.process_time() < end:
            pass
    assert took.cpu >= 0.01
    assert took.seconds > 0
