"""A request that would harm its own files, or is none, is refused before anything is loaded or written."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.evaluate import EvaluateRequest, evaluate
from inference.predict import PredictRequest, predict
from tests.media import write_video


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "a.mp4", 4)


@pytest.mark.parametrize("option", ["output", "report", "probabilities"])
def test_a_video_is_never_written_over(video: Path, option: str) -> None:
    before = video.read_bytes()
    outputs = {"output": video.with_name("s.csv"), option: video}
    with pytest.raises(ValueError, match=r"a\.mp4 is read, and would be written over"):
        predict(PredictRequest([video.parent], **outputs))
    assert video.read_bytes() == before
    assert [path.name for path in video.parent.iterdir()] == ["a.mp4"]


def test_two_outputs_of_one_name_are_refused(video: Path) -> None:
    with pytest.raises(ValueError, match="would be written twice"):
        predict(PredictRequest([video], video.with_name("s.csv"), probabilities=video.with_name("s.csv")))


def test_a_sample_that_is_none_leaves_no_journal(video: Path) -> None:
    sample = video.with_name("sample.csv")
    sample.write_text("filename,label\n")
    with pytest.raises(ValueError, match="names no video"):
        predict(PredictRequest([video], video.with_name("s.csv"), sample=sample))
    assert sorted(path.name for path in video.parent.iterdir()) == ["a.mp4", "sample.csv"]


def test_labels_are_not_written_over_by_their_evaluation(video: Path) -> None:
    labels = video.with_name("labels.csv")
    labels.write_text("filename,label\na.mp4,REAL\n")
    with pytest.raises(ValueError, match=r"labels\.csv is read"):
        evaluate(EvaluateRequest([video], labels, output=labels))
    assert labels.read_text() == "filename,label\na.mp4,REAL\n"
