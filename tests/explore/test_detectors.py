"""Detectors on real pictures, and the comparison that remembers what it has seen."""

import builtins
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from common.errors import DfdcError
from explore import detectors
from explore.detectors import ABSENT, BOX_COLUMNS, DETECTORS, LOOKED_COLUMNS, DlibDetector, compare
from faces.boxes import iou_matrix
from faces.detect import NO_FACES, SURE, FrameFaces
from faces.video import decode
from tests.media import truncate, write_video

# Who finds how many of the five faces in multi_face.jpg: the front network sees the whole picture at 128 pixels.
AT_LEAST = {"blazeface_front": 2, "dlib_hog": 4}
PERSON = np.array([[190, 80, 330, 230]], dtype=np.float64)


@pytest.fixture(scope="module")
def pictures(media):
    """Five people; one person; a cartoon; two shapes that are too small for a face."""
    five = cv2.cvtColor(cv2.imread(str(media / "multi_face.jpg")), cv2.COLOR_BGR2RGB)
    small = [np.zeros((16, 16, 3), np.uint8), np.zeros((41, 900, 3), np.uint8)]
    return [five, *decode(media / "single_face.mp4", 1).images, *decode(media / "no_face.mp4", 1).images, *small]


@pytest.fixture(scope="module", params=list(DETECTORS))
def answer(request, pictures):
    """Twice what each detector says to the pictures."""
    detector = DETECTORS[request.param]()
    return request.param, detector(pictures), detector(pictures)


def test_every_detector_finds_people_and_nothing_where_there_is_nobody(answer):
    name, (five, one, cartoon, *small), _ = answer
    assert len(five) >= AT_LEAST.get(name, 5), five.boxes_xyxy
    assert len(one) == 1
    assert (cartoon.scores < SURE).all() or name not in ("mtcnn", "cascade", "blazeface_back", "blazeface_back_tiles")
    assert [len(faces) for faces in small] == [0, 0]


def test_every_box_of_the_one_person_is_the_same_face(answer, pictures):
    _, (_, one, *_), _ = answer
    box = one.boxes_xyxy.astype(np.float64)
    height, width = pictures[1].shape[:2]
    assert (box[:, :2] >= 0).all()
    assert box[0, 2] <= width
    assert box[0, 3] <= height
    assert np.isfinite(one.scores).all()
    inside = (box[0, :2] + box[0, 2:]) / 2
    assert (PERSON[0, :2] < inside).all() and (inside < PERSON[0, 2:]).all(), (inside, box)


def test_every_detector_says_the_same_twice(answer):
    _, first, second = answer
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
        np.testing.assert_array_equal(one.scores, other.scores)


def test_detectors_without_points_say_so(pictures):
    faces = DETECTORS["haar"]()(pictures[1:2])[0]
    assert faces.points_xy.shape == (len(faces), 5, 2)
    assert np.isnan(faces.points_xy).all()


def faces_at(*boxes):
    corners = np.array(boxes, dtype=np.float32)
    return FrameFaces(corners, np.full(len(boxes), 0.5, np.float32), np.full((len(boxes), 5, 2), np.nan, np.float32))


class Stub:
    """Answers two boxes to bright frames; counts its calls, and takes long over the first two by its clock."""

    def __init__(self, clock):
        self.shapes, self.clock = [], clock

    def __call__(self, images):
        self.clock[0] += 100 if len(self.shapes) < 2 else 3
        self.shapes.append([image.shape for image in images])
        return [faces_at((1, 2, 30, 40), (5, 5, 20, 20)) if image.any() else NO_FACES for image in images]


