"""What a video or a worker does stays there: it is cut at its limits, named, and replaced."""

import math
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import DfdcError
from faces.decode.pool import VideoLimits, decode_ahead
from tests.faces.decode.processes import Clock, alive, stopping, workers
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
LIMITS = VideoLimits(seconds=8.0, exit_seconds=60.0)  # seconds of a video by a clock of the test


def test_a_worker_that_hangs_is_cut_and_the_others_go_on(clip):
    clock = Clock()
    results = list(decode_ahead(stopping(clip, {1, 4}, clock), 1, LIMITS, clock))
    assert [decoded.outcome for decoded in results] == ["ok", "timed_out", "ok", "ok", "timed_out", "ok", "ok", "ok"]
    cut = results[1]
    assert cut.frames is None and 8 <= cut.seconds <= 12  # it was looked at every second
    assert str(clip) in cut.reason and "limit of 8 s" in cut.reason


def test_a_slow_video_is_cut_in_its_own_time_only(clip, heavy):
    """The time that a result waits for its turn, or its worker for a job, is not counted."""
    clock = Clock()

    def jobs():
        for number in range(6):
            clock.seconds[threading.get_ident()] += 1000  # since the last video of this worker
            yield (heavy, 32) if number == 0 else (clip, 1)

    # A fraction of the time that this video takes.
    limits = replace(LIMITS, cpu_seconds=0.4, cpu_per_second=0.1)
    results = list(decode_ahead(jobs(), 2, limits, clock, patience=math.inf))
    assert [decoded.outcome for decoded in results] == ["timed_out", *["ok"] * 5]
    # 32 frames at 25 a second: 0.4 s and a tenth of 1.24 s.
    assert "limit of 0.524 s of CPU for the 1 s that the video lasts" in results[0].reason
    assert "--video-seconds" in results[0].reason


def test_a_worker_that_is_killed_is_a_crash_and_is_replaced(clip):
    clock = Clock()
    results = list(decode_ahead(stopping(clip, {2}, clock, signal.SIGKILL), 1, LIMITS, clock))
    assert [decoded.outcome for decoded in results] == ["ok", "ok", "crashed", *["ok"] * 5]
    assert str(clip) in results[2].reason and "killed by signal 9 (Killed)" in results[2].reason
    assert 2 <= results[2].seconds < 8


def test_a_worker_that_is_killed_between_videos_costs_no_video(clip):
    def jobs():
        yield clip, 1
        os.kill(workers()[0], signal.SIGKILL)
        wait_until(lambda: not any(alive(pid) for pid in workers()), "the worker is gone")
        yield clip, 1

    assert [decoded.outcome for decoded in decode_ahead(jobs(), 1)] == ["ok", "ok"]


def test_the_last_line_of_a_worker_that_fails_is_in_the_reason(clip, tmp_path, monkeypatch):
    """A fault in our own code: nothing that `decode` is expected to raise."""
    (tmp_path / "sitecustomize.py").write_text(
        "import faces.video\n"
        "def broken(*_, **__):\n    raise RuntimeError('a fault of ours')\n"
        "faces.video.decode = broken\n"
    )
    # The worker looks where this process does.
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(ROOT), *sys.path])
    (decoded,) = decode_ahead([(clip, 1)], 1, LIMITS)
    assert decoded.outcome == "crashed"
    assert decoded.reason.endswith("ended with code 1: RuntimeError: a fault of ours")


def test_a_video_that_takes_too_much_memory_is_cut(clip, heavy):
    results = list(decode_ahead([(heavy, 32), (clip, 1)], 1, replace(LIMITS, seconds=math.inf, memory=200 << 20)))
    assert [decoded.outcome for decoded in results] == ["crashed", "ok"]
    assert str(heavy) in results[0].reason and "more memory than the limit of 200 MiB" in results[0].reason
    assert "--frames" in results[0].reason


def test_a_worker_that_cannot_be_started_ends_the_run(clip, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/does/not/exist")
    with pytest.raises(DfdcError, match=r"3 times in a row.*No such file"):
        list(decode_ahead([(clip, 1)], 2))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DfdcError, match="3 times in a row: it ended with code 1"):
        list(decode_ahead([(clip, 1)], 1, LIMITS))


def test_bounds_are_checked(clip):
    with pytest.raises(ValueError, match="0 workers"):
        next(decode_ahead([(clip, 1)], 0))
    for wrong in ({"seconds": 0}, {"memory": -1}, {"seconds": float("nan")}):
        with pytest.raises(ValueError, match="needs more than"):
            VideoLimits(**wrong)


def test_a_longer_video_may_take_longer():
    limits = VideoLimits(cpu_seconds=60.0, cpu_per_second=2.0, cpu_most=600.0)
    assert [limits.cpu_for(length) for length in (0, 10, 30, 3600)] == [60, 80, 120, 600]
    assert [VideoLimits.fixed(900.0).cpu_for(length) for length in (0, 10, 3600)] == [900, 900, 900]


def test_pictures_that_take_too_much_memory_give_fewer_frames(clip, tmp_path, monkeypatch):
    """As 8K does, of which ten frames take a GB; here the memory is small and not the picture large."""
    (tmp_path / "sitecustomize.py").write_text(
        "import faces.video\n"
        "real = faces.video.decode\n"
        "def smaller(*given, **how):\n    return real(*given, **how | {'most_bytes': 4 * 640 * 360 * 3})\n"
        "faces.video.decode = smaller\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(ROOT), *sys.path])
    (decoded,) = decode_ahead([(clip, 12)], 1)
    assert decoded.frames is not None
    assert len(decoded.frames.images) == 4
    assert decoded.frames.note == "4 of 12 frames, since more of 640 x 360 take too much memory"
