"""A run that is stopped, resumed, short of time, or short of disk."""

import dataclasses
import errno
import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

from common.errors import DfdcError
from ensemble.blend import Blend, FallbackEnsemble
from ensemble.convex import Mix
from ensemble.facts import ExpectedLoss, Facts
from ensemble.prior import Prior, estimate_prior, with_prior
from inference import submission
from inference.evaluate import evaluate_videos
from inference.outputs import to_json, to_json_line
from inference.pipeline import Pipeline, PredictOptions, make_pipeline
from inference.predict import PredictRequest, predict
from inference.result import VideoResult
from inference.run import DEATHS, open_journal, predict_videos, with_second_look
from inference.schedule.budget import make_scheduler
from inference.schedule.planner import Planner
from inference.schedule.plans import Plan, make_plans
from inference.schedule.scheduler import BudgetScheduler
from inference.submission import write_submission
from inference.verdict import verdict_of
from inference.videos import journal_of
from tests.inference.schedule.following import follow
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = PredictOptions(frames=3, decoders=1)


@pytest.fixture(scope="module")
def blend():
    fallback = FallbackEnsemble(("first",), Mix.equal(1), 0.4)
    return Blend(
        ("first", "second"), Mix.equal(2), fallbacks=(fallback,), facts=Facts(expected_log_loss=ExpectedLoss(0.35))
    )


@pytest.fixture(scope="module")
def pipeline(members, blend):
    return make_pipeline(OPTIONS, torch.device("cpu"), members, blend=blend)


