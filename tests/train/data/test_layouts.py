"""Data sets as they are distributed: what their folders and names say of the videos."""

import json
from pathlib import Path

import cv2
import pandas as pd
import pytest

from faces.store import CropStore
from faces.video import decode
from scale.plan import PlanRequest, make_plan
from scale.store import Store
from tests.media import write_video
from train.data.extract import extract
from train.data.extract_video import ExtractOptions
from train.data.metadata import read_videos

FFPP = [
    "original_sequences/youtube/c23/videos/033.mp4",
    "original_sequences/youtube/c23/videos/097.mp4",
    "original_sequences/youtube/c40/videos/033.mp4",
    "original_sequences/youtube/c23/videos/500.mp4",
    "original_sequences/actors/c23/videos/01__exit_phone_room.mp4",
    "manipulated_sequences/Deepfakes/c23/videos/033_097.mp4",
    "manipulated_sequences/Deepfakes/c40/videos/033_097.mp4",
    "manipulated_sequences/Face2Face/c23/videos/097_033.mp4",
    "manipulated_sequences/FaceSwap/c23/videos/033_097.mp4",
    "manipulated_sequences/FaceSwap/c23/videos/044_501.mp4",
    "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__exit_phone_room__YVGY8LOK.mp4",
    "manipulated_sequences/Deepfakes/masks/videos/033_097.mp4",
]
CELEB = [
    "Celeb-real/id0_0003.mp4",
    "Celeb-real/id16_0000.mp4",
    "Celeb-synthesis/id0_id16_0003.mp4",
    "Celeb-synthesis/id0_id17_0004.mp4",
    "YouTube-real/00170.mp4",
]


def make(root: Path, names: list[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_faceforensics(tmp_path):
    videos = {video.filename: video for video in read_videos([make(tmp_path, FFPP)])}
    assert sorted(videos) == sorted(name for name in FFPP if "masks" not in name)
    assert {name: video.label for name, video in videos.items()} == {
        name: "REAL" if name.startswith("original") else "FAKE" for name in videos
    }
    assert all(video.path == tmp_path / name for name, video in videos.items())
    c23 = "original_sequences/youtube/c23/videos"
    originals = [
        (FFPP[5], f"{c23}/033.mp4"), (FFPP[6], "original_sequences/youtube/c40/videos/033.mp4"),
        (FFPP[7], f"{c23}/097.mp4"), (FFPP[8], f"{c23}/033.mp4"), (FFPP[9], ""), (FFPP[10], FFPP[4]),
    ]  # fmt: skip
    assert [(name, videos[name].original) for name, _ in originals] == originals
    groups = {group: {n for n, v in videos.items() if v.group == group} for group in {v.group for v in videos.values()}}
    assert groups == {
        "sequence 033": {FFPP[i] for i in (0, 1, 2, 5, 6, 7, 8)},
        "sequence 044": {FFPP[9]},
        "sequence 500": {FFPP[3]},
        "actor 01": {FFPP[4], FFPP[10]},
    }


def test_the_splits_of_faceforensics(tmp_path):
    make(tmp_path, FFPP)
    (tmp_path / "train.json").write_text(json.dumps([["033", "097"]]))
    (tmp_path / "test.json").write_text(json.dumps([["500", "501"]]))
    splits = {video.filename: video.split for video in read_videos([tmp_path])}
    assert {name for name, split in splits.items() if split == "train"} == {FFPP[i] for i in (0, 1, 2, 5, 6, 7, 8)}
    assert {name for name, split in splits.items() if split == "test"} == {FFPP[3]}
    (tmp_path / "val.json").write_text("[[1")
    with pytest.raises(ValueError, match=r"val\.json cannot be read"):
        read_videos([tmp_path])


@pytest.mark.parametrize("deep", ["", "videos/"])
def test_celeb_df(tmp_path, deep):
    names = [name.replace("/", f"/{deep}") for name in CELEB]
    make(tmp_path, names)
    (tmp_path / "List_of_testing_videos.txt").write_text(
        "1 YouTube-real/00170.mp4\n0 Celeb-synthesis/id0_id16_0003.mp4\n"
    )
    videos = read_videos([tmp_path])
    found = {v.filename: (v.label, v.original, v.group, v.split) for v in videos}
    assert found == {
        names[0]: ("REAL", "", "id0", ""),
        names[1]: ("REAL", "", "id16", ""),
        names[2]: ("FAKE", names[0], "id0", "test"),
        names[3]: ("FAKE", "", "id0", ""),
        names[4]: ("REAL", "", names[4], "test"),
    }


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("manipulated_sequences/Deepfakes/c23/videos/mine.mp4", "no name of FaceForensics"),
        ("original_sequences/youtube/c23/videos/mine.mp4", "no name of FaceForensics"),
        ("Celeb-synthesis/id0.mp4", "no name of Celeb-DF"),
    ],
)
def test_a_strange_name_is_refused(tmp_path, name, told):
    with pytest.raises(ValueError, match=told):
        read_videos([make(tmp_path, [name])])


