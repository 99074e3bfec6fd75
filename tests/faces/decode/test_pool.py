"""Decoding in processes: what comes through is what `decode` gives; a run leaves nothing behind."""

import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from faces.decode.decoder import Decoder
from faces.decode.pool import VideoLimits, decode_ahead
from faces.decode.worker import Job
from faces.video import decode, probe
from tests.faces.decode.processes import alive, state, workers
from tests.faces.streams import FAST_VP
from tests.inference.fuzz import make_fuzzed
from tests.media import write_video
from tests.waiting import LIMIT, in_time, wait_until

SLOW = os.environ.get("DFDC_SLOW") == "1"
ROOT = Path(__file__).resolve().parents[3]


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
    kept = list(decode_ahead([(clip, 1 + number % 3) for number in range(12)], 2, patience=math.inf))
    expected = {wanted: decode(clip, wanted).images for wanted in (1, 2, 3)}
    for number, decoded in enumerate(kept):
        assert decoded.frames is not None
        for ours, theirs in zip(decoded.frames.images, expected[1 + number % 3], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    image = kept[0].frames.images[0]
    del kept, decoded, ours
    np.testing.assert_array_equal(image, expected[1][0])
    del image


def test_results_come_in_the_order_of_the_jobs_where_they_are_waited_for(clip, heavy):
    jobs = [(heavy, 8), *[(clip, 2)] * 5, (heavy, 4), (clip, 2)]
    given = [(decoded.path, len(decoded.frames.images)) for decoded in decode_ahead(jobs, 3, patience=math.inf)]
    assert given == jobs


@pytest.mark.parametrize("patience", [0.0, 0.5])
def test_a_video_that_hangs_holds_up_no_other(clip, patience):
    """One worker is frozen as the thread that it belongs to pulls its next video: so that video is the one that hangs.

    Which thread pulls when is up to the system. The first one starts its worker before there is another, so the worker
    is told by that; and jobs go on until that thread has come back for one, and for eight more.
    """
    stopped = []  # the frozen worker, and how many videos there will be

    def jobs():
        pulled = 0
        owner, worker = threading.get_ident(), None
        while not stopped:
            pulled += 1
            yield clip, 1
            if worker is None:
                wait_until(lambda: len(workers()) == 1, "the first worker is there")
                (worker,) = workers()
            if threading.get_ident() == owner:
                os.kill(worker, signal.SIGSTOP)
                wait_until(lambda frozen=worker: state(frozen) == "T", "the worker is frozen")
                stopped.append((worker, pulled + 9))
        for _ in range(9):
            yield clip, 1

    stream = decode_ahead(jobs(), 2, VideoLimits(seconds=math.inf, exit_seconds=60.0), patience=patience)
    others = []
    while not stopped or len(others) < stopped[0][1] - 1:
        others.append(in_time(lambda: next(stream), "another video is decoded").outcome)
    assert set(others) == {"ok"}
    os.kill(stopped[0][0], signal.SIGKILL)
    assert [decoded.outcome for decoded in stream] == ["crashed"]


def test_jobs_are_pulled_when_a_worker_can_take_one_up(clip):
    """The pool goes on while the caller works, up to workers + 1 videos that wait."""
    pulled, asked, too_early = 0, 0, []

    def jobs():
        nonlocal pulled
        for _ in range(20):
            pulled += 1
            if pulled > asked + 3:
                too_early.append((pulled, asked))
            yield clip, 1

    stream = decode_ahead(jobs(), 2)
    assert pulled == 0
    for asked in range(1, 21):
        next(stream)
        wait_until(lambda asked=asked: pulled == min(20, asked + 3), "the next video is pulled")
    assert list(stream) == []
    assert not too_early


def test_nothing_to_do_starts_no_process(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/does/not/exist")
    assert list(decode_ahead([], 2)) == []


def test_what_cannot_be_read_says_why(clip, tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    os.mkfifo(tmp_path / "fifo.mp4")
    odd = tmp_path / os.fsdecode(b"odd \xff\n name.mp4")
    odd.write_bytes(clip.read_bytes())
    bad = [tmp_path / name for name in ("empty.mp4", "text.mp4", "fifo.mp4", "missing.mp4")] + [tmp_path]
    results = list(decode_ahead([*((path, 2) for path in bad), (clip, 0), (odd, 2), (clip, 2)], 1))
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
    pulled = []
    stream = decode_ahead(((clip, 1) for number in range(100) if not pulled.append(number)), 2)
    for _ in range(after):
        next(stream)
    in_time(stream.close, "the pool is closed")
    assert len(pulled) <= after + 3
    assert not workers()


def test_a_run_that_ends_while_a_worker_hangs_does_not_wait_for_it(clip):
    begun = threading.Event()

    def jobs():
        yield clip, 1
        os.kill(workers()[0], signal.SIGSTOP)
        begun.set()
        yield clip, 1

    stream = decode_ahead(jobs(), 1, VideoLimits(seconds=math.inf, exit_seconds=60.0))
    assert next(stream).outcome == "ok"
    assert begun.wait(LIMIT)
    in_time(stream.close, "the pool is closed")


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


@pytest.mark.parametrize("hangs", [False, True], ids=["idle", "hanging"])
def test_a_parent_that_is_killed_takes_its_workers_along(clip, hangs):
    script = (
        "import sys; from pathlib import Path; from faces.decode.pool import decode_ahead\n"
        "def jobs():\n yield Path(sys.argv[1]), 1\n print('given', flush=True)\n sys.stdin.read()\n"
        "for _ in decode_ahead(jobs(), 1): pass\n"
    )
    command = [sys.executable, "-c", script, str(clip)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == b"given\n"
        (pid,) = workers(parent.pid)
        if hangs:  # it does not see that its socket is closed, as one does not in the middle of a video
            os.kill(pid, signal.SIGSTOP)
            wait_until(lambda: state(pid) == "T", "the worker is frozen")
        parent.kill()
        parent.wait()
        wait_until(lambda: not alive(pid), "the worker is gone")


def test_a_parent_that_forgets_to_close_ends_all_the_same(clip):
    script = (
        "import sys; from pathlib import Path; from faces.decode.pool import decode_ahead\n"
        "stream = decode_ahead([(Path(sys.argv[1]), 1)] * 9, 2); next(stream)\n"
    )
    command = [sys.executable, "-X", "dev", "-c", script, str(clip)]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=300, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_damaged_videos_are_outcomes(clip, tmp_path):
    """There are 200 of them with DFDC_SLOW=1."""
    paths = make_fuzzed(tmp_path, clip, 200 if SLOW else 8, seed=1)
    results = list(decode_ahead([(path, 3) for path in paths], 2))
    assert sorted(decoded.path for decoded in results) == sorted(paths)
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


def test_frames_a_second_are_kept_where_the_header_tells_no_length(tmp_path):
    """As browsers record: the file is written before anybody knows how long it will be."""
    path = write_video(tmp_path / "recorder.webm", 50, codec="libvpx", options=FAST_VP, container_options={"live": "1"})
    assert probe(path).duration == 0
    decoder = Decoder(VideoLimits())
    decoded = decoder.decode(Job(str(path), 1, fps=4.0))
    decoder.close()
    assert (decoded.outcome, decoded.reason) == ("ok", "")
    assert len(decoded.frames.images) == 8  # of two seconds
