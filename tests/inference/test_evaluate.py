import dataclasses
import json

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from ensemble.blend import Blend
from ensemble.metrics import auc, log_loss_balanced
from ensemble.width import WidthCalibration
from faces.cascade import Cascade
from faces.video import decode
from inference.evaluate import evaluate_faces, evaluate_videos, is_videos
from inference.evaluation import BLEND_NAME, format_evaluation, write_evaluated
from inference.journal import Journal
from inference.pipeline import Pipeline, PredictOptions
from inference.result import VideoResult
from models.registry import TIGHT

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Forty crops of noise, light ones labelled fake, in groups of two, and one crop without a label."""
    folder = tmp_path_factory.mktemp("faces")
    rng, rows = np.random.default_rng(0), []
    for i in range(41):
        image = rng.integers(0, 128, (80, 80, 3)) + (i % 2) * 100
        cv2.imwrite(str(folder / f"{i}.png"), image.astype(np.uint8))
        rows.append({"face": f"{i}.png", "label": "FAKE" if i % 2 else "REAL", "original_group": f"g{i // 2}"})
    rows.append({"face": "gone.png", "label": "REAL", "original_group": "g99"})
    pd.DataFrame(rows).drop(index=40).to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def evaluation(faces, loaded_members):
    return evaluate_faces(loaded_members, [faces], faces / "labels.csv", TIGHT, Blend.equal(["first", "second"]))


def test_every_member_and_the_blend_are_scored(evaluation):
    assert set(evaluation.scores) == {"first", "second", BLEND_NAME}
    assert (evaluation.rows, evaluation.fakes, evaluation.groups) == (40, 20, 20)
    for scores in evaluation.scores.values():
        assert set(scores) == {"auc", "log_loss_balanced", "log_loss", "accuracy", "calibration_error"}
        assert scores["auc"].low <= scores["auc"].value <= scores["auc"].high


def test_what_was_not_found_is_named(evaluation):
    assert evaluation.not_found == ["gone.png"]
    assert evaluation.not_labelled == ["40.png"]
    text = format_evaluation(evaluation)
    assert "1 labelled but not found: gone.png" in text
    assert "1 found but not labelled: 40.png" in text


def test_the_score_is_that_of_the_members_own_crop(faces, loaded_members, evaluation):
    """A member cuts its CropSpec inside the ready crop: scored by hand here, without the evaluator."""
    from ensemble.metrics import sigmoid
    from faces.crop import box_inside_crop, cut

    (loaded,) = [p for p in loaded_members if p.card.name == "second"]
    images = [cv2.imread(str(faces / f"{i}.png"))[:, :, ::-1] for i in range(40)]
    crops = [cut(np.ascontiguousarray(i), box_inside_crop(TIGHT, 80, 80), loaded.card.crop) for i in images]
    prob, label = np.clip(sigmoid(loaded.logits(crops)), 0.01, 0.99), np.arange(40) % 2.0
    assert evaluation.scores["second"]["auc"].value == pytest.approx(auc(label, prob))
    assert evaluation.scores["second"]["log_loss_balanced"].value == pytest.approx(
        log_loss_balanced(label, prob), abs=1e-4
    )


@pytest.mark.slow
def test_a_blend_by_face_width_is_scored_with_the_widths_that_the_labels_tell(faces, loaded_members):
    width = WidthCalibration((20.0, 200.0), (0.01, 1.0), (0.0, 0.0))
    blend = Blend.equal(["first", "second"])
    by_width = dataclasses.replace(blend, mix=dataclasses.replace(blend.mix, width=width))
    told = pd.read_csv(faces / "labels.csv").assign(box_x0=0, box_x1=20)
    told.to_csv(faces / "boxes.csv", index=False)
    found = evaluate_faces(loaded_members, [faces], faces / "boxes.csv", TIGHT, by_width)
    assert found.scores[BLEND_NAME]["log_loss"].value == pytest.approx(np.log(2), abs=0.03), "narrow faces say nothing"


def test_json_is_plain(evaluation):
    assert json.loads(json.dumps(evaluation.to_dict()))["rows"] == 40


def test_labels_of_other_files_are_refused(faces, loaded_members, tmp_path):
    (tmp_path / "labels.csv").write_text("face,label\nx.png,REAL\n")
    with pytest.raises(ValueError, match="among the inputs"):
        evaluate_faces(loaded_members, [faces], tmp_path / "labels.csv", TIGHT, Blend.equal(["first", "second"]))


@pytest.mark.slow
def test_videos_are_scored_whole_and_fallbacks_are_scored_and_named(media, loaded_members, tmp_path):
    (tmp_path / "labels.csv").write_text(
        "filename,label,group\nsingle_face.mp4,REAL,a\nno_face.mp4,FAKE,b\nnoface_face.mov,FAKE,c\ngone.mp4,FAKE,d\n"
    )
    pipeline = Pipeline(Cascade(CPU), loaded_members, PredictOptions(frames=4))
    inputs = [media / n for n in ("single_face.mp4", "no_face.mp4", "noface_face.mov")]
    result = evaluate_videos(pipeline, inputs, tmp_path / "labels.csv")
    assert result.rows == 3
    assert list(result.not_predicted) == ["no_face.mp4"]
    assert result.not_found == ["gone.mp4"]
    assert set(result.by_group) == {"a", "b", "c"}
    assert np.isfinite(result.scores[BLEND_NAME]["log_loss"].value)


class Interrupted(Journal):
    """A journal on the disk, whose user presses Ctrl-C when the second result is noted."""

    def add(self, result, size):
        """Note the first result and raise at the second."""
        if self.results:
            raise KeyboardInterrupt
        super().add(result, size)


@pytest.mark.slow
def test_an_evaluation_that_was_stopped_goes_on_and_has_a_row_per_video(media, loaded_members, tmp_path):
    (tmp_path / "metadata.json").write_text(
        json.dumps({"single_face.mp4": {"label": "REAL"}, "noface_face.mov": {"label": "FAKE"}})
    )
    pipeline = Pipeline(Cascade(CPU), loaded_members, PredictOptions(frames=2))
    inputs = [media / n for n in ("single_face.mp4", "no_face.mp4", "noface_face.mov")]
    labels, table, kept = tmp_path / "metadata.json", tmp_path / "e.csv", tmp_path / "e.csv.journal"
    whole = evaluate_videos(pipeline, inputs, labels, tmp_path / "whole.csv")
    interrupted = Interrupted(kept, {})
    with pytest.raises(KeyboardInterrupt):
        evaluate_videos(pipeline, inputs, labels, table, interrupted)
    interrupted.close()
    assert len(pd.read_csv(table)) == 2  # also what was known and not yet in the journal
    again = Journal(kept, {})
    assert len(again.results) == 1
    assert evaluate_videos(pipeline, inputs, labels, table, again).to_json() == whole.to_json()
    assert again.begun.total() == 3  # two at first, and then one of them again
    assert not kept.exists()
    assert table.read_text() == (tmp_path / "whole.csv").read_text()
    rows = pd.read_csv(table)
    assert list(rows) == ["filename", "label", "group", "prob_fake", "first", "second", "status", "reason"]
    assert rows["prob_fake"].between(0, 1).all() and list(rows["label"]) == ["REAL", "FAKE"]


def test_a_name_that_a_spreadsheet_would_run_is_text_in_the_table(tmp_path):
    rows = pd.DataFrame({"filename": ["=1+1.mp4"], "label": ["REAL"], "group": ["-2"]})
    done = {"=1+1.mp4": VideoResult("=1+1.mp4", "no_face", 0.5, "@none")}
    write_evaluated(tmp_path / "e.csv", rows, "filename", {BLEND_NAME: [0.5], "first": [0.5]}, done)
    assert (tmp_path / "e.csv").read_text().splitlines()[1] == "'=1+1.mp4,REAL,-2,0.5,0.5,no_face,'@none"


@pytest.mark.slow
def test_faces_that_were_scored_are_not_scored_again(faces, loaded_members, evaluation, tmp_path):
    blend, labels = Blend.equal(["first", "second"]), faces / "labels.csv"
    interrupted = Interrupted(tmp_path / "j", {})
    with pytest.raises(KeyboardInterrupt):
        evaluate_faces(loaded_members, [faces], labels, TIGHT, blend, tmp_path / "e.csv", interrupted)
    interrupted.close()
    journal = Journal(tmp_path / "j", {})
    assert len(journal.results) == 1
    assert evaluate_faces(loaded_members, [faces], labels, TIGHT, blend, tmp_path / "e.csv", journal) == evaluation
    assert len(pd.read_csv(tmp_path / "e.csv")) == 40


def test_inputs_tell_what_they_are(tmp_path, media):
    (tmp_path / "a.mp4").touch()
    assert is_videos([tmp_path])
    assert is_videos([media / "single_face.mp4"])
    (tmp_path / "crops").mkdir()
    cv2.imwrite(str(tmp_path / "crops/a.png"), decode(media / "single_face.mp4", 1).images[0])
    assert not is_videos([tmp_path / "crops"])
    assert not is_videos([tmp_path / "crops.tar"])