def test_a_level_too_deep_or_packed_is_said(tmp_path):
    make(tmp_path / "a" / "ffpp", FFPP)
    with pytest.raises(ValueError, match=f"a level deeper: give {tmp_path}/a/ffpp"):
        read_videos([tmp_path / "a"])
    part = tmp_path / "b" / "dfdc" / "dfdc_train_part_0"
    make(part, ["x.mp4"])
    (part / "metadata.json").write_text(json.dumps({"x.mp4": {"label": "REAL"}}))
    with pytest.raises(ValueError, match=f"its parts lie a level deeper: give {tmp_path}/b/dfdc"):
        read_videos([tmp_path / "b"])
    make(tmp_path / "c", ["dfdc_train_part_00.zip"])
    with pytest.raises(ValueError, match=r"unpack dfdc_train_part_00\.zip first"):
        read_videos([tmp_path / "c"])


def test_a_table_may_name_videos_by_their_paths(tmp_path):
    make(tmp_path / "in", ["one/x.mp4", "two/x.mp4", "two/more/x.mp4"])
    labels = tmp_path / "labels.csv"
    labels.write_text("filename,label,original\none/x.mp4,REAL,\ntwo/x.mp4,FAKE,one/x.mp4\ngone/x.mp4,REAL,\n")
    videos = {video.filename: video for video in read_videos([tmp_path / "in"], labels)}
    assert sorted(videos) == ["gone/x.mp4", "one/x.mp4", "two/more/x.mp4", "two/x.mp4"]
    assert videos["two/x.mp4"].group == "one/x.mp4" and videos["gone/x.mp4"].path is None
    assert not videos["two/more/x.mp4"].known, "it is shown as unlabelled, not left out"


@pytest.fixture
def small(media, tmp_path):
    """A pair of FaceForensics++ under two methods, real videos."""
    pictures = [cv2.resize(image, (320, 180)) for image in decode(media / "single_face.mp4", 4).images]
    names = [FFPP[0], FFPP[1], FFPP[5], FFPP[8]]
    for number, name in enumerate(names):
        (tmp_path / "ffpp" / name).parent.mkdir(parents=True, exist_ok=True)
        shift = 4 * number
        write_video(tmp_path / "ffpp" / name, 4, (320, 180), draw=lambda i, *_, by=shift: pictures[i] // 2 + by)
    return tmp_path / "ffpp", names


def test_one_name_under_two_methods_from_videos_to_folds(small, tmp_path):
    root, names = small
    summary = extract([root], tmp_path / "crops", ExtractOptions(frames=2), workers=0)
    assert sorted(summary.names["ok"]) == sorted(names)
    index = pd.read_csv(tmp_path / "crops" / "index.csv")
    assert set(index["filename"]) == set(names) and index["face"].is_unique
    store = CropStore([tmp_path / "crops"])
    assert all(store.read(face).ndim == 3 for face in index["face"])
    fakes = index[index["label"] == "FAKE"]
    assert set(fakes["original"]) == {FFPP[0]} and set(fakes["boxes_from"]) == {"original"}
    assert index["original_group"].nunique() == 1


def test_a_plan_for_many_machines_names_them_alike(small, tmp_path):
    root, names = small
    make_plan(PlanRequest(str(root), str(tmp_path / "store"), "extract"))
    units = list(Store(str(tmp_path / "store")).units())
    assert sorted(item.key for unit in units for item in unit.items) == sorted(names)
