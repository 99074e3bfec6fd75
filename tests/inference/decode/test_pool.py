"""Decoding in processes: what comes through is what `decode` gives; what a video or a worker does stays there."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from common.errors import DfdcError
from faces.video import decode
from inference.decode.pool import VideoLimits, decode_ahead
from tests.inference.fuzz import make_fuzzed
from tests.media import write_video

SLOW = os.environ.get("DFDC_SLOW") == "1"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def clip(media) -> Path:
    return media / "single_face.mp4"


@pytest.fixture(scope="module")
def heavy(tmp_path_factory) -> Path:
    """A video that takes seconds and hundreds of MB to decode in full."""
    black = np.zeros((2160, 3840, 3), np.uint8)
    path = tmp_path_factory.mktemp("heavy") / "heavy.mp4"
    return write_video(path, 32, (3840, 2160), options={"preset": "ultrafast"}, draw=lambda *_: black)


@pytest.fixture(autouse=True)
def nothing_left():
    """No test leaves a worker, a thread or a handle."""
    OTHERS.clear()
    OTHERS.update(workers())
    gc.collect()  # what earlier tests have forgotten to close must not go in the middle of one of these
    before = handles(), threading.active_count()
    yield
    assert not workers()
    assert handles() <= before[0]
    assert threading.active_count() <= before[1]


# Children that were there before a test: servers that other tests' pools of processes keep.
OTHERS: set[int] = set()


def handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def workers(parent: int | None = None) -> list[int]:
    """Ids of the children of a process, of this one without an argument; a dead one that is not collected counts."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == (parent or os.getpid()) and int(entry.name) not in OTHERS:
            found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(true, seconds=5.0) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def test_the_frames_are_those_of_decode_and_read_only(media):
    paths = [media / name for name in ("single_face.mp4", "face_noface.mov")]
    for decoded in decode_ahead([(path, 5) for path in paths], 2):
        expected = decode(decoded.path, 5)
        assert decoded.frames is not None and (decoded.outcome, decoded.reason) == ("ok", "")
        assert len(decoded.frames.images) == 5 and decoded.seconds > 0
        for ours, theirs in zip(decoded.frames.images, expected.images, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert not ours.flags.writeable and ours.dtype == np.uint8
        np.testing.assert_array_equal(decoded.frames.indices, expected.indices)
        np.testing.assert_array_equal(decoded.frames.seconds, expected.seconds)
        assert (decoded.frames.info, decoded.frames.note) == (expected.info, expected.note)


def test_frames_that_are_kept_are_not_written_over(clip):
    """The files that frames come in are used again, but not while somebody looks at them."""
    kept = list(decode_ahead([(clip, 1 + number % 3) for number in range(12)], 2))
    expected = {wanted: decode(clip, wanted).images for wanted in (1, 2, 3)}
    for number, decoded in enumerate(kept):
        assert decoded.frames is not None
        for ours, theirs in zip(decoded.frames.images, expected[1 + number % 3], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    image = kept[0].frames.images[0]
    del kept, decoded, ours
    np.testing.assert_array_equal(image, expected[1][0])
    del image


def test_results_come_in_the_order_of_the_jobs(clip, heavy):
    jobs = [(heavy, 8), *[(clip, 2)] * 5, (heavy, 4), (clip, 2)]
    given = [(decoded.path, len(decoded.frames.images)) for decoded in decode_ahead(jobs, 3)]
    assert given == jobs


def test_jobs_are_pulled_when_a_worker_can_take_one_up(clip):
    pulled = 0

    def jobs():
        nonlocal pulled
        for _ in range(20):
            pulled += 1
            yield clip, 1

    stream = decode_ahead(jobs(), 2)
    assert pulled == 0
    for given in range(1, 6):
        next(stream)
        # It goes on while the caller works, up to workers + 1 that wait.
        assert wait_for(lambda given=given: pulled == given + 3)
        time.sleep(0.15)
        assert pulled == given + 3
    stream.close()
    assert pulled <= 5 + 3


def test_nothing_to_do_starts_no_process(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/does/not/exist")
    assert list(decode_ahead([], 2)) == []


def stopping(clip: Path, wrong: set[int], then=None):
    """Eight jobs for one worker, which freezes in the middle of the wrong ones: no clock or signal handler helps it."""
    for number in range(8):
        if number in wrong:
            (pid,) = workers()
            os.kill(pid, signal.SIGSTOP)
            if then is not None:
                threading.Timer(0.2, os.kill, (pid, then)).start()
        yield clip, 1


def test_a_worker_that_hangs_is_cut_and_the_others_go_on(clip):
    began = time.monotonic()
    results = list(decode_ahead(stopping(clip, {1, 4}), 1, VideoLimits(seconds=0.5)))
    assert [decoded.outcome for decoded in results] == ["ok", "timed_out", "ok", "ok", "timed_out", "ok", "ok", "ok"]
    assert time.monotonic() - began < 6
    cut = results[1]
    assert cut.frames is None and 0.5 <= cut.seconds < 0.9
    assert str(clip) in cut.reason and "limit of 0.5 s" in cut.reason


def test_a_slow_video_is_cut_in_its_own_time_only(clip, heavy):
    """The time that a result waits for its turn, or its worker for a job, is not counted."""
    jobs = [(heavy, 32), *[(clip, 1)] * 4]
    stream = decode_ahead(jobs, 2, VideoLimits(seconds=0.5))
    results = [next(stream)]
    time.sleep(0.7)
    results += stream
    assert [decoded.outcome for decoded in results] == ["timed_out", "ok", "ok", "ok", "ok"]


def test_a_worker_that_is_killed_is_a_crash_and_is_replaced(clip):
    results = list(decode_ahead(stopping(clip, {2}, signal.SIGKILL), 1))
    assert [decoded.outcome for decoded in results] == ["ok", "ok", "crashed", *["ok"] * 5]
    assert str(clip) in results[2].reason and "killed by signal 9 (Killed)" in results[2].reason
    assert 0.15 < results[2].seconds < 1


def test_a_worker_that_is_killed_between_videos_costs_no_video(clip):
    def jobs():
        yield clip, 1
        os.kill(workers()[0], signal.SIGKILL)
        assert wait_for(lambda: not any(alive(pid) for pid in workers()))
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
    (decoded,) = decode_ahead([(clip, 1)], 1)
    assert decoded.outcome == "crashed"
    assert decoded.reason.endswith("ended with code 1: RuntimeError: a fault of ours")


def test_a_video_that_takes_too_much_memory_is_cut(clip, heavy):
    results = list(decode_ahead([(heavy, 32), (clip, 1)], 1, VideoLimits(memory=200 << 20)))
    assert [decoded.outcome for decoded in results] == ["crashed", "ok"]
    assert str(heavy) in results[0].reason and "more memory than the limit of 200 MiB" in results[0].reason


def test_a_worker_that_cannot_be_started_ends_the_run(clip, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/does/not/exist")
    with pytest.raises(DfdcError, match=r"3 times in a row.*No such file"):
        list(decode_ahead([(clip, 1)], 2))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DfdcError, match="3 times in a row: it ended with code 1"):
        list(decode_ahead([(clip, 1)], 1))


def test_what_cannot_be_read_says_why(clip, tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    os.mkfifo(tmp_path / "fifo.mp4")
    odd = tmp_path / os.fsdecode(b"odd \xff\n name.mp4")
    odd.write_bytes(clip.read_bytes())
    bad = [tmp_path / name for name in ("empty.mp4", "text.mp4", "fifo.mp4", "missing.mp4")] + [tmp_path]
    results = list(decode_ahead([*((path, 2) for path in bad), (clip, 0), (odd, 2), (clip, 2)], 2))
    assert [decoded.outcome for decoded in results] == [*["unreadable"] * 6, "ok", "ok"]
    for path, decoded in zip([*bad, clip], results, strict=False):
        assert decoded.path == path and decoded.frames is None and str(path) in decoded.reason


def test_videos_in_a_folder_that_cannot_be_written(clip, tmp_path, monkeypatch):
    folder = tmp_path / "input"
    folder.mkdir()
    (folder / "clip.mp4").write_bytes(clip.read_bytes())
    # A module in the current folder must not be taken for ours or a library's.
    (folder / "numpy.py").write_text("raise RuntimeError('the wrong numpy')")
    folder.chmod(0o555)
    monkeypatch.chdir(folder)
    (decoded,) = decode_ahead([(Path("clip.mp4"), 2)], 1)
    assert decoded.outcome == "ok", decoded.reason
    folder.chmod(0o755)
    assert sorted(path.name for path in folder.iterdir()) == ["clip.mp4", "numpy.py"]


@pytest.mark.parametrize("after", [0, 1, 30])
def test_a_run_that_ends_early_leaves_nothing(clip, after):
    stream = decode_ahead(((clip, 1) for _ in range(100)), 2)
    for _ in range(after):
        next(stream)
    began = time.monotonic()
    stream.close()
    assert time.monotonic() - began < 1
    assert not workers()


def test_an_exception_of_the_caller_or_of_the_jobs_leaves_nothing(clip):
    def jobs():
        yield clip, 1
        raise KeyError("the planner")

    stream = decode_ahead(jobs(), 2)
    assert next(stream).outcome == "ok"
    with pytest.raises(KeyError, match="the planner"):
        next(stream)
    with pytest.raises(ZeroDivisionError):
        for decoded in decode_ahead([(clip, 1)] * 9, 2):
            del decoded  # or it lives as long as what pytest keeps of the exception
            1 / 0  # noqa: B018


@pytest.mark.parametrize("wanted", [1, 32], ids=["idle", "in the middle of a video"])
def test_a_parent_that_is_killed_takes_its_workers_along(heavy, wanted):
    script = (
        "import sys, time; from pathlib import Path; from inference.decode.pool import decode_ahead\n"
        "def jobs():\n yield Path(sys.argv[1]), 1\n print('given', flush=True)\n"
        " yield Path(sys.argv[1]), int(sys.argv[2])\n"
        " time.sleep(60)\n"
        "for _ in decode_ahead(jobs(), 1): pass\n"
    )
    command = [sys.executable, "-c", script, str(heavy), str(wanted)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == b"given\n"
        time.sleep(0.5 if wanted == 1 else 0.2)
        (pid,) = workers(parent.pid)
        parent.kill()
        parent.wait()
        assert wait_for(lambda: not alive(pid), seconds=0.4)


def test_a_parent_that_forgets_to_close_ends_all_the_same(clip):
    script = (
        "import sys; from pathlib import Path; from inference.decode.pool import decode_ahead\n"
        "stream = decode_ahead([(Path(sys.argv[1]), 1)] * 9, 2); next(stream)\n"
    )
    command = [sys.executable, "-X", "dev", "-c", script, str(clip)]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=20, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_bounds_are_checked(clip):
    with pytest.raises(ValueError, match="0 workers"):
        next(decode_ahead([(clip, 1)], 0))
    for wrong in ({"seconds": 0}, {"memory": -1}, {"seconds": float("nan")}):
        with pytest.raises(ValueError, match="needs more than"):
            VideoLimits(**wrong)


def test_damaged_videos_are_outcomes(clip, tmp_path):
    """200 of them with DFDC_SLOW=1."""
    paths = make_fuzzed(tmp_path, clip, 200 if SLOW else 40, seed=1)
    results = list(decode_ahead([(path, 3) for path in paths], 2, VideoLimits(seconds=20)))
    assert [decoded.path for decoded in results] == paths
    for decoded in results:
        assert (decoded.frames is None) == (decoded.outcome != "ok") == bool(decoded.reason), decoded
        assert decoded.frames is not None or str(decoded.path) in decoded.reason
    assert {decoded.outcome for decoded in results} >= {"ok", "unreadable"}


def test_damage_is_the_same_every_time(clip, tmp_path):
    first, again, other = (
        [path.read_bytes() for path in make_fuzzed(tmp_path, clip, count, seed)]
        for count, seed in ((12, 1), (6, 1), (6, 2))
    )
    assert first[:6] == again != other
    assert len({clip.read_bytes(), *first}) == 13
