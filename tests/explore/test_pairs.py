"""Pairs: the right original, the same moments, and where the difference lies."""

import numpy as np
import pandas as pd
import pytest

from explore.difference import difference
from explore.pairs import PairOptions, frames_at, look_at_pairs, pair_up
from faces.detect import NO_FACES, FrameFaces
from tests.media import picture, write_video

SHARP = {"crf": "8"}
OPTIONS = PairOptions(frames=4, moments=2)


def swapped(number, width, height):
    """The same scene with another "face": a bright square that is not in the original."""
    image = picture(number, width, height)
    image[20:40, 50:80] = 255
    return image


def other(number, width, height):
    """Another recording altogether."""
    return picture(number, width, height)[::-1, ::-1].copy() // 2 + 100


def one_face(box):
    def detect(images):
        boxes, points = np.array([box], np.float32), np.zeros((1, 5, 2), np.float32)
        return [FrameFaces(boxes, np.ones(1, np.float32), points, "test")] * len(images)

    return detect


def row(filename, label, original="", group="", **changes):
    facts = {"status": "ok", "width": 96.0, "height": 64.0, "fps": 25.0, "frames": 24.0}
    return {"filename": filename, "label": label, "original": original, "group": group} | facts | changes


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "real.mp4", 24, options=SHARP)
    write_video(folder / "stranger.mp4", 24, options=SHARP, draw=other)
    write_video(folder / "fake.mp4", 24, options=SHARP, draw=swapped)
    write_video(folder / "short.mp4", 12, options=SHARP, draw=swapped)
    return {path.name: path for path in folder.iterdir()}


def look(rows, clips, tmp_path, detector=None, options=OPTIONS):
    detector = detector or one_face([50, 20, 80, 40])
    return look_at_pairs(pd.DataFrame(rows), clips, tmp_path / "p", tmp_path / "c", detector, options)


def test_the_changed_region_is_found_and_nothing_else():
    original = picture(3, 96, 64)
    found = difference(original, swapped(3, 96, 64))
    assert found.box_xyxy == (50, 20, 80, 40)
    assert found.share == pytest.approx(600 / (96 * 64))
    assert found.share_inside(np.array([50, 20, 65, 40], np.float32)) == pytest.approx(0.5)
    speck = swapped(3, 96, 64)
    speck[60:63, 5:8] = 255 - speck[60:63, 5:8]  # as compression leaves them
    assert difference(original, speck).box_xyxy == (50, 20, 80, 40)
    same = difference(original, original)
    assert same.box_xyxy is None and same.share == 0 and np.isnan(same.share_inside(np.zeros(4, np.float32)))
    with pytest.raises(ValueError, match="one size"):
        difference(original, original[:-1])


def test_frames_are_those_with_the_numbers(clips):
    images, seconds = frames_at(clips["real.mp4"], (2, 7, 30))
    assert seconds == pytest.approx((2 / 25, 7 / 25))
    for image, number in zip(images, (2, 7), strict=True):
        assert np.abs(image.astype(int) - picture(number, 96, 64)).mean() < 12
        assert np.abs(image.astype(int) - picture(number + 3, 96, 64)).mean() > 8


def test_a_pair_named_by_labels(clips, tmp_path):
    pairs, frames = look([row("real.mp4", "REAL"), row("fake.mp4", "FAKE", "real.mp4")], clips, tmp_path)
    pair = pairs.iloc[0]
    assert (pair["status"], pair["original"], pair["found_by"], pair["reason"]) == ("ok", "real.mp4", "labels", "")
    assert frames["frame"].tolist() == [3, 9, 15, 21]
    assert np.abs(pair[["x0", "y0", "x1", "y1"]].to_numpy(float) - [50, 20, 80, 40]).max() <= 4
    assert pair["on_face"] > 0.9
    assert pair["changed_share"] == pytest.approx(600 / (96 * 64), rel=0.2)
    drawn = frames[frames["whole"] != ""]
    assert len(drawn) == 2
    assert all((tmp_path / "p" / name).read_bytes()[:2] == b"\xff\xd8" for name in [*drawn["whole"], *drawn["close"]])


