"""The commands from members to a score, with the real client against the stand-in."""

import json
import time
from types import SimpleNamespace

import pandas as pd
import pytest
from typer.testing import CliRunner

from cli import kaggle_steps as steps
from cli.kaggle_options import DFDC
from common.errors import DfdcError
from common.files import sha256_of
from dfdc import app
from tests.kaggle_dataset.kernels import OUTPUT, answer_pulls


@pytest.fixture
def desk(fake_kaggle, blended, tiny, tmp_path, monkeypatch):
    """A user's folder and environment, the stand-in behind it; pauses are short, and the dry run has its own tests."""
    for name, value in fake_kaggle.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    hurried = SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: time.sleep(min(seconds, 0.05)))
    monkeypatch.setattr("kaggle_dataset.submit.polling.time", hurried)
    monkeypatch.setattr(steps, "can_ask", lambda: True)
    dry_runs = []

    def dry_run(folder, *_):
        dry_runs.append(folder)
        (folder / steps.DRY_RUN_REPORT).write_text("{}")
        return "passed"

    monkeypatch.setattr(steps, "dry_run", dry_run)
    fake_kaggle.service.outputs["submission.csv"] = OUTPUT
    answer_pulls(fake_kaggle.service)

    def run(*arguments, answer=None):
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=answer)

    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").touch()  # looked at by the dry run alone
    common = ("--owner", fake_kaggle.service.user, "--members", blended, "--videos", "clips", "--per-day", 2,
              "--competition", "one-that-is-open")  # fmt: skip
    return SimpleNamespace(
        run=run, common=common, dry_runs=dry_runs, service=fake_kaggle.service, asked=fake_kaggle.asked
    )


def count(desk):
    """How often something was made that cannot be taken back."""
    calls = ("CreateDataset", "CreateDatasetVersion", "SaveKernel", "CreateCodeSubmission")
    return [len(desk.asked(call)) for call in calls]


@pytest.mark.slow
def test_from_members_to_a_score_and_not_twice(desk, tmp_path):
    done = desk.run("ship", *desk.common, "--yes")
    assert done.exit_code == 0, done.output
    assert count(desk) == [1, 0, 1, 1]
    (built,) = desk.dry_runs
    ref = f"{desk.service.user}/dfdc-ensemble"
    stored = desk.service.stored(ref, 1)
    manifest = json.loads((built / "dataset" / "manifest.json").read_text())
    assert {p.name: sha256_of(p) for p in stored.iterdir() if p.name != "manifest.json"} == {
        entry["name"]: entry["sha256"] for entry in manifest["files"]
    }
    assert (stored / "manifest.json").read_bytes() == (built / "dataset" / "manifest.json").read_bytes()
    (ledger,) = pd.read_csv(tmp_path / "submissions.csv").to_dict("records")
    assert (ledger["status"], ledger["public_score"], ledger["version"]) == ("complete", 0.42, 1)
    assert ledger["manifest"] == sha256_of(built / "dataset" / "manifest.json")
    again = desk.run("ship", *desk.common, "--yes")
    assert again.exit_code == 0, again.output
    assert count(desk) == [1, 0, 1, 1]
    for told in ("there already, the same", "dry run of", "was passed before", "nothing was sent"):
        assert told in again.output


@pytest.mark.slow
def test_dfdc_itself_ends_before_a_session_is_spent(desk):
    done = desk.run("ship", *desk.common, "--yes", "--competition", DFDC)
    assert isinstance(done.exception, DfdcError)
    assert "takes no submissions any more" in str(done.exception)
    assert count(desk) == [1, 0, 0, 0]


@pytest.mark.slow
def test_another_blend_is_the_next_version_and_the_third_of_a_day_is_refused(desk, blended):
    assert desk.run("ship", *desk.common, "--yes").exit_code == 0
    second = desk.run("ship", *desk.common, "--yes", "--license", "CC0-1.0")
    assert second.exit_code == 0, second.output
    assert count(desk) == [1, 1, 2, 2]
    third = desk.run("ship", *desk.common, "--yes", "--license", "other")
    assert third.exit_code != 0
    assert count(desk) == [1, 2, 3, 2]
    assert "2 submissions" in str(third.exception), third.exception


@pytest.mark.slow
def test_each_step_by_itself(desk):
    assert desk.run("upload").exit_code != 0  # nothing is built
    assert desk.run("build", *desk.common[:4]).exit_code == 0
    early = desk.run("submit", "--yes")
    assert "first: dfdc push" in str(early.exception)
    assert count(desk) == [0, 0, 0, 0]
    for step in (("upload",), ("push",), ("submit", "--yes")):
        done = desk.run(*step)
        assert done.exit_code == 0, done.output
    assert count(desk) == [1, 0, 1, 1]
    assert "complete, public 0.42, private 0.43" in done.output
    assert "version 2" in desk.run("push", "--anew").output
    assert count(desk) == [1, 0, 2, 1]


def test_a_dry_run_of_each_step_sends_nothing(desk, tmp_path):
    preview = desk.run("build", *desk.common[:4], "--dry-run")
    assert preview.exit_code == 0, preview.output
    assert "would be" in preview.output
    assert not (tmp_path / "build" / steps.LAST).exists()
    done = desk.run("ship", *desk.common, "--dry-run")
    assert done.exit_code == 0, done.output
    assert count(desk) == [0, 0, 0, 0]
    assert not desk.service.datasets
    for told in ("version 1: would be", "would push", "would submit"):
        assert told in done.output


@pytest.mark.slow
def test_a_submission_is_asked_for(desk):
    done = desk.run("ship", *desk.common, answer="n\n")
    assert "was not submitted" in str(done.exception)
    assert count(desk) == [1, 0, 1, 0]
    assert desk.run("submit", answer="y\n").exit_code == 0
    assert count(desk) == [1, 0, 1, 1]


def test_a_dry_run_that_fails_stops_all_that_follows(desk, monkeypatch):
    def fail(*_):
        raise DfdcError("a connection was opened")

    monkeypatch.setattr(steps, "dry_run", fail)
    assert desk.run("ship", *desk.common, "--yes").exit_code != 0
    assert count(desk) == [0, 0, 0, 0]


@pytest.mark.parametrize("text", ["alice/more", "alice=5", "alice/more=many"])
def test_what_is_no_other_dataset(desk, text):
    done = desk.run("build", *desk.common[:4], "--other", text)
    assert "owner/slug=bytes" in str(done.exception)


def test_a_look_alone_builds_and_sends_nothing(desk, tmp_path):
    done = desk.run("ship", *desk.common, "--check", "--competition", "https://www.kaggle.com/c/some-competition")
    assert done.exit_code == 0, done.output
    assert "signed in as" in done.output
    assert "some-competition" in done.output
    assert (count(desk), desk.dry_runs) == ([0, 0, 0, 0], [])
    assert not (tmp_path / "build" / "last").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--owner", "Alice", "--yes"), "--owner alice"),
        (("--competition", "--help-me", "--yes"), "no name of a competition"),
        ((), "give --yes"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_built(desk, tmp_path, monkeypatch, more, words):
    monkeypatch.setattr(steps, "can_ask", lambda: False)
    done = desk.run("ship", *desk.common, *more)
    assert done.exit_code != 0
    assert words in f"{done.output}{done.exception}"
    assert not (tmp_path / "build" / "last").exists()


def test_submit_without_a_terminal_says_so_before_anything_else():
    done = CliRunner().invoke(app, ["submit", "no-such-build"])
    assert isinstance(done.exception, ValueError)
    assert "give --yes" in str(done.exception)
