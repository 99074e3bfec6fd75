"""What Kaggle runs: finding the videos, starting again, ending in time. A stand-in script predicts here."""

import hashlib
import json
import sys
import time

import pandas as pd
import pytest

from common.errors import DfdcError
from inference.journal import Journal
from inference.kernel import Found, find, finish_from_journal, main, supervise
from inference.result import VideoResult
from inference.schedule.duration import clock, parse_duration
from inference.videos import journal_of

MOUNTS = ["deepfake-detection-challenge", "competitions/deepfake-detection-challenge"]


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"some bytes")


def kaggle(folder, mount=MOUNTS[0]):
    """An input folder as Kaggle mounts it: the competition's data."""
    write(folder / mount, "test_videos/a.mp4", "train_sample_videos/x.mp4", "train_sample_videos/y.mp4",
          "sample_submission.csv")  # fmt: skip
    return folder / mount


def foreign(folder):
    """A dataset of somebody else that looks like code and members, and like the competition's data."""
    write(folder, "dfdc.py", "models/weights/blend.json", "sample_submission.csv",
          *(f"test_videos/{n}.mp4" for n in range(9)))  # fmt: skip
    entry = {"name": "dfdc.py", "bytes": 10, "sha256": hashlib.sha256(b"some bytes").hexdigest()}
    (folder / "manifest.json").write_text(json.dumps({"files": [entry]}))


def verified_tree(folder):
    """A stand-in for the tree that the start script has verified; it writes the arguments of `dfdc predict`."""
    folder.mkdir()
    (folder / "dfdc.py").write_text(
        "import json, pathlib, sys\n"
        "output = pathlib.Path(sys.argv[sys.argv.index('-o') + 1])\n"
        "output.write_text(json.dumps([__file__, *sys.argv[1:]]))\n"
    )
    return folder


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize("place", ["a-foreign-set", "datasets/someone/zz-foreign", "zz/deepfake-detection-challenge"])
def test_a_foreign_dataset_changes_nothing(tmp_path, mount, place):
    competition = kaggle(tmp_path / "input", mount)
    tree, output = verified_tree(tmp_path / "tree"), tmp_path / "s.csv"
    options = ["--input", str(tmp_path / "input"), "--output", str(output), "--tree", str(tree), "--budget", "1h"]
    assert main(options) == 0
    before = json.loads(output.read_text())
    assert "--prior" not in before, "DFDC's test set is half and half"
    foreign(tmp_path / "input" / place)
    assert main(options) == 0
    after = json.loads(output.read_text())
    assert after == before
    assert after[0] == str(tree / "dfdc.py")
    assert after[2] == str(competition / "test_videos")
    assert after[after.index("--members") + 1] == str(tree / "models" / "weights")
    assert after[after.index("--sample") + 1] == str(competition / "sample_submission.csv")


def test_two_mounts_of_the_competition_are_an_error(tmp_path):
    for mount in MOUNTS:
        kaggle(tmp_path, mount)
    with pytest.raises(DfdcError, match=r"(?s)2 folders.*deepfake.*competitions/deepfake"):
        find(tmp_path)


@pytest.mark.parametrize("names", [("train/a.mp4", "train/b.mp4", "other/c.mp4"),
                                   ("one/test_videos/a.mp4", "two/test_videos/b.mp4")])  # fmt: skip
def test_several_folders_that_may_be_meant_are_listed(tmp_path, names):
    write(tmp_path, *names)
    with pytest.raises(DfdcError) as error:
        find(tmp_path)
    for name in names:
        assert str((tmp_path / name).parent) in str(error.value)
    assert "--videos" in str(error.value)


def test_test_wins_over_a_fuller_train(tmp_path):
    write(tmp_path / MOUNTS[0], "train/a.mp4", "train/b.mp4", "test/c.mp4")
    assert find(tmp_path).videos == tmp_path / MOUNTS[0] / "test"


def test_an_empty_test_folder_is_not_replaced_by_another(tmp_path):
    (kaggle(tmp_path) / "test_videos" / "a.mp4").unlink()
    with pytest.raises(DfdcError, match="test_videos has no video"):
        find(tmp_path)


def test_the_only_folder_with_videos_is_taken(tmp_path):
    write(tmp_path, "clips/a.mp4")
    assert find(tmp_path) == Found(tmp_path / "clips", None)


