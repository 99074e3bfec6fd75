import dataclasses

import cv2
import numpy as np
import pandas as pd
import pytest

from faces.crop import box_inside_crop, cut
from faces.store import CropStore
from models.registry import MEMBERS, TIGHT
from train.augment import augment
from train.dataset import FaceDataset, PairedSampler


def make_faces(folder, count=24, size=64):
    """Faces whose class can be seen: fakes have a bright square. Every third row is a real, the others its fakes."""
    rng, rows = np.random.default_rng(0), []
    folder.mkdir(parents=True)
    for i in range(count):
        real = i - i % 3
        image = rng.integers(60, 120, (size, size, 3), dtype=np.uint8)
        if i % 3:
            image[20:44, 20:44] = 230
        cv2.imwrite(str(folder / f"f{i:03}.png"), image)
        rows.append(
            {
                "face": f"f{i:03}.png",
                "filename": f"f{i:03}.mp4",
                "label": "FAKE" if i % 3 else "REAL",
                "original": f"f{real:03}.mp4" if i % 3 else "",
                "original_group": f"g{real}",
                "split": "val" if i >= count * 3 // 4 else "train",
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture
def faces(tmp_path):
    table = make_faces(tmp_path / "crops")
    return CropStore([tmp_path / "crops"]), table.assign(target=(table["label"] == "FAKE").astype(float))


def test_validation_never_augments(faces):
    store, table = faces
    dataset = FaceDataset(store, table, dataclasses.replace(TIGHT, size=64), TIGHT)
    crop, target = dataset[1]
    np.testing.assert_array_equal(crop.numpy(), store.read("f001.png"))
    assert target == 1


def test_augmentation_depends_on_seed_epoch_and_row_alone(faces):
    store, table = faces
    spec = dataclasses.replace(TIGHT, size=48)

    def crop(seed, epoch, row):
        dataset = FaceDataset(store, table, spec, TIGHT, seed)
        dataset.epoch = epoch
        return dataset[row][0].numpy()

    first = crop(0, 0, 3)
    np.testing.assert_array_equal(first, crop(0, 0, 3))
    for other in ((1, 0, 3), (0, 1, 3)):
        assert (crop(*other) != first).any()


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_training_cuts_the_pixels_that_the_kernel_cuts(tmp_path, name):
    """A face cut from a frame as the crops on disk are, read by the dataset, is what predict cuts from the frame."""
    spec = MEMBERS[name].crop
    frame = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    # The side of the crop is the member's size here, so that storing it resamples nothing.
    side = spec.size / (1 + 2 * spec.margin)
    box = np.array([300 - side / 2, 280 - side / 2, 300 + side / 2, 280 + side / 2], dtype=np.float32)
    stored = cut(frame, box, spec)
    cv2.imwrite(str(tmp_path / "a.png"), stored[:, :, ::-1])
    table = pd.DataFrame({"face": ["a.png"], "target": [1.0]})
    crop, _ = FaceDataset(CropStore([tmp_path]), table, spec, cut_as=spec)[0]
    np.testing.assert_array_equal(crop.numpy(), stored)


def test_a_ready_crop_of_its_own_framing_is_left_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    np.testing.assert_array_equal(cut(image, box_inside_crop(TIGHT, 224, 224), TIGHT), image)


def test_a_labelled_face_that_is_nowhere_is_an_error(faces):
    store, table = faces
    with pytest.raises(ValueError, match=r"1 labelled faces are in none.*'gone\.png'"):
        FaceDataset(store, pd.concat([table, table.iloc[:1].assign(face="gone.png")]), TIGHT, TIGHT)


def test_batches_are_half_and_half_and_pair_a_fake_with_its_original(faces):
    _, table = faces
    sampler = PairedSampler(table, batch=4, seed=0)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 8
    for batch in batches:
        assert table["target"].iloc[batch].tolist() == [1, 1, 0, 0]
        assert table["original"].iloc[batch[:2]].tolist() == table["filename"].iloc[batch[2:]].tolist()
    assert sorted(i for b in batches for i in b[:2]) == np.flatnonzero(table["target"]).tolist()


def test_the_order_is_a_function_of_seed_and_epoch_and_can_be_resumed(faces):
    _, table = faces
    sampler = PairedSampler(table, batch=4, seed=0)
    whole = list(sampler)
    sampler.start = 5
    assert list(sampler) == whole[5:]
    sampler.start, sampler.epoch = 0, 1
    assert list(sampler) != whole


@pytest.mark.parametrize(("batch", "keep", "message"), [(3, slice(None), "even"), (4, slice(0, 1), "both classes")])
def test_a_sampler_that_cannot_balance_says_so(faces, batch, keep, message):
    with pytest.raises(ValueError, match=message):
        PairedSampler(faces[1].iloc[keep], batch, 0)


def test_augment_keeps_shape_and_type_over_many_draws():
    crop = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    for seed in range(200):
        out = augment(crop, np.random.default_rng(seed))
        assert out.shape == crop.shape
        assert out.dtype == np.uint8
        assert out.flags["C_CONTIGUOUS"]
