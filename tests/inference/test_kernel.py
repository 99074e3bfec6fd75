"""What Kaggle runs: finding, verifying, starting again, ending in time. The judge is a stand-in script here."""

import hashlib
import json
import sys
import time

import pandas as pd
import pytest

from common.errors import DfdcError
from inference.journal import Journal
from inference.kernel import ROOT, find, finish_from_journal, supervise, verify
from inference.result import VideoResult
from inference.schedule.duration import clock, parse_duration
from inference.videos import journal_of


def kaggle(folder):
    """An input folder as Kaggle mounts it: the competition's data, and a dataset with code and members."""
    for name in ("deepfake/test_videos/a.mp4", "deepfake/train_sample_videos/x.mp4",
                 "deepfake/train_sample_videos/y.mp4", "deepfake/sample_submission.csv", "dfdc/dfdc.py"):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"some bytes")
    write_manifest(folder / "dfdc", "dfdc.py")
    return folder


def write_manifest(folder, name, **changes):
    data = b"some bytes"
    entry = {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), **changes}
    (folder / "manifest.json").write_text(json.dumps({"files": [entry]}))
    return folder / "manifest.json"


def test_everything_is_found_by_walking(tmp_path):
    found = find(kaggle(tmp_path))
    assert found.videos == tmp_path / "deepfake" / "test_videos"
    assert found.sample == tmp_path / "deepfake" / "sample_submission.csv"
    assert found.root == tmp_path / "dfdc"


def test_a_manifest_without_code_beside_it_is_passed_over(tmp_path):
    (kaggle(tmp_path) / "dfdc" / "dfdc.py").unlink()
    assert find(tmp_path).root == ROOT


def test_without_test_videos_the_folder_with_the_most_is_taken(tmp_path):
    kaggle(tmp_path)
    (tmp_path / "deepfake" / "test_videos" / "a.mp4").unlink()
    assert find(tmp_path).videos.name == "train_sample_videos"


def test_an_input_without_videos_says_what_to_attach(tmp_path):
    with pytest.raises(DfdcError, match="attach the competition's data"):
        find(tmp_path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sha256": "0" * 64}, "differs from"),
        ({"bytes": 9}, "differs from"),
        ({"name": "gone.py"}, "gone.py is missing"),
        ({"name": "../outside.py"}, "does not lie below it"),
        ({"name": "/etc/passwd"}, "does not lie below it"),
        ({"bytes": "many"}, "is no manifest"),
    ],
)
def test_files_that_are_not_the_manifests_are_refused(tmp_path, changes, says):
    kaggle(tmp_path)
    manifest = write_manifest(tmp_path / "dfdc", **{"name": "dfdc.py", **changes})
    with pytest.raises(DfdcError, match=says):
        verify(manifest)


def script(tmp_path, text):
    """A stand-in for judging: it counts how often it was started."""
    path = tmp_path / "judge.py"
    counter = tmp_path / "starts"
    path.write_text(
        f"import os, signal, sys, time\nfrom pathlib import Path\nstarts = Path({str(counter)!r})\n"
        "n = int(starts.read_text()) + 1 if starts.exists() else 1\nstarts.write_text(str(n))\n"
        f"journal = Path({str(journal_of(tmp_path / 's.csv'))!r})\n" + text
    )
    return [sys.executable, str(path)], counter


def test_a_process_that_dies_is_started_again(tmp_path):
    command, counter = script(tmp_path, "journal.write_text('x' * n)\nif n < 6: os.kill(os.getpid(), signal.SIGKILL)\n")
    assert supervise(command, tmp_path / "s.csv", time.time() + 60) == 0
    assert counter.read_text() == "6"


def test_a_process_that_finishes_nothing_is_given_up(tmp_path, capfd):
    command, counter = script(tmp_path, "sys.exit(1)\n")
    assert supervise(command, tmp_path / "s.csv", time.time() + 60) == 1
    assert counter.read_text() == "3"
    assert "exit code 1" in capfd.readouterr().err


def test_what_dies_while_it_judges_is_tried_on_the_cpu(tmp_path, capfd):
    """As with a GPU that is lost: every process begins a video and dies, until one is told to use the CPU."""
    command, counter = script(
        tmp_path,
        "if '--device' not in sys.argv:\n"
        "    journal.open('a').write('00000000 {\"begin\":\"a.mp4\"}\\n')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n",
    )
    assert supervise(command, tmp_path / "s.csv", time.time() + 60) == 0
    assert counter.read_text() == "3"
    assert "starting it again, on the CPU" in capfd.readouterr().err


def test_a_video_that_kills_every_process_has_its_deaths(tmp_path):
    """Only then is it given up, and the others must still be judged."""
    command, counter = script(
        tmp_path,
        "if n <= 26:\n    journal.open('a').write('00000000 {\"begin\":\"a.mp4\"}\\n')\n    sys.exit(1)\n",
    )
    assert supervise(command, tmp_path / "s.csv", time.time() + 60) == 0
    assert counter.read_text() == "27"


def test_deaths_without_end_are_ended(tmp_path):
    command, counter = script(tmp_path, "journal.open('a').write('00000000 {\"begin\":\"a.mp4\"}\\n')\nsys.exit(1)\n")
    assert supervise(command, tmp_path / "s.csv", time.time() + 60) == 1
    assert counter.read_text() == "30"


def test_who_is_killed_while_it_starts_is_started_again(tmp_path):
    command, counter = script(tmp_path, "if n < 6: os.kill(os.getpid(), signal.SIGKILL)\n")
    assert supervise(command, tmp_path / "s.csv", time.time() + 60) == 0
    assert counter.read_text() == "6"


def test_at_the_deadline_it_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("inference.kernel.GRACE", 0.5)
    command, _ = script(tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)\n")
    began = time.time()
    assert supervise(command, tmp_path / "s.csv", began + 2) < 0
    assert time.time() - began < 10


def test_the_submission_is_finished_from_the_journal(tmp_path):
    output = tmp_path / "s.csv"
    output.write_text("filename,label\nb.mp4,0.500000\na.mp4,0.500000\n")
    journal = Journal(journal_of(output), {"blend": "b"})
    journal.add(VideoResult("a.mp4", "ok", 0.25), 1)
    journal.add(VideoResult("not asked for.mp4", "ok", 0.75), 1)
    journal.close()
    with journal_of(output).open("ab") as handle:
        handle.write(b"12345678 {half a l")
    assert finish_from_journal(output, journal_of(output)) == 1
    assert pd.read_csv(output).to_numpy().tolist() == [["b.mp4", 0.5], ["a.mp4", 0.25]]


def test_without_a_journal_the_prior_stays(tmp_path):
    output = tmp_path / "s.csv"
    output.write_text("filename,label\na.mp4,0.500000\n")
    assert finish_from_journal(output, journal_of(output)) == 0
    assert pd.read_csv(output)["label"].tolist() == [0.5]


@pytest.mark.parametrize(
    ("text", "seconds"), [("9h", 32400), ("90m", 5400), ("1h30m", 5400), ("45", 45), ("0.5s", 0.5)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "nine hours", "-3m", "1h 30", "9hh"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_clock():
    assert [clock(s) for s in (-1, 59.6, 3725.4)] == ["0:00:00", "0:01:00", "1:02:05"]