def test_two_samples_are_an_error_that_lists_them(tmp_path):
    write(tmp_path, "clips/a.mp4", "one/sample_submission.csv", "two/sample_submission.csv")
    with pytest.raises(DfdcError, match=r"(?s)--sample.*one.*two"):
        find(tmp_path)


def test_videos_and_sample_can_be_given(tmp_path):
    kaggle(tmp_path)
    write(tmp_path, "mine/b.mp4", "mine.csv")
    found = find(tmp_path, videos=tmp_path / "mine", sample=tmp_path / "mine.csv")
    assert found == Found(tmp_path / "mine", tmp_path / "mine.csv")


@pytest.mark.parametrize("given", [{"videos": "gone"}, {"sample": "gone.csv"}])
def test_what_is_given_and_not_there_is_an_error(tmp_path, given):
    kaggle(tmp_path)
    with pytest.raises(DfdcError, match="gone"):
        find(tmp_path, **{name: tmp_path / value for name, value in given.items()})


def test_an_input_without_videos_says_what_to_attach(tmp_path):
    with pytest.raises(DfdcError, match="attach the competition's data"):
        find(tmp_path)


def script(tmp_path, text):
    """A stand-in for `dfdc predict`: it counts how often it was started."""
    path = tmp_path / "predict.py"
    counter = tmp_path / "starts"
    path.write_text(
        f"import os, signal, sys, time\nfrom pathlib import Path\nstarts = Path({str(counter)!r})\n"
        "n = int(starts.read_text()) + 1 if starts.exists() else 1\nstarts.write_text(str(n))\n"
        f"journal = Path({str(journal_of(tmp_path / 's.csv'))!r})\n" + text
    )
    return [sys.executable, str(path)], counter


def test_a_process_that_dies_is_started_again(tmp_path):
    command, counter = script(tmp_path, "journal.write_text('x' * n)\nif n < 6: os.kill(os.getpid(), signal.SIGKILL)\n")
    assert supervise(command, tmp_path / "s.csv", time.time() + 600) == 0
    assert counter.read_text() == "6"


def test_a_process_that_finishes_nothing_is_given_up(tmp_path, capfd):
    command, counter = script(tmp_path, "sys.exit(1)\n")
    assert supervise(command, tmp_path / "s.csv", time.time() + 600) == 1
    assert counter.read_text() == "3"
    assert "exit code 1" in capfd.readouterr().err


def test_what_dies_in_the_middle_of_a_video_is_tried_on_the_cpu(tmp_path, capfd):
    """As with a GPU that is lost: every process begins a video and dies, until one is told to use the CPU."""
    command, counter = script(
        tmp_path,
        "if '--device' not in sys.argv:\n"
        "    journal.open('a').write('00000000 {\"begin\":\"a.mp4\"}\\n')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n",
    )
    assert supervise(command, tmp_path / "s.csv", time.time() + 600) == 0
    assert counter.read_text() == "3"
    assert "starting it again, on the CPU" in capfd.readouterr().err


def test_a_video_that_kills_every_process_has_its_deaths(tmp_path):
    """Only then is it given up, and the others must still be predicted."""
    command, counter = script(
        tmp_path,
        "if n <= 26:\n    journal.open('a').write('00000000 {\"begin\":\"a.mp4\"}\\n')\n    sys.exit(1)\n",
    )
    assert supervise(command, tmp_path / "s.csv", time.time() + 600) == 0
    assert counter.read_text() == "27"


def test_deaths_without_end_are_ended(tmp_path):
    command, counter = script(tmp_path, "journal.open('a').write('00000000 {\"begin\":\"a.mp4\"}\\n')\nsys.exit(1)\n")
    assert supervise(command, tmp_path / "s.csv", time.time() + 600) == 1
    assert counter.read_text() == "30"


def test_who_is_killed_while_it_starts_is_started_again(tmp_path):
    command, counter = script(tmp_path, "if n < 6: os.kill(os.getpid(), signal.SIGKILL)\n")
    assert supervise(command, tmp_path / "s.csv", time.time() + 600) == 0
    assert counter.read_text() == "6"


def test_at_the_deadline_it_is_ended(tmp_path, monkeypatch):
    """The process would run for an hour, and does not listen to SIGTERM."""
    monkeypatch.setattr("inference.kernel.GRACE", 0.5)
    command, _ = script(tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(3600)\n")
    began = time.time()
    assert supervise(command, tmp_path / "s.csv", began + 2) < 0
    assert time.time() - began < 600


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
