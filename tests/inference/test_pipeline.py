import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from common.errors import DfdcError
from ensemble.blend import Blend
from ensemble.convex import Mix
from ensemble.metrics import sigmoid
from ensemble.width import WidthCalibration
from faces.cascade import Cascade
from faces.detect import NO_FACES, FrameFaces
from faces.track import STRAY
from faces.turned import turn_frames
from faces.video import decode
from inference.blend_tables import BlendRequest, blend_tables
from inference.blends import load_blend
from inference.outputs import PROBABILITIES, to_json, write_probabilities
from inference.pipeline import Pipeline, PredictOptions, make_pipeline
from inference.result import VideoResult
from inference.run import predict_videos
from inference.videos import find_videos
from inference.work import in_order
from tests.inference.bad_videos import make_bad_videos
from tests.media import write_video

OPTIONS = PredictOptions(frames=6, decoders=2, batch=16, thumbnails=3)


@pytest.fixture(scope="module")
def pipeline(members):
    return make_pipeline(OPTIONS, torch.device("cpu"), members)


@pytest.fixture(scope="module")
def bad(tmp_path_factory, media):
    folder = tmp_path_factory.mktemp("bad")
    return folder, make_bad_videos(folder, media / "single_face.mp4")


@pytest.fixture(scope="module")
def bad_run(bad, pipeline, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "submission.csv"
    return predict_videos(pipeline, find_videos([bad[0]]), output), output


def test_every_bad_video_has_its_row_and_its_status(bad, bad_run):
    run, output = bad_run
    assert {r.filename: r.status for r in run.results} == bad[1]
    table = pd.read_csv(output)
    assert table["filename"].tolist() == sorted(bad[1])
    assert table["label"].between(0.01, 0.99).all()
    assert (table.set_index("filename")["label"][[r.filename for r in run.fallbacks]] == 0.5).all()


def test_fallbacks_have_reasons_and_oddities_are_noted(bad_run):
    run, _ = bad_run
    by_name = {r.filename: r for r in run.results}
    assert all(r.reason for r in run.fallbacks)
    assert "readable" in by_name["truncated.mp4"].reason
    assert "900" in by_name["wrong_count.avi"].reason
    assert "zero bytes" in by_name["zero_bytes.mp4"].reason
    assert run.fallback_share == pytest.approx(7 / 17)


def test_every_other_frame_is_mirrored_where_the_blend_says_so(members, media):
    """The members see the odd ones of the scored frames as in a mirror, and the even ones as they are."""
    shown = {}
    for mirror in (False, True):
        seen = shown.setdefault(mirror, {"first": [], "second": []})
        blend = Blend(("first", "second"), Mix.equal(2), mirror=mirror)
        pipeline = make_pipeline(OPTIONS, torch.device("cpu"), members, blend=blend)
        for i, loaded in enumerate(pipeline.loaded_members):

            def look(crops, crops_seen=seen[loaded.card.name]):
                crops_seen.extend(crops)
                return [np.zeros(len(crops), np.float32)]

            pipeline.loaded_members[i] = dataclasses.replace(loaded, run=look)
        (result,) = pipeline.run([media / "single_face.mp4"])
        assert len(result.faces) == 6
    for name, plain in shown[False].items():
        for number, (crop, other) in enumerate(zip(plain, shown[True][name], strict=True)):
            assert np.array_equal(other, crop[:, ::-1] if number % 2 else crop)
            assert not np.array_equal(crop, crop[:, ::-1])


@pytest.mark.parametrize(("shift", "looks_fake"), [(9.0, True), (-9.0, False)])
def test_what_looks_fake_gets_a_heat_map(members, media, shift, looks_fake):
    blend = Blend(("first", "second"), Mix(np.array([0.5, 0.5]), 1.0, shift))
    options = dataclasses.replace(OPTIONS, heatmap=True)
    (result,) = make_pipeline(options, torch.device("cpu"), members, blend=blend).run([media / "single_face.mp4"])
    heats = [bool(one.heat) for one in result.closeups]
    assert heats == [looks_fake, *[False] * (len(heats) - 1)]
    if looks_fake:
        heat, plain = (cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1) for jpeg in _pictures(result.closeups[0]))
        assert heat.shape == plain.shape and not np.array_equal(heat, plain)


def _pictures(closeup):
    return closeup.heat, closeup.jpeg


def test_a_rotated_video_is_upright_when_it_is_scored(bad_run):
    rotated = next(r for r in bad_run[0].results if r.filename == "rotated.mp4")
    assert (rotated.width, rotated.height) == (480, 270)
    assert len(rotated.faces) == 6