@pytest.fixture
def stubs(monkeypatch):
    """DETECTORS that are quick to build, and all that were built."""
    built, clock = [], [0.0]
    monkeypatch.setattr(detectors, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def build():
        built.append(Stub(clock))
        return built[-1]

    monkeypatch.setattr(detectors, "DETECTORS", {"one": build, "two": build})
    return built


def test_the_tables_of_a_comparison(tmp_path, stubs):
    videos = [write_video(tmp_path / "a.mp4", frames=24), write_video(tmp_path / "b.mp4", frames=24, size=(64, 96))]
    ticks = []
    found = compare(videos, 4, ["one", "two"], tmp_path / "cache", ticks.append)
    assert ticks == [1, 1]
    assert tuple(found.boxes.columns) == BOX_COLUMNS
    assert tuple(found.looked.columns) == LOOKED_COLUMNS
    assert found.looked["frame"].tolist() == [3, 9, 15, 21] * 2
    np.testing.assert_allclose(found.looked["second"], [0.12, 0.36, 0.6, 0.84] * 2)
    assert found.looked[["width", "height"]].drop_duplicates().values.tolist() == [[96, 64], [64, 96]]
    assert found.boxes.groupby(["filename", "detector"]).size().tolist() == [8] * 4
    assert found.boxes.iloc[0, 4:].tolist() == [1, 2, 30, 40, 0.5]
    assert found.videos[["status", "frames"]].values.tolist() == [["ok", 4]] * 2
    assert found.timing["detector"].tolist() == ["one", "two"]
    assert found.timing["frames"].tolist() == [8, 8]


def test_the_first_calls_are_not_in_the_times(tmp_path, stubs):
    video = write_video(tmp_path / "a.mp4", frames=8)
    found = compare([video], 4, ["one"], tmp_path / "cache")
    assert len(stubs[0].shapes) == 3
    assert found.timing["seconds"][0] == 3
    assert found.timing["ms_per_frame"][0] == pytest.approx(1000 * found.timing["seconds"][0] / 4)


def test_frames_without_a_box_are_known(tmp_path, stubs):
    dark = write_video(tmp_path / "dark.mp4", draw=lambda _, width, height: np.zeros((height, width, 3), np.uint8))
    found = compare([dark], 3, ["one"], tmp_path / "cache")
    assert found.boxes.empty
    assert len(found.looked) == 3


def test_what_was_seen_is_not_looked_at_again(tmp_path, stubs):
    video = write_video(tmp_path / "a.mp4")
    first = compare([video], 4, ["one"], tmp_path / "cache")
    again = compare([video], 4, ["one"], tmp_path / "cache")
    assert len(stubs) == 1
    for one, other in ((first.boxes, again.boxes), (first.timing, again.timing), (first.videos, again.videos)):
        assert one.equals(other)
    more = compare([video], 4, ["two", "one"], tmp_path / "cache")
    assert len(stubs) == 2  # only the detector that had not looked
    assert more.timing["detector"].tolist() == ["two", "one"]
    assert compare([video], 4, ["one"], tmp_path / "cache").boxes.equals(first.boxes)
    compare([video], 5, ["one"], tmp_path / "cache")
    assert len(stubs) == 3  # other frames


@pytest.mark.parametrize("damage", ["", "{", '{"settings": 0}\n', "[1]\n"])
def test_a_cache_that_does_not_fit_is_made_again(tmp_path, stubs, damage):
    video = write_video(tmp_path / "a.mp4")
    first = compare([video], 4, ["one"], tmp_path / "cache")
    (tmp_path / "cache" / "a.mp4.jsonl").write_text(damage)
    assert compare([video], 4, ["one"], tmp_path / "cache").boxes.equals(first.boxes)
    assert len(stubs) == 2


def test_a_changed_file_is_looked_at_again(tmp_path, stubs):
    video = write_video(tmp_path / "a.mp4")
    compare([video], 4, ["one"], tmp_path / "cache")
    write_video(video, frames=12)
    assert compare([video], 4, ["one"], tmp_path / "cache").looked["frame"].max() < 12


def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path, stubs):
    videos = [write_video(tmp_path / f"{name}.mp4") for name in "ab"]

    class Killed(BaseException):
        pass

    def kill(_):
        raise Killed

    with pytest.raises(Killed):
        compare(videos, 4, ["one"], tmp_path / "cache", kill)
    calls = len(stubs[0].shapes)
    found = compare(videos, 4, ["one"], tmp_path / "cache")
    assert calls == 3
    assert found.looked["filename"].nunique() == 2
    assert len(stubs[1].shapes) == 3  # two to warm up, one for the second video
    assert [path.name for path in sorted((tmp_path / "cache").iterdir())] == ["a.mp4.jsonl", "b.mp4.jsonl"]


def test_a_broken_video_is_a_row(tmp_path, stubs):
    whole = write_video(tmp_path / "a.mp4")
    broken, nothing = truncate(write_video(tmp_path / "b.mp4"), 0.3), tmp_path / "c.mp4"
    for _ in range(2):
        found = compare([whole, broken, nothing], 4, ["one"], tmp_path / "cache")
        assert found.videos["status"].tolist() == ["ok", "unreadable", "unreadable"]
        assert found.videos["frames"].tolist() == [4, 0, 0]
        assert "cannot be" in found.videos["reason"][1] or "not a video" in found.videos["reason"][1]
        assert found.looked["filename"].unique().tolist() == ["a.mp4"]
    only_broken = compare([broken], 4, ["one"], tmp_path / "cache")
    assert only_broken.boxes.empty
    assert np.isnan(only_broken.timing["ms_per_frame"][0])


def test_the_cache_is_plain_json_lines(tmp_path, stubs):
    compare([write_video(tmp_path / "a.mp4")], 2, ["one"], tmp_path / "cache")
    head, entry = map(json.loads, (tmp_path / "cache" / "a.mp4.jsonl").read_text().splitlines())
    assert head["status"] == "ok"
    assert entry["detector"] == "one"


@pytest.mark.parametrize(
    ("names", "frames", "words"), [(["haar", "nobody"], 4, "nobody"), ([], 4, "0 detectors"), (["haar"], 0, "0 frames")]
)
def test_a_user_mistake_is_named(tmp_path, names, frames, words):
    with pytest.raises(ValueError, match=words):
        compare([], frames, names, tmp_path)


def test_two_videos_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.mp4"):
        compare([tmp_path / "x" / "a.mp4", tmp_path / "y" / "a.mp4"], 4, ["haar"], tmp_path)


def test_a_detector_that_is_not_installed_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.delitem(DETECTORS, "dlib_hog", raising=False)
    monkeypatch.setitem(ABSENT, "dlib_hog", detectors.NO_DLIB)
    with pytest.raises(ValueError, match="pip install dlib-bin"):
        compare([], 4, ["dlib_hog"], tmp_path)
    real = builtins.__import__

    def refuse(name, *rest):
        if name == "dlib":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DfdcError, match="pip install dlib-bin"):
        DlibDetector()


def test_haar_boxes_are_those_of_opencv(pictures):
    """The score must not change the boxes, as OpenCV's own levels and weights would."""
    cascade = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_default.xml")
    rects = cascade.detectMultiScale(cv2.cvtColor(pictures[0], cv2.COLOR_RGB2GRAY))
    theirs = np.array([(x, y, x + w, y + h) for x, y, w, h in rects], dtype=np.float64)
    mine = DETECTORS["haar"]()(pictures[:1])[0]
    overlap = iou_matrix(mine.boxes_xyxy.astype(np.float64), theirs)
    assert overlap.shape == (len(theirs), len(theirs))
    np.testing.assert_array_equal(overlap.max(axis=0), 1)
    assert (np.diff(mine.scores) <= 0).all()
