"""What training sees of a stored crop is, pixel for pixel, what inference cuts out of the frame."""

from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from common.labels import read_labels
from faces.cascade import Cascade
from faces.store import CropStore
from inference.pipeline import Pipeline, PredictOptions
from models.registry import MEMBERS, TIGHT, member_specs
from tests.media import write_video
from train.data.dataset import FaceDataset
from train.data.extract import extract
from train.data.extract_video import ExtractOptions

FRAMES = 5


@pytest.fixture(scope="module")
def videos(media, tmp_path_factory):
    """One person as filmed, and five who wander out of the picture, so that squares cross its edges."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "single_face.mp4").write_bytes((media / "single_face.mp4").read_bytes())
    crowd = cv2.cvtColor(cv2.imread(str(media / "multi_face.jpg")), cv2.COLOR_BGR2RGB)
    height, width = (int(side * 900 / crowd.shape[1]) for side in crowd.shape[:2])
    crowd = cv2.resize(crowd, (width, height), interpolation=cv2.INTER_AREA)

    def wander(number, out_width, out_height):
        shift = 12 * number
        turned = np.roll(crowd, (-shift // 2, shift), axis=(0, 1))
        return np.ascontiguousarray(turned[:out_height, :out_width])

    size = (min(640, width) // 2 * 2, min(360, height) // 2 * 2)
    write_video(folder / "crowd.mp4", 20, size, draw=wander)
    labels = folder / "labels.csv"
    labels.write_text("filename,label\nsingle_face.mp4,REAL\ncrowd.mp4,FAKE\n")
    return folder, labels


@pytest.fixture(scope="module")
def stored(videos, tmp_path_factory):
    """The table and the store of a lossless extraction."""
    folder, labels = videos
    out = tmp_path_factory.mktemp("crops")
    options = ExtractOptions(FRAMES, image_format="png", margin=0.0, specs=member_specs())
    extract([folder], out, options, labels, workers=0)
    return read_labels(out / "index.csv"), CropStore([out])


@pytest.fixture(scope="module")
def inferred(videos):
    """What inference cuts: spec -> crops, and which video, frame and person each is of."""
    folder, _ = videos
    crops: dict[str, list[np.ndarray]] = {}

    def loaded(name, spec):
        def logits(images):
            crops.setdefault(name, []).extend(images)
            return np.zeros(len(images))

        return SimpleNamespace(card=SimpleNamespace(name=name, crop=spec), logits=logits)

    loaded_members = [loaded(name, member.crop) for name, member in MEMBERS.items()]
    pipeline = Pipeline(Cascade(torch.device("cpu")), loaded_members, PredictOptions(frames=FRAMES))  # type: ignore[arg-type]
    # One video at a time: of several, the members see first what is decoded first, and results come by path.
    names = ["crowd.mp4", "single_face.mp4"]
    results = [result for name in names for result in pipeline.run([folder / name])]
    keys = [(result.filename, face.frame, face.person) for result in results for face in result.faces]
    return keys, crops


@pytest.mark.slow
def test_the_videos_test_something(stored, inferred):
    table, _ = stored
    keys, _ = inferred
    columns = (table["filename"], table["frame"].astype(int), table["person"].astype(int))
    assert sorted(keys) == sorted(zip(*columns, strict=True))
    numbers = table[["crop_left", "crop_top", "crop_width", "crop_height", "frame_width", "frame_height"]].astype(int)
    crosses = (numbers["crop_left"] == 0) | (numbers["crop_top"] == 0)
    crosses |= numbers["crop_left"] + numbers["crop_width"] == numbers["frame_width"]
    assert len(table) > 2 * FRAMES and crosses.any() and not crosses.all()


@pytest.mark.parametrize("name", MEMBERS)
def test_training_sees_what_inference_sees(name, stored, inferred):
    table, store = stored
    keys, crops = inferred
    dataset = FaceDataset(store, table, MEMBERS[name].crop, TIGHT)
    rows = pd.MultiIndex.from_arrays([table["filename"], table["frame"].astype(int), table["person"].astype(int)])
    for key, crop in zip(keys, crops[name], strict=True):
        mine = dataset[int(np.flatnonzero(rows == key)[0])][0].numpy()
        assert (mine == crop).all(), f"{name}: {key} differs by up to {np.abs(mine.astype(int) - crop).max()}"
