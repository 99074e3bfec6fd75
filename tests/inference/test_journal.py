import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.errors import DfdcError
from inference.journal import Journal, results_of
from inference.result import PersonResult, ScoredFace, VideoResult

ABOUT = {"blend": "b1", "members": {"a": "1" * 64}, "frames": 32}
FACE = ScoredFace(3, 0.1, 1, np.array([1.1, 2.2, 3.3, 4.4], dtype=np.float32), 0.9, "back", {"a": -1 / 3}, 1 / 7)
RESULT = VideoResult(
    "x.mp4", "ok", 2 / 3, "odd: \u00e9\ud83d", 1920, 1080, 29.97, 300, 10.01, (FACE,), (PersonResult(1, 32, 2 / 3),),
    seconds={"decode": 0.1},
)  # fmt: skip

# A journal as version 1 of the format writes it. Users have such files: they must be read as long as there is a dfdc.
WRITTEN_BEFORE = (
    rb'4e254ed1 {"journal":1,"blend":"b1","members":{"a":"111111111111111111111111111111111111111111111'
    rb'1111111111111111111"},"frames":32}'
    b"\n"
    rb'a76d4450 {"begin":"x.mp4"}'
    b"\n"
    rb'f8a15e9f {"done":{"filename":"x.mp4","status":"ok","prob_fake":0.6666666666666666,"reason":"odd:'
    rb' \u00e9\ud83d","width":1920,"height":1080,"fps":29.97,"frames":300,"duration":10.01,"faces":[{"f'
    rb'rame":3,"second":0.1,"person":1,"box_xyxy":[1.100000023841858,2.200000047683716,3.29999995231628'
    rb'4,4.400000095367432],"score":0.9,"step":"back","logits":{"a":-0.3333333333333333},"prob_fake":0.'
    rb'14285714285714285}],"people":[{"person":1,"frames":32,"prob_fake":0.6666666666666666}],"seconds"'
    rb':{"decode":0.1,"detect":0.2,"judge":0.3},"cpu":{"judge":0.25}},"size":7}'
    b"\n"
    rb'011a4fe4 {"begin":"y.mp4"}'
    b"\n"
)


def opened(path, about=ABOUT, **options):
    return Journal(path, about, **options)


def filled(path, count=5):
    journal = opened(path)
    for i in range(count):
        journal.add(VideoResult(f"v{i}.mp4", "ok", i / 7), size=100 + i)
    journal.close()
    return path


def test_what_was_written_is_read_back_to_the_last_bit(tmp_path):
    journal = opened(tmp_path / "j")
    journal.add(RESULT, size=7)
    journal.close()
    again = opened(tmp_path / "j").known("x.mp4", 7)
    assert repr(again) == repr(RESULT)
    assert (again.prob_fake, again.faces[0].prob_fake, again.faces[0].logits) == (2 / 3, 1 / 7, {"a": -1 / 3})
    assert again.faces[0].box_xyxy.dtype == np.float32


def test_a_journal_that_an_older_version_wrote_is_read(tmp_path):
    (tmp_path / "j").write_bytes(WRITTEN_BEFORE)
    journal = opened(tmp_path / "j")
    result = journal.known("x.mp4", 7)
    assert repr(result) == repr(
        replace(RESULT, seconds={"decode": 0.1, "detect": 0.2, "judge": 0.3}, cpu={"judge": 0.25})
    )
    assert result.faces[0].detector == "back"
    assert journal.begun == {"x.mp4": 1, "y.mp4": 1}
    assert results_of(tmp_path / "j") == {"x.mp4": 2 / 3}
    journal.close()


def test_what_is_written_is_what_an_older_version_reads(tmp_path):
    journal = opened(tmp_path / "j")
    journal.begin("x.mp4")
    journal.add(replace(RESULT, seconds={"decode": 0.1, "detect": 0.2, "judge": 0.3}, cpu={"judge": 0.25}), size=7)
    journal.begin("y.mp4")
    journal.close()
    assert (tmp_path / "j").read_bytes() == WRITTEN_BEFORE


def test_a_file_of_another_size_is_scored_again(tmp_path):
    filled(tmp_path / "j")
    journal = opened(tmp_path / "j")
    assert journal.known("v1.mp4", 101).prob_fake == 1 / 7
    assert journal.known("v1.mp4", 999) is None
    assert journal.known("new.mp4", 1) is None


def test_cut_anywhere_it_loses_the_torn_line_and_nothing_else(tmp_path):
    whole = filled(tmp_path / "whole").read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in range(0, len(whole), 3):
        path = tmp_path / "cut"
        path.write_bytes(whole[:cut])
        journal = opened(path)
        complete = sum(end <= cut for end in ends)
        assert len(journal.results) == max(0, complete - 1)
        journal.add(VideoResult("late.mp4", "ok", 0.5), size=1)
        journal.close()
        again = opened(path)
        assert set(again.results) == set(journal.results)
        again.close()


