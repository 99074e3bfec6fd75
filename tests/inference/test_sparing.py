"""Short videos have fewer frames by default, and all where somebody asks for them."""

import shutil

import pytest
import torch

from common.errors import DfdcError
from inference.detector import load
from inference.pipeline import PredictOptions, make_pipeline
from inference.predict import PredictRequest, predict
from inference.run import open_journal
from inference.schedule.planner import Planner
from inference.schedule.plans import make_plans
from inference.schedule.scheduler import BudgetScheduler
from scale.plan import PlanRequest, make_plan
from scale.store import Store
from serve import jobs


@pytest.mark.parametrize(
    ("asked", "looked"),
    [
        ({}, 12),
        ({"frames": 32}, 32),
        ({"tolerance": 0.0}, 32),
        ({"budget": "10m"}, 32),
        ({"budget": "10m", "tolerance": 0.01}, 32),
    ],
    ids=str,
)
def test_a_short_video_has_fewer_frames_unless_all_are_asked_for(members, media, tmp_path, asked, looked):
    request = PredictRequest(
        [media / "single_face.mp4"],
        tmp_path / "s.csv",
        members=members,
        device="cpu",
        report=tmp_path / "r.html",
        **asked,
    )
    assert predict(request).run.results[0].looked == looked
    said = f"{'up to ' if looked == 12 else ''}32"
    assert f"<dd>{said}</dd>" in (tmp_path / "r.html").read_text().split("frames asked per video")[1][:60]


def test_other_programs_and_other_machines_spare_the_same_frames(members, media, tmp_path):
    """`dfdc.load`, and a run in units."""
    (tmp_path / "videos").mkdir()
    shutil.copy(media / "single_face.mp4", tmp_path / "videos")
    for how, sparing in (({}, True), ({"frames": 32}, False), ({"tolerance": 0.0}, False)):
        assert load(members, "cpu", **how).pipeline.options.sparing == sparing
        asked = PlanRequest(str(tmp_path / "videos"), str(tmp_path / str(how)), members=members, **how)
        make_plan(asked)
        assert Store(asked.store).manifest()["options"]["sparing"] == sparing


def test_the_plans_of_a_budget_say_how_many_frames(members, media):
    """As a run in units has them, whose options are those of a run without a budget."""
    pipeline = make_pipeline(PredictOptions(frames=20, sparing=True), torch.device("cpu"), members)
    plans = make_plans(20, 0)[:1]
    scheduler = BudgetScheduler(Planner(plans, 1, 9e9, 1.0, 0.0), lambda: 0.0)
    (with_budget,), (without,) = (pipeline.run([media / "single_face.mp4"], how) for how in (scheduler, None))
    assert (with_budget.looked, without.looked) == (20, 12)


def test_a_journal_of_all_frames_is_not_gone_on_with(members, tmp_path):
    every, fewer = (
        make_pipeline(PredictOptions(tolerance=0.01, sparing=sparing), torch.device("cpu"), members)
        for sparing in (False, True)
    )
    open_journal(every, tmp_path / "s.csv").close()
    with pytest.raises(DfdcError, match="a run with sparing False, and this one has True"):
        open_journal(fewer, tmp_path / "s.csv")


@pytest.mark.parametrize(("given", "sparing"), [([], True), (["--frames", "32"], False)])
def test_the_server_spares_frames_as_the_command_does(members, monkeypatch, given, sparing):
    asked, said = [], []

    class Voice:
        def say(self, **message):
            said.append(message)

    def make(options, *_, **__):
        asked.append(options)
        raise DfdcError("enough")

    monkeypatch.setattr(jobs, "make_pipeline", make)
    monkeypatch.setattr(jobs, "Voice", Voice)
    with pytest.raises(SystemExit):
        jobs.work(["--device", "cpu", "--members", str(members), *given])
    assert [options.sparing for options in asked] == [sparing] and said == [{"failed": "enough"}]