@pytest.fixture(scope="module")
def videos(media, tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for i, name in enumerate(("single_face.mp4", "noface_face.mov", "no_face.mp4") * 2):
        shutil.copy(media / name, folder / f"{i}{Path(name).suffix}")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def undisturbed(pipeline, videos, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed") / "s.csv"
    predict_videos(pipeline, videos, output)
    return output.read_bytes()


@pytest.mark.slow
def test_a_given_share_of_fakes_counts_from_the_first_video_on(members, videos, blend, undisturbed, tmp_path):
    moved = dataclasses.replace(blend, prior=0.2)
    told = []
    other = make_pipeline(OPTIONS, torch.device("cpu"), members, blend=moved)
    run = predict_videos(other, videos, tmp_path / "s.csv", on_result=told.append)
    half = pd.read_csv(io.BytesIO(undisturbed))["label"].to_numpy()
    found = pd.read_csv(tmp_path / "s.csv")["label"].to_numpy()
    assert found == pytest.approx(with_prior(half, 0.2), abs=2e-6), "none of these reaches the clip"
    assert found[2] == 0.2, "a video without a face has the prior"
    assert [result.prob_fake for result in told] == [result.prob_fake for result in run.results]
    assert json.loads(to_json(run, moved))["prior"] == {"share": 0.2, "how": "given"}


@pytest.mark.slow
def test_an_estimated_share_is_followed_when_all_videos_are_known(members, videos, blend, tmp_path):
    blend = dataclasses.replace(blend, mix=Mix(np.array([0.5, 0.5]), shift=-4.0), clip=(0.0, 1.0))  # says: all real
    pipeline = make_pipeline(OPTIONS, torch.device("cpu"), members, blend=blend)
    journal = open_journal(pipeline, tmp_path / "s.csv")
    run = predict_videos(pipeline, videos, tmp_path / "s.csv", journal=journal, estimate=True)
    plain = list(pipeline.run(videos))
    free = np.array([result.people[0].prob_fake for result in plain if result.faces])  # one person each: the video's
    share = estimate_prior(free)
    assert run.prior.share == pytest.approx(share, abs=1e-6)
    assert run.prior.low <= share < run.prior.high < 0.5
    moved = dataclasses.replace(blend, prior=run.prior.share)
    found = pd.read_csv(tmp_path / "s.csv")["label"].to_numpy()
    assert found[2] == pytest.approx(moved.unseen, abs=1e-6)
    expected = with_prior(free, run.prior.share)
    assert expected.max() < 0.1 * free.max()
    assert found[[i for i, result in enumerate(plain) if result.faces]] == pytest.approx(expected, abs=2e-6)
    assert run.results[0].faces[0].prob_fake == pytest.approx(
        with_prior(np.array([plain[0].faces[0].prob_fake]), run.prior.share)[0]
    )
    values = json.loads(to_json(run, moved))["prior"]
    assert values["how"] == "estimated"
    assert set(values) == {"share", "how", "estimate", "low", "high"}
    assert not journal_of(tmp_path / "s.csv").exists()


@pytest.fixture(scope="module")
def nested(videos, tmp_path_factory):
    """Two videos of one name in two folders, one with a face and one without, and the labels of their data set."""
    folder = tmp_path_factory.mktemp("nested")
    for name, source in (("one/x.mp4", videos[0]), ("two/x.mp4", videos[2]), ("two/y.mp4", videos[0])):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(source, folder / name)
    return folder


@pytest.mark.slow
def test_videos_of_one_name_in_two_folders_have_a_row_each(members, nested, undisturbed, tmp_path):
    asked = PredictRequest(
        [nested], tmp_path / "s.csv", frames=3, members=members, device="cpu", recursive=True,
        budget="10m", reserve="1s", report=tmp_path / "r.html", probabilities=tmp_path / "p.csv",
    )  # fmt: skip
    found = {result.filename: result for result in predict(asked).run.results}
    assert {name: result.status for name, result in found.items()} == {
        "one/x.mp4": "ok", "two/x.mp4": "no_face", "two/y.mp4": "ok",
    }  # fmt: skip
    rows = pd.read_csv(tmp_path / "s.csv", index_col="filename")["label"]
    assert list(rows.index) == ["one/x.mp4", "two/x.mp4", "two/y.mp4"]
    assert rows["one/x.mp4"] == rows["two/y.mp4"] != rows["two/x.mp4"] == 0.5
    assert set(pd.read_csv(tmp_path / "p.csv")["filename"]) == set(found)
    assert "two/x.mp4" in (tmp_path / "r.html").read_text()


def test_a_sample_of_file_names_and_a_journal_of_paths(members, nested, tmp_path):
    sample = tmp_path / "sample.csv"
    sample.write_text("filename,label\ny.mp4,0.5\none/x.mp4,0.5\n")
    asked = PredictRequest(
        [nested], tmp_path / "s.csv", frames=3, members=members, device="cpu", recursive=True, sample=sample
    )
    assert [(r.filename, r.status) for r in predict(asked).run.results] == [("y.mp4", "ok"), ("one/x.mp4", "ok")]


@pytest.mark.slow
def test_an_evaluation_finds_videos_by_their_paths(pipeline, nested, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("filename,label\none/x.mp4,FAKE\ntwo/x.mp4,REAL\ntwo/y.mp4,REAL\n")
    found = evaluate_videos(pipeline, [nested], labels, tmp_path / "e.csv")
    assert found.scores["blend"] is not None
    assert list(pd.read_csv(tmp_path / "e.csv")["filename"]) == ["one/x.mp4", "two/x.mp4", "two/y.mp4"]


def test_half_and_half_is_what_is_assumed_unless_it_is_asked_otherwise(pipeline, videos, undisturbed, tmp_path):
    run = predict_videos(pipeline, videos[:1], tmp_path / "s.csv")
    assert run.prior == Prior()
    assert run.prior.sentence() == ""
    assert (tmp_path / "s.csv").read_bytes().splitlines() == undisturbed.splitlines()[:2]


@pytest.mark.slow
def test_whoever_asks_for_an_estimate_is_told_results_that_follow_it(members, videos, blend, tmp_path):
    dataclasses.replace(blend, mix=Mix(np.array([0.5, 0.5]), shift=-4.0)).write(tmp_path / "blend.json")
    told = []
    asked = PredictRequest(
        videos, tmp_path / "s.csv", frames=3, members=members, blend=tmp_path / "blend.json", device="cpu",
        report=tmp_path / "r.html", prior="em", on_result=lambda *both: told.append(both),
    )  # fmt: skip
    result = predict(asked)
    assert result.blend.prior == result.run.prior.share < 0.1
    assert [each.prob_fake for each, _ in told] == [each.prob_fake for each in result.run.results]
    assert [verdict.kind for _, verdict in told] == ["no sign found", "no sign found", "cannot say"] * 2
    assert all("if half of the videos were fake" in verdict.grounds for _, verdict in told[:2])
    sentence = result.run.prior.sentence()
    assert sentence in result.summary()
    assert sentence in (tmp_path / "r.html").read_text()
    with pytest.raises(ValueError, match="--prior is 20; a share of fakes lies between 0 and 1"):
        predict(dataclasses.replace(asked, prior="20"))


@pytest.mark.slow
def test_what_few_videos_say_of_the_share_is_told_and_not_followed(pipeline, videos, undisturbed, tmp_path):
    run = predict_videos(pipeline, videos, tmp_path / "s.csv", estimate=True)
    assert (tmp_path / "s.csv").read_bytes() == undisturbed
    assert (run.prior.share, run.prior.how) == (0.5, "estimated")
    assert "does not differ clearly from half" in run.prior.sentence()


def test_where_no_video_was_scored_no_share_is_estimated(pipeline, media, tmp_path):
    run = predict_videos(pipeline, [media / "no_face.mp4"], tmp_path / "s.csv", estimate=True)
    assert run.prior == Prior()
    assert run.results[0].prob_fake == 0.5


def test_every_row_is_told_also_one_without_a_video(pipeline, videos, tmp_path):
    sample, told = tmp_path / "sample.csv", []
    sample.write_text(f"filename,label\nmissing.mp4,0.5\n{videos[0].name},0.5\n")
    run = predict_videos(pipeline, videos[:1], tmp_path / "s.csv", sample, on_result=told.append)
    assert [result.filename for result in told] == [videos[0].name, "missing.mp4"]
    assert {result.filename for result in run.results} == {result.filename for result in told}


class Killed(BaseException):
    """Nothing catches it, as nothing catches a signal."""


@pytest.mark.slow
def test_stopped_anywhere_it_goes_on_to_the_same_bytes(pipeline, videos, undisturbed, tmp_path, monkeypatch, capsys):
    output = tmp_path / "s.csv"
    finish, left = pipeline._finish, [2]

    def dies(*arguments):
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return finish(*arguments)

    monkeypatch.setattr(pipeline, "_finish", dies)
    for _ in range(2):
        left[0] = 2
        journal = open_journal(pipeline, output)
        with pytest.raises(Killed):
            predict_videos(pipeline, videos, output, journal=journal)
        journal.close()
    assert len(pd.read_csv(output)) == 6  # the submission is whole all the time
    monkeypatch.undo()
    run = predict_videos(pipeline, videos, output, journal=open_journal(pipeline, output))
    assert output.read_bytes() == undisturbed
    assert "4 of 6 videos were finished before" in capsys.readouterr().err
    assert len(run.results[0].faces) == 3  # what was finished before is known to the last face
    assert [p.name for p in tmp_path.iterdir()] == ["s.csv"]


def test_a_link_to_nowhere_is_journalled_too(pipeline, tmp_path):
    (tmp_path / "v.mp4").symlink_to(tmp_path / "gone.mp4")
    journal = open_journal(pipeline, tmp_path / "s.csv")
    run = predict_videos(pipeline, [tmp_path / "v.mp4"], tmp_path / "s.csv", journal=journal)
    assert [r.status for r in run.results] == ["unreadable"]


def test_before_the_first_video_the_submission_is_there(pipeline, videos, tmp_path, monkeypatch):
    output = tmp_path / "s.csv"

    def check_first(*_):
        assert output.exists()
        return iter([])

    monkeypatch.setattr(pipeline, "run_as_finished", check_first)
    predict_videos(pipeline, videos, output)
    assert pd.read_csv(output)["label"].tolist() == [0.5] * 6


@pytest.mark.parametrize(("deaths", "status"), [(DEATHS - 1, "ok"), (DEATHS, "crashed")])
def test_a_video_that_kills_the_process_again_and_again_is_given_up(pipeline, videos, tmp_path, deaths, status):
    output = tmp_path / "s.csv"
    for _ in range(deaths):
        journal = open_journal(pipeline, output)
        journal.begin("0.mp4")
        journal.close()
    run = predict_videos(pipeline, videos[:2], output, journal=open_journal(pipeline, output))
    assert [r.status for r in run.results] == [status, "ok"]
    assert status == "ok" or f"died {DEATHS} times" in run.results[0].reason


@pytest.mark.slow
def test_who_was_begun_and_not_finished_comes_last(pipeline, videos, tmp_path, monkeypatch):
    """A kill from outside hits another video each time, and one that kills its process holds nobody up."""
    journal = open_journal(pipeline, tmp_path / "s.csv")
    for number in (0, 0, 2):
        journal.begin(videos[number].name)
    order: list[str] = []
    run = pipeline.run_as_finished
    noted = lambda todo, *rest: order.extend(p.name for p in todo) or run(todo, *rest)  # noqa: E731
    monkeypatch.setattr(pipeline, "run_as_finished", noted)
    predict_videos(pipeline, videos[:4], tmp_path / "s.csv", journal=journal)
    assert order == [videos[number].name for number in (1, 3, 2, 0)]


def test_another_blend_refuses_the_journal(pipeline, tmp_path):
    open_journal(pipeline, tmp_path / "s.csv").close()
    other = Pipeline(pipeline.detector, pipeline.loaded_members, OPTIONS)  # equal weights, no fallback ensembles
    with pytest.raises(DfdcError, match="journal of a run with blend"):
        open_journal(other, tmp_path / "s.csv")


def test_when_time_is_up_the_rest_gets_the_prior(pipeline, videos, tmp_path):
    scheduler = make_scheduler(pipeline, len(videos), "2h", "1m", time.time() - 2 * 3600)
    run = predict_videos(pipeline, videos, tmp_path / "s.csv", scheduler=scheduler)
    assert {r.status for r in run.results} == {"skipped_by_budget"}
    assert pd.read_csv(tmp_path / "s.csv")["label"].tolist() == [0.5] * 6


@pytest.mark.slow
def test_a_generous_budget_changes_nothing(pipeline, videos, undisturbed, tmp_path):
    run = predict_videos(
        pipeline, videos, tmp_path / "s.csv", scheduler=make_scheduler(pipeline, len(videos), "9h", "2m", time.time())
    )
    assert (tmp_path / "s.csv").read_bytes() == undisturbed
    assert all(r.status in ("ok", "no_face") for r in run.results)


def test_a_plan_is_followed(pipeline, videos, blend):
    """Fewer frames, and the members of a fallback ensemble with its own calibration."""

    class Fixed(BudgetScheduler):
        def jobs(self, paths):
            for path, plan in zip(paths, (Plan(2, 1), Plan(3, 0)), strict=False):
                self._plans[path] = plan
                yield path, plan.frames

    plans = make_plans(3, 1)
    results = list(pipeline.run([videos[0], videos[3]], Fixed(Planner(plans, 3, 99.0, 1.0, 0.0), lambda: 0.0)))
    assert [len(r.faces) for r in results] == [2, 3]
    assert [set(r.faces[0].logits) for r in results] == [{"first"}, {"first", "second"}]
    logit = [face.logits["first"] for face in results[0].faces]
    assert results[0].prob_fake == pytest.approx(
        blend.fallback(1).predict({"first": logit}, [0, 0]).prob_fake  # type: ignore[arg-type]
    )


def test_a_run_with_a_budget_has_second_looks(pipeline):
    """10 videos of a minute each would not fit: the first ones get a modest plan, and time is left for another."""
    scheduler = make_scheduler(pipeline, 10, "5m", "1m", time.time())
    looks = follow(scheduler, [0.0], 10, lambda _: 0.001)
    assert looks[0][1].frames < OPTIONS.frames
    assert len(looks) > 10
    assert {plan for _, plan in looks[10:]} == {scheduler.planner.plans[0]}


class Bar:
    """What the progress bar is told; tqdm itself says nothing where it was switched off."""

    made: ClassVar[list["Bar"]] = []

    def __init__(self, total, initial, **_):
        self.total, self.shown, self.said = total, initial, {}
        self.made.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def set_postfix(self, **said):
        self.said = said

    def update(self, more):
        self.shown += more


def test_with_time_to_spare_the_modest_first_plan_leaves_no_trace(pipeline, videos, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr("inference.run.tqdm", Bar)
    planner = Planner(make_plans(3, 1), 6, 300.0, 1.0, 0.0)  # too little to be sure of six videos of a minute each
    scheduler = BudgetScheduler(planner, now=lambda: 0.0, again=True)
    told = []
    run = predict_videos(
        pipeline, videos, tmp_path / "s.csv", journal=open_journal(pipeline, tmp_path / "s.csv"), scheduler=scheduler,
        on_result=told.append,
    )  # fmt: skip
    assert (run.plans[0].plan.frames, run.plans[0].again) == (1, False)
    assert run.plans[-1].again
    assert len(told) > 6, "a video that is looked at again is told again"
    assert (tmp_path / "s.csv").read_bytes() == undisturbed
    seconds = {r.filename: r.seconds["decode"] for r in run.results}
    again = next(r.filename for r in told if [t.filename for t in told].count(r.filename) == 2)
    first, second = (r.seconds["decode"] for r in told if r.filename == again)
    assert first < second == seconds[again], "the account has both looks"
    bar = Bar.made[-1]
    assert bar.shown == bar.total == 6, "a second look is no further video"
    assert bar.said == {"fallbacks": sum(r.status != "ok" for r in run.results), "again": len(told) - 6}


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ("ok", "ok", "second"),
        ("ok", "no_face", "first"),
        ("ok", "timed_out", "first"),
        ("no_face", "ok", "second"),
        ("no_face", "no_face", "second"),
        ("no_face", "crashed", "first"),
    ],
)
def test_a_second_look_that_fails_costs_nothing(first, second, kept):
    one = VideoResult("a.mp4", first, 0.2, "first", seconds={"decode": 1.0, "judge": 2.0}, cpu={"decode": 0.5})
    two = VideoResult("a.mp4", second, 0.3, "second", seconds={"decode": 4.0})
    both = with_second_look(one, two)
    assert both.reason == kept
    assert both.seconds == {"decode": 5.0, "judge": 2.0}
    assert both.cpu == {"decode": 0.5}
    assert with_second_look(None, two) is two


def test_a_reserve_as_long_as_the_budget(pipeline):
    with pytest.raises(ValueError, match="leaves nothing"):
        make_scheduler(pipeline, 1, "2m", "2m", 0.0)


def test_a_full_disk_keeps_the_old_submission_or_writes_over_it(tmp_path, monkeypatch):
    output, order = tmp_path / "s.csv", ["a.mp4", "b.mp4"]
    write_submission(output, dict.fromkeys(order, 0.5), order, (0.0, 1.0))

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(submission, "atomic_path", full)
    write_submission(output, {"a.mp4": 0.125, "b.mp4": 0.75}, order, (0.0, 1.0))
    assert output.read_text() == "filename,label\na.mp4,0.125000\nb.mp4,0.750000\n"
    with pytest.raises(OSError, match="No space"):
        write_submission(output, {"longer.mp4": 0.5}, ["longer.mp4"], (0.0, 1.0))
    assert output.read_text().count("\n") == 3


def noted(journal):
    """The bytes of a journal; none of one that is removed, as the last video is finished."""
    try:
        return journal.read_bytes()
    except FileNotFoundError:
        return b""


@pytest.mark.slow
def test_kill_9_of_the_command_then_resume(members, videos, undisturbed, tmp_path):
    """The whole command, killed at a moment that is not chosen, and then left alone."""
    output, journal = tmp_path / "s.csv", tmp_path / "s.csv.journal"
    command = [sys.executable, ROOT / "dfdc.py", "predict", videos[0].parent, "--members", members, "--frames", "3",
               "--max-fallback", "1", "-o", output]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: journal.exists() and b'"done"' in noted(journal), "a video is finished")
        process.kill()
    assert len(pd.read_csv(output)) == 6
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    assert "videos were finished before" in done.stderr
    assert output.read_bytes() == undisturbed


def test_what_is_finished_is_in_the_file_when_the_user_stops(tmp_path):
    """Also before the file is renewed: it is renewed once a minute."""

    class Stopped(BaseException):
        pass

    class Stopping:
        blend, decoders = Blend.equal(["first"]), 1

        def run_as_finished(self, paths, *_):
            yield VideoResult(paths[0].name, "ok", 0.125)
            raise Stopped

    told = []
    output = tmp_path / "s.csv"
    with pytest.raises(Stopped):
        predict_videos(Stopping(), [tmp_path / "a.mp4", tmp_path / "b.mp4"], output, on_result=told.append)
    assert output.read_text() == "filename,label\na.mp4,0.125000\nb.mp4,0.500000\n"
    assert [result.filename for result in told] == ["a.mp4"]
    line = json.loads(to_json_line(told[0], verdict_of(told[0], Stopping.blend)))
    assert (line["prob_fake"], line["faces"], line["seconds"]) == (0.125, [], {})