def test_a_run_is_repeatable_byte_for_byte(bad, bad_run, pipeline, tmp_path):
    predict_videos(pipeline, find_videos([bad[0]]), tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == bad_run[1].read_bytes()


def test_what_shares_a_batch_does_not_change_the_verdict(media, pipeline):
    together = {r.filename: r.prob_fake for r in pipeline.run([media / "single_face.mp4", media / "noface_face.mov"])}
    alone = next(iter(pipeline.run([media / "noface_face.mov"])))
    assert together["noface_face.mov"] == pytest.approx(alone.prob_fake, abs=1e-4)


def test_results_come_in_order_and_hold_together(media, pipeline):
    paths = [media / n for n in ("noface_face.mov", "no_face.mp4", "single_face.mp4")]
    results = list(pipeline.run(paths))
    assert [r.filename for r in results] == [p.name for p in paths]
    assert [r.status for r in results] == ["ok", "no_face", "ok"]
    for result in (results[0], results[2]):
        logits = {name: np.array([f.logits[name] for f in result.faces]) for name in ("first", "second")}
        person = np.array([f.person for f in result.faces])
        assert (person != STRAY).all()
        verdict = Blend.equal(["first", "second"]).predict(logits, person)
        assert result.prob_fake == pytest.approx(verdict.prob_fake)
        assert [face.prob_fake for face in result.faces] == pytest.approx(verdict.faces)
        assert len(result.thumbnails) == 3
        assert set(result.seconds) == {"decode", "detect", "judge"}


def test_every_result_stands_in_its_own_place():
    """Also when videos of one name end out of order, and when the run ends before one."""
    paths = [Path(name) for name in ("x/a", "y/a", "b", "c")]

    def finished():
        yield from ((paths[at], VideoResult(paths[at].name, "ok", at / 10)) for at in (3, 1, 0))

    given = [(result.filename, result.status, result.prob_fake) for result in in_order(paths, finished())]
    assert given == [("a", "ok", 0.0), ("a", "ok", 0.1), ("b", "skipped_by_budget", 0.5), ("c", "ok", 0.3)]


@pytest.mark.slow
def test_the_blend_beside_the_members_decides(media, members, tmp_path):
    """Its weights, temperature and clip; a member of weight 0 does not run."""
    for path in members.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    plain = load_blend(tmp_path)
    assert plain.to_json() == Blend.equal(["first", "second"]).to_json()
    mine = Blend(("first", "second"), Mix(np.array([0.0, 1.0]), 0.05, 2.0), clip=(0.03, 0.9))
    mine.write(tmp_path / "blend.json")
    pipeline = make_pipeline(OPTIONS, torch.device("cpu"), tmp_path, blend=load_blend(tmp_path))
    (result,) = pipeline.run([media / "single_face.mp4"])
    assert [p.card.name for p in pipeline.loaded_members] == ["second"]
    logits = {"second": np.array([face.logits["second"] for face in result.faces])}
    assert result.prob_fake == pytest.approx(mine.needed().predict(logits, np.zeros(6, dtype=int)).prob_fake)
    assert result.prob_fake != pytest.approx(Blend.equal(["second"]).predict(logits, np.zeros(6, dtype=int)).prob_fake)
    run = predict_videos(pipeline, [media / "single_face.mp4", media / "no_face.mp4"], tmp_path / "s.csv")
    assert [r.prob_fake for r in run.results] == pytest.approx([0.5, result.prob_fake])


def test_a_blend_of_other_weights_is_refused(members, tmp_path):
    blend = Blend(("first", "second"), Mix.equal(2), sha256={"second": "0" * 64})
    blend.write(tmp_path / "blend.json")
    with pytest.raises(DfdcError, match="member 'second' has other weights than the blend was tuned with"):
        load_blend(members, tmp_path / "blend.json")


def test_a_video_in_which_the_face_comes_late_is_scored_on_the_face(media, pipeline):
    (result,) = pipeline.run([media / "noface_face.mov"])
    assert min(f.second for f in result.faces) > 1.0


def test_the_two_members_see_different_crops(media, pipeline):
    (result,) = pipeline.run([media / "single_face.mp4"])
    first, second = (np.array([f.logits[name] for f in result.faces]) for name in ("first", "second"))
    assert np.abs(first - second).max() > 1e-3


def test_probabilities_lose_no_video_and_no_face(bad_run, tmp_path):
    run, _ = bad_run
    write_probabilities(tmp_path / "p.csv", run.results)
    table = pd.read_csv(tmp_path / "p.csv")
    assert list(table.columns) == list(PROBABILITIES)
    assert set(table["filename"]) == {r.filename for r in run.results}
    wide = [face.box_xyxy[2] - face.box_xyxy[0] for r in run.results for face in r.faces for _ in face.logits]
    np.testing.assert_allclose(table["face_pixels"].dropna(), wide, atol=0.051)
    assert len(table.dropna()) == 2 * sum(len(r.faces) for r in run.results)


def test_the_width_of_the_faces_counts_as_it_does_for_tables(media, pipeline, members, tmp_path):
    width = WidthCalibration((10.0, 2000.0), (0.2, 3.0), (-1.0, 1.0))
    by_width = dataclasses.replace(pipeline.blend, mix=dataclasses.replace(pipeline.blend.mix, width=width))
    with_width = make_pipeline(OPTIONS, torch.device("cpu"), members, blend=by_width)
    video = media / "single_face.mp4"
    (before,), (after,) = pipeline.run([video]), with_width.run([video])
    pixels = np.array([np.median([face.width for face in after.faces])])
    logit = np.log([before.prob_fake / (1 - before.prob_fake)])
    assert after.prob_fake == pytest.approx(sigmoid(width.apply(logit, pixels))[0])
    assert abs(after.prob_fake - before.prob_fake) > 0.01
    write_probabilities(tmp_path / "p.csv", [after])
    by_width.write(tmp_path / "blend.json")
    blend_tables(BlendRequest((tmp_path / "p.csv",), tmp_path / "blend.json", tmp_path / "s.csv"))
    assert pd.read_csv(tmp_path / "s.csv")["label"].tolist() == pytest.approx([after.prob_fake], abs=1e-5)


def test_faces_that_hardly_matter_are_not_scored_and_the_rest_is_as_before(members, media, tmp_path):
    every, fewer = (
        make_pipeline(PredictOptions(frames=24, tolerance=tolerance), torch.device("cpu"), members)
        for tolerance in (0.0, 0.05)  # its standard error is 0.019
    )
    whole, part = (next(pipeline.run([media / "single_face.mp4"])) for pipeline in (every, fewer))
    assert (len(whole.faces), len(part.faces)) == (24, 6)
    assert part.evidence["frames_with_face"] == whole.evidence["frames_with_face"] == 24
    assert [(who.person, who.frames) for who in part.people] == [(who.person, who.frames) for who in whole.people]
    assert part.prob_fake == pytest.approx(whole.prob_fake, abs=0.05)
    logits = {face.frame: face.logits for face in whole.faces}
    for face in part.faces:
        assert face.logits == pytest.approx(logits[face.frame], abs=1e-4)
    write_probabilities(tmp_path / "p.csv", [part])
    fewer.blend.write(tmp_path / "blend.json")
    blend_tables(BlendRequest((tmp_path / "p.csv",), tmp_path / "blend.json", tmp_path / "s.csv"))
    assert pd.read_csv(tmp_path / "s.csv")["label"].tolist() == pytest.approx([part.prob_fake], abs=1e-5)


def test_frames_in_memory_are_scored_by_the_same_tolerance(members, media):
    pipeline = make_pipeline(PredictOptions(frames=24, tolerance=0.05), torch.device("cpu"), members)
    assert len(pipeline.predict_frames(decode(media / "single_face.mp4", 24)).faces) == 6


@pytest.mark.parametrize("tolerance", [-0.1, 0.5, float("nan")])
def test_a_tolerance_is_a_small_share(tolerance):
    with pytest.raises(ValueError, match="at least 0 and below 0"):
        PredictOptions(tolerance=tolerance)


def test_a_sample_submission_gives_names_and_order(media, pipeline, tmp_path, capsys):
    sample = tmp_path / "sample_submission.csv"
    sample.write_text("filename,label\nsingle_face.mp4,0.5\ngone.mp4,0.5\nno_face.mp4,0.5\n")
    names = ("no_face.mp4", "noface_face.mov", "single_face.mp4")
    run = predict_videos(pipeline, [media / n for n in names], tmp_path / "s.csv", sample)
    assert pd.read_csv(tmp_path / "s.csv")["filename"].tolist() == ["single_face.mp4", "gone.mp4", "no_face.mp4"]
    assert [r.status for r in run.results] == ["ok", "unreadable", "no_face"]
    assert "names it" in run.results[1].reason
    assert "1 videos are not named" in capsys.readouterr().err


def test_json_has_every_video(bad_run, pipeline):
    import json

    read = json.loads(to_json(bad_run[0], pipeline.blend))
    assert len(read["videos"]) == 17
    assert read["fallback_share"] == pytest.approx(7 / 17, abs=1e-4)


def test_input_is_not_written_to(media, pipeline):
    path = media / "single_face.mp4"
    before = path.read_bytes(), path.stat().st_mtime_ns
    list(pipeline.run([path]))
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


@pytest.mark.parametrize("change", [{"frames": 0}, {"batch": -1}, {"decoders": -1}])
def test_impossible_options_are_refused(change):
    with pytest.raises(ValueError, match=str(next(iter(change)))):
        dataclasses.replace(OPTIONS, **change)


def test_find_videos(tmp_path):
    for name in ("b.mp4", "a.MOV", "notes.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in find_videos([tmp_path])] == ["a.MOV", "b.mp4"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other/b.mp4").touch()
    with pytest.raises(ValueError, match="have one name"):
        find_videos([tmp_path, tmp_path / "other"])
    with pytest.raises(ValueError, match="does not exist"):
        find_videos([tmp_path / "gone"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no video"):
        find_videos([tmp_path / "empty"])


def test_a_montage_keeps_its_people(media, pipeline, tmp_path):
    """Shots of one face each, three seconds long: the sampled frames lie as far apart as the cuts."""
    person = decode(media / "single_face.mp4", 1).images[0]
    face = Cascade(torch.device("cpu"))([person])[0].boxes_xyxy[0]
    x, y, side = (face[0] + face[2]) / 2, (face[1] + face[3]) / 2, face[2] - face[0]
    pictures = []
    for shot in range(6):
        scale, (u, v) = 90 / side, [(100, 100), (300, 90), (200, 110)][shot % 3]
        matrix = np.array([[scale, 0, u - scale * x], [0, scale, v - scale * y]], dtype=np.float32)
        back = np.random.default_rng(shot).integers(0, 255, 3)
        plain = np.broadcast_to(back.astype(np.uint8), (216, 384, 3)).copy()
        pasted = cv2.warpAffine(person, matrix, (384, 216), flags=cv2.INTER_AREA)
        mask = np.zeros((216, 384, 1), np.uint8)
        cv2.rectangle(mask, (u - 90, max(0, v - 90)), (u + 90, v + 100), 1, -1)
        pictures.append(np.where(mask > 0, pasted, plain))
    times = [1500 * number for number in range(12)]
    path = write_video(
        tmp_path / "montage.mp4", 12, (384, 216), draw=lambda n, *_: pictures[n // 2], times=times,
        options={"crf": "20"},
    )  # fmt: skip
    (result,) = pipeline.run([path])
    assert result.status == "ok"
    assert len(result.people) == 6
    assert result.evidence["frames_with_face"] == 6


class Told:
    """A detector that has its answer, and sees nothing when a turned picture is tried."""

    def __init__(self, found):
        self.found = found

    def __call__(self, images, between=None):
        return list(self.found)

    def first_look(self, images):
        return [NO_FACES] * len(images)


def test_a_face_in_a_single_frame_is_told(pipeline, media):
    """Where nobody else is there it is predicted, where somebody is it is left out: never without a word."""

    def faces(count):
        boxes = np.array([[10, 10, 90, 90], [300, 100, 400, 200]][:count], np.float32)
        points = np.zeros((count, 5, 2), np.float32) + np.arange(10, dtype=np.float32).reshape(5, 2) * 8
        return FrameFaces(boxes, np.full(count, 0.95, np.float32), points, "back_letterbox")

    shown = decode(media / "single_face.mp4", 6)
    for found, status, said in (
        ([NO_FACES, faces(1), *[NO_FACES] * 4], "ok", "the 1 faces are seen in a single frame each"),
        ([faces(1), faces(2), *[faces(1)] * 4], "ok", "1 faces seen in a single frame each are left out"),
        ([NO_FACES] * 6, "no_face", "no face in 6 frames"),
    ):
        alone = Pipeline(Told(found), pipeline.loaded_members, OPTIONS)
        result = alone.predict_frames(shown)
        assert (result.status, said in result.reason) == (status, True), result.reason
    assert result.evidence == {"frames": 6, "frames_with_face": 0, "face_pixels": 0.0}


def test_what_an_answer_stands_on_is_said(pipeline, media, tmp_path):
    clip = media / "single_face.mp4"
    still = cv2.cvtColor(decode(clip, 1).images[0], cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(tmp_path / "still.jpg"), still)
    (picture,) = pipeline.run([tmp_path / "still.jpg"])
    assert (picture.status, picture.reason) == ("ok", "a still picture")
    (result,) = pipeline.run([clip])
    assert result.reason == ""
    assert result.evidence["frames"] == result.evidence["frames_with_face"] == 6
    assert 20 < result.evidence["face_pixels"] < result.width


def test_a_clip_on_its_side_gets_the_answer_of_the_upright_one(loaded_members, media):
    clip = decode(media / "single_face.mp4", 4)
    pipeline = Pipeline(Cascade(torch.device("cpu")), loaded_members, PredictOptions(frames=4))
    upright, lying = (pipeline.predict_frames(frames) for frames in (clip, turn_frames(clip, 1)))
    assert lying.prob_fake == upright.prob_fake
    assert (lying.width, lying.height) == (upright.width, upright.height)
    assert "lay on its side" in lying.reason