def test_the_change_beside_the_face_is_not_on_it(clips, tmp_path):
    pairs, _ = look([row("real.mp4", "REAL"), row("fake.mp4", "FAKE", "real.mp4")], clips, tmp_path,
                    one_face([0, 40, 30, 64]))  # fmt: skip
    assert pairs["on_face"].iloc[0] < 0.1
    none, _ = look([row("real.mp4", "REAL"), row("fake.mp4", "FAKE", "real.mp4")], clips, tmp_path / "n",
                   lambda images: [NO_FACES] * len(images))  # fmt: skip
    assert pd.isna(none["on_face"].iloc[0])


def test_in_a_group_the_original_is_the_one_that_differs_least(clips, tmp_path):
    rows = [
        row("real.mp4", "REAL", group="g"),
        row("stranger.mp4", "REAL", group="g"),
        row("fake.mp4", "FAKE", group="g"),
    ]
    assert pair_up(pd.DataFrame(rows), clips)[0]["original"] == "real.mp4"
    alone = [row("stranger.mp4", "REAL", group="g"), row("fake.mp4", "FAKE", group="g")]
    pairs, _ = look(alone, clips, tmp_path)
    assert pairs["status"].iloc[0] == "differ"
    assert "not the same moments" in pairs["reason"].iloc[0]


@pytest.mark.parametrize(
    ("rows", "status", "said"),
    [
        ([row("fake.mp4", "FAKE", "gone.mp4")], "no_original", "gone.mp4 is not among"),
        ([row("fake.mp4", "FAKE")], "no_original", "neither an original nor a group"),
        ([row("real.mp4", "REAL", group="a"), row("fake.mp4", "FAKE", group="b")], "no_original", "video of group b"),
        ([row("real.mp4", "REAL", group="a", width=80.0), row("fake.mp4", "FAKE", group="a")], "no_original", "96x64"),
        ([row("real.mp4", "REAL", width=80.0), row("fake.mp4", "FAKE", "real.mp4")], "differ", "80x64"),
        ([row("real.mp4", "REAL", fps=30.0), row("fake.mp4", "FAKE", "real.mp4")], "differ", "30.000 frames"),
        ([row("real.mp4", "REAL", frames=np.nan), row("fake.mp4", "FAKE", "real.mp4")], "differ", "how many frames"),
        ([row("real.mp4", "REAL", status="unreadable"), row("fake.mp4", "FAKE", "real.mp4")], "unreadable", "real.mp4"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_told(rows, status, said, clips, tmp_path):
    pairs, frames = look(rows, clips, tmp_path)
    assert pairs["status"].tolist() == [status]
    assert said in pairs["reason"].iloc[0]
    assert frames.empty


def test_a_shorter_fake_is_compared_over_its_length_and_that_is_said(clips, tmp_path):
    rows = [row("real.mp4", "REAL"), row("short.mp4", "FAKE", "real.mp4", frames=12.0)]
    pairs, frames = look(rows, clips, tmp_path)
    assert pairs["status"].iloc[0] == "ok"
    assert "the original has 24 frames, the fake 12" in pairs["reason"].iloc[0]
    assert frames["frame"].max() < 12


def test_a_second_run_looks_at_nothing_again(clips, tmp_path):
    rows = [row("real.mp4", "REAL"), row("fake.mp4", "FAKE", "real.mp4")]
    first = look(rows, clips, tmp_path)

    def fail(images):
        raise AssertionError("looked again")

    again = look(rows, clips, tmp_path, fail)
    for before, after in zip(first, again, strict=True):
        pd.testing.assert_frame_equal(before, after)
    next((tmp_path / "p").glob("*.jpg")).unlink()
    with pytest.raises(AssertionError, match="looked again"):
        look(rows, clips, tmp_path, fail)
