"""A submission beside earlier ones."""

from pathlib import Path

import pytest

from inference.earlier import compare_submissions


def written(path: Path, values: dict[str, float]) -> Path:
    path.write_text("filename,label\n" + "".join(f"{name},{prob}\n" for name, prob in values.items()))
    return path


def test_rank_correlation_and_movement_are_those_of_the_videos_that_both_name(tmp_path):
    new = written(tmp_path / "new.csv", {"a.mp4": 0.1, "b.mp4": 0.5, "c.mp4": 0.9, "only.mp4": 0.3})
    same = written(tmp_path / "same.csv", {"c.mp4": 0.8, "b.mp4": 0.4, "a.mp4": 0.2})
    turned = written(tmp_path / "turned.csv", {"a.mp4": 0.9, "b.mp4": 0.5, "c.mp4": 0.1})
    found = compare_submissions(new, [same, turned])
    assert [(one.videos, one.ranks) for one in found] == [(3, pytest.approx(1)), (3, pytest.approx(-1))]
    assert [one.moved for one in found] == [pytest.approx(0.1), pytest.approx(1.6 / 3)]
    assert "3 videos: rank correlation 1.000, probabilities moved by 0.100 on average: it says the same again" in str(
        found[0]
    )
    assert str(found[1]).endswith("0.533 on average")


def test_one_value_for_all_has_no_ranks(tmp_path):
    new = written(tmp_path / "new.csv", {"a.mp4": 0.1, "b.mp4": 0.5})
    half = written(tmp_path / "half.csv", {"a.mp4": 0.5, "b.mp4": 0.5})
    assert "rank correlation nan" in str(compare_submissions(new, [half])[0])


def test_another_competition_is_an_error(tmp_path):
    new = written(tmp_path / "new.csv", {"a.mp4": 0.1, "b.mp4": 0.5})
    other = written(tmp_path / "other.csv", {"x.mp4": 0.1, "b.mp4": 0.5})
    with pytest.raises(ValueError, match=r"other\.csv and .*new\.csv have 1 videos in common"):
        compare_submissions(new, [other])