def test_a_damaged_line_costs_one_video(tmp_path, capsys):
    data = bytearray(filled(tmp_path / "j").read_bytes())
    data[data.index(b"v2.mp4")] ^= 1
    (tmp_path / "j").write_bytes(data)
    assert set(opened(tmp_path / "j").results) == {"v0.mp4", "v1.mp4", "v3.mp4", "v4.mp4"}
    assert "1 damaged lines" in capsys.readouterr().err


def test_a_damaged_first_line_is_refused(tmp_path):
    data = bytearray(filled(tmp_path / "j").read_bytes())
    data[12] ^= 1
    (tmp_path / "j").write_bytes(data)
    with pytest.raises(DfdcError, match=r"first line .* is damaged"):
        opened(tmp_path / "j")
    assert opened(tmp_path / "j", restart=True).results == {}


@pytest.mark.parametrize("other", [{"blend": "b2"}, {"members": {"a": "2" * 64}}, {"frames": 16}])
def test_another_run_is_refused_and_told_what_differs(tmp_path, other):
    filled(tmp_path / "j")
    before = (tmp_path / "j").read_bytes()
    with pytest.raises(DfdcError, match=f"with {next(iter(other))} .* --restart"):
        opened(tmp_path / "j", {**ABOUT, **other})
    assert (tmp_path / "j").read_bytes() == before
    opened(tmp_path / "j").close()  # the refused one has let go of the lock


def test_restart_forgets(tmp_path):
    filled(tmp_path / "j")
    journal = opened(tmp_path / "j", {"blend": "b2"}, restart=True)
    assert journal.results == {}
    journal.close()
    with pytest.raises(DfdcError):
        opened(tmp_path / "j")


def test_a_journal_that_says_nothing_of_sparing_is_of_all_frames(tmp_path):
    opened(tmp_path / "j", ABOUT).close()
    with pytest.raises(DfdcError, match="sparing False, and this one has True"):
        opened(tmp_path / "j", ABOUT | {"sparing": True})
    opened(tmp_path / "j", ABOUT | {"sparing": False}).close()


@pytest.mark.parametrize(("before", "now"), [(None, 0.02), (0.02, 0.0), (0.02, 0.01)])
def test_another_tolerance_is_another_run(tmp_path, before, now):
    """A journal that says nothing of it is of a run that scored all faces."""
    opened(tmp_path / "j", ABOUT if before is None else ABOUT | {"tolerance": before}).close()
    with pytest.raises(DfdcError, match=f"tolerance {before or 0.0}, and this one has {now}"):
        opened(tmp_path / "j", ABOUT | {"tolerance": now})
    opened(tmp_path / "j", ABOUT | {"tolerance": before or 0.0}).close()


def test_two_runs_do_not_share_a_journal(tmp_path):
    first = opened(tmp_path / "j")
    with pytest.raises(DfdcError, match="another run is writing"):
        opened(tmp_path / "j")
    first.close()
    opened(tmp_path / "j").close()


def test_who_was_begun_and_not_finished_is_suspect(tmp_path):
    for _ in range(2):
        journal = opened(tmp_path / "j")
        journal.begin("v.mp4")
        journal.close()
    assert opened(tmp_path / "j").begun["v.mp4"] == 2


def test_removed_when_the_run_is_over(tmp_path):
    journal = opened(tmp_path / "j")
    journal.close(remove=True)
    assert not (tmp_path / "j").exists()


def test_a_full_disk_ends_the_journal_and_not_the_run(tmp_path, monkeypatch, capsys):
    journal = opened(filled(tmp_path / "j", 2))
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: write(file, data[:10], at))
    journal.add(VideoResult("late.mp4", "ok", 0.5), size=1)
    monkeypatch.setattr(os, "pwrite", refuse)
    journal.add(VideoResult("later.mp4", "ok", 0.5), size=1)
    assert set(journal.results) == {"v0.mp4", "v1.mp4", "late.mp4", "later.mp4"}
    assert capsys.readouterr().err.count("the run goes on") == 1
    journal.close()
    monkeypatch.undo()
    assert set(opened(tmp_path / "j").results) == {"v0.mp4", "v1.mp4"}


def refuse(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_kill_9_loses_at_most_the_line_being_written(tmp_path):
    script = (
        "import sys; from pathlib import Path; from inference.journal import Journal; "
        "from inference.result import VideoResult\n"
        f"j = Journal(Path({str(tmp_path / 'j')!r}), {ABOUT!r})\n"
        "i = 0\n"
        "while True:\n"
        "    j.add(VideoResult(f'v{i}.mp4', 'ok', i / 7), 1); print(i, flush=True); i += 1\n"
    )
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=root, text=True) as process:
        said = [process.stdout.readline() for _ in range(50)]
        process.kill()
        said += process.stdout.readlines()
    finished = len([line for line in said if line.endswith("\n")])
    assert finished <= len(opened(tmp_path / "j").results) <= finished + 1
