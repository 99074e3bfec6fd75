"""Short videos have fewer frames by default, and all where somebody asks for them."""

import shutil

import pytest

from inference.detector import load
from inference.predict import PredictRequest, predict
from scale.plan import PlanRequest, make_plan
from scale.store import Store


@pytest.mark.parametrize(
    ("asked", "looked"), [({}, 12), ({"frames": 32}, 32), ({"tolerance": 0.0}, 32), ({"budget": "10m"}, 32)], ids=str
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
