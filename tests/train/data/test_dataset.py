import dataclasses

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from faces.crop import ALIGNED_POINTS, CropSpec, box_inside_crop, cut
from faces.store import CropStore
from models.registry import MEMBERS, TIGHT
from tests.train.meshes import make_meshes
from train.augment import blending
from train.config import TrainConfig
from train.data.dataset import FaceDataset
from train.data.load import with_made_fakes
from train.data.table import BOX_COLUMNS, POINT_COLUMNS


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
        dataset = FaceDataset(store, table, spec, TIGHT, TrainConfig("tiny", seed=seed))
        dataset.epoch = epoch
        return dataset[row][0].numpy()

    first = crop(0, 0, 3)
    np.testing.assert_array_equal(first, crop(0, 0, 3))
    for other in ((1, 0, 3), (0, 1, 3)):
        assert (crop(*other) != first).any()


@pytest.mark.parametrize("name", sorted(n for n, member in MEMBERS.items() if member.crop.align == "none"))
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


def with_points(table, size=64):
    values = (ALIGNED_POINTS * size / 112).ravel()
    return table.assign(**dict(zip(POINT_COLUMNS, values, strict=True)))


def test_box_and_points_of_the_table_decide_the_crop(faces):
    store, table = faces
    box = np.array([10, 12, 50, 52], dtype=np.float32)
    table = with_points(table).assign(**dict(zip(BOX_COLUMNS, box, strict=True)))
    for spec in (CropSpec("s", 32, margin=0.2), CropSpec("a", 32, align="5pt")):
        crop, _ = FaceDataset(store, table, spec, TIGHT)[4]
        points = (ALIGNED_POINTS * 64 / 112).astype(np.float32)
        np.testing.assert_array_equal(crop.numpy(), cut(store.read("f004.png"), box, spec, points))


def test_aligning_without_points_says_how_to_get_them(faces):
    with pytest.raises(ValueError, match=r"24 of 24 faces lack.*find_keypoints"):
        FaceDataset(*faces, CropSpec("a", 32, align="5pt"), TIGHT)


def test_a_fake_and_its_original_are_augmented_alike(faces):
    """The same picture stored twice, as an original and as its fake, comes out the same, epoch by epoch."""
    store, table = faces
    table.loc[1, "face"] = table.loc[0, "face"]
    for same in (True, False):
        dataset = FaceDataset(store, table, TIGHT, TIGHT, TrainConfig("tiny", same_augment=same))
        equal = []
        for dataset.epoch in range(4):
            equal.append(torch.equal(dataset[0][0], dataset[1][0]))
        assert all(equal) == same


def test_fakes_made_of_the_original_show_it_and_count_as_fake(faces):
    store, table = faces
    config = TrainConfig("tiny", self_blend=1.0, augment="none")
    meshes = make_meshes(list(table["face"]), size=64)
    dataset = FaceDataset(store, table, dataclasses.replace(TIGHT, size=64), TIGHT, config, meshes=meshes)
    fake, target = dataset[1]
    real, _ = dataset[0]
    assert target == 1
    np.testing.assert_array_equal(real.numpy(), store.read("f000.png"))
    # The bright square of the fake is gone: what is seen is the original, with only a part of it changed.
    assert fake.float().mean() < 130
    assert not torch.equal(fake, real)


@pytest.mark.parametrize("shift_y, made", [(0.0, True), (-0.6, False)])
def test_a_fake_whose_blend_the_member_would_not_see_is_the_tables_own(faces, monkeypatch, shift_y, made):
    """The blend covers the lower part of the face; a member that looks at what is above gets the fake of the table."""
    store, table = faces
    blended = np.full((64, 64, 3), 7, dtype=np.uint8), np.float32(np.indices((64, 64))[0] >= 40)
    monkeypatch.setattr("train.data.dataset.make_fake", lambda *_: blended)
    config = TrainConfig("tiny", self_blend=1.0, augment="none")
    spec = CropSpec("part", size=24, margin=-0.2, shift_y=shift_y, pad="edge")
    dataset = FaceDataset(store, table, spec, TIGHT, config, meshes=make_meshes(list(table["face"]), size=64))
    crop, target = dataset[1]
    assert target == 1
    assert bool((crop == 7).all()) == made


def test_making_fakes_without_meshes_says_how_to_get_them(faces):
    with pytest.raises(ValueError, match=r"give --mesh \(scripts/find_mesh\.py"):
        FaceDataset(*faces, TIGHT, TIGHT, TrainConfig("tiny", self_blend=0.1))


def test_validation_fakes_are_made_by_the_compositor_that_training_never_uses(faces, monkeypatch):
    store, table = faces
    reals = table[table["target"] == 0].reset_index(drop=True)
    both = with_made_fakes(reals, make_meshes(list(reals["face"]), size=64))
    meshes, calls = make_meshes(list(reals["face"]), size=64), []
    original = blending.held_out

    def watched(*arguments):
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(blending, "held_out", watched)
    spec = dataclasses.replace(TIGHT, size=64)
    training = FaceDataset(store, both, spec, TIGHT, TrainConfig("tiny", made_fakes=True), meshes=meshes)
    for row in range(len(both)):
        training[row]
    assert not calls
    shown = FaceDataset(store, both, spec, TIGHT, meshes=meshes)
    fakes = [shown[row][0] for row in range(len(reals), len(both))]
    assert len(calls) == len(reals)
    assert all(torch.equal(shown[len(reals) + i][0], fake) for i, fake in enumerate(fakes))


def test_a_made_fake_differs_from_its_real_in_the_face_alone(faces):
    """What happens to both after the blending is the same, so nothing but the blending tells them apart."""
    store, table = faces
    reals = table[table["target"] == 0].reset_index(drop=True)
    meshes = make_meshes(list(reals["face"]), size=64, radius=10)
    both = with_made_fakes(reals, meshes)
    config = TrainConfig("tiny", made_fakes=True, same_augment=True, swaps=1.0, publish=0.5, augment="standard")
    dataset = FaceDataset(store, both, dataclasses.replace(TIGHT, size=64), TIGHT, config, meshes=meshes)
    equal = []
    for dataset.epoch in range(8):
        for row in range(len(reals)):
            corner = slice(0, 8)
            real, fake = dataset[row][0], dataset[len(reals) + row][0]
            equal.append((real[corner, corner].float() - fake[corner, corner].float()).abs().mean() < 6)
    # A codec carries a little of the change over the picture; a turned or otherwise coloured corner would be far off.
    assert np.mean(equal) > 0.8


def test_cut_outs_need_points_and_leave_the_rest(faces):
    store, table = faces
    config = TrainConfig("tiny", cutout=1.0, augment="none")
    spec = dataclasses.replace(TIGHT, size=64)
    plain = FaceDataset(store, table, spec, TIGHT, config)[3][0]
    np.testing.assert_array_equal(plain.numpy(), store.read("f003.png"))
    cut_out = FaceDataset(store, with_points(table), spec, TIGHT, config)[3][0]
    changed = (cut_out != plain).any(dim=2).float().mean()
    assert 0.01 < changed < 0.5


def test_seams_lie_where_a_fake_differs_from_its_real_however_both_are_turned(faces):
    store, table = faces
    reals = table[table["target"] == 0].reset_index(drop=True)
    meshes = make_meshes(list(reals["face"]), size=64, radius=12)
    both = with_made_fakes(reals, meshes)
    config = TrainConfig("tiny", made_fakes=True, same_augment=True, swaps=1.0, seams=1.0)
    plain = dataclasses.replace(config, seams=0.0)
    spec = dataclasses.replace(TIGHT, size=64)
    dataset = FaceDataset(store, both, spec, TIGHT, config, meshes=meshes)
    same = FaceDataset(store, both, spec, TIGHT, plain, meshes=meshes)
    inside, outside = [], []
    for dataset.epoch in range(12):
        same.epoch = dataset.epoch
        for row in range(len(reals)):
            (real, _, none), (fake, _, seams) = dataset[row], dataset[len(reals) + row]
            assert torch.equal(fake, same[len(reals) + row][0]), "asking where the seams lie changes no pixel"
            assert not none.any()
            assert seams.shape == (4, 4)
            change = (real.float() - fake.float()).abs().mean(dim=2).reshape(4, 16, 4, 16).amax(dim=(1, 3))
            inside.extend(change[seams > 0.5])
            outside.extend(change[seams < 0.01])
    assert len(inside) > 50 and len(outside) > 50
    assert np.mean(inside) > 3 * np.mean(outside)


def test_what_fakes_are_made_of_is_the_configs(faces, monkeypatch):
    asked = []
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    monkeypatch.setattr(
        "train.data.dataset.make_fake", lambda *given: asked.append(given[-4:]) or (image, image[..., 0])
    )
    store, table = faces
    reals = table[table["target"] == 0].reset_index(drop=True)
    meshes = make_meshes(list(reals["face"]), size=64, radius=12)
    both = with_made_fakes(reals, meshes)
    spec = dataclasses.replace(TIGHT, size=64)
    config = TrainConfig("tiny", made_fakes=True, swaps=0.6, bands=0.25, misfits=0.5)
    FaceDataset(store, both, spec, TIGHT, config, meshes=meshes)[len(reals)]
    FaceDataset(store, both, spec, TIGHT, meshes=meshes)[len(reals)]  # of validation: what is kept out of training
    assert asked == [(0.6, False, 0.25, 0.5), (0.0, True, 0.0, 0.0)]


def test_seams_are_turned_with_the_picture(faces, monkeypatch):
    """A blend on one side of the picture: flipped with it, or the network would learn to look on the wrong side."""
    image, mask = np.full((64, 64, 3), 40, dtype=np.uint8), np.zeros((64, 64), dtype=np.float32)
    image[6:26, 4:24], mask[6:26, 4:24] = 220, 1
    monkeypatch.setattr("train.data.dataset.make_fake", lambda *_: (image.copy(), cv2.blur(mask, (5, 5))))
    store, table = faces
    reals = table[table["target"] == 0].reset_index(drop=True)
    meshes = make_meshes(list(reals["face"]), size=64, radius=12)
    config = TrainConfig("tiny", made_fakes=True, same_augment=True, seams=1.0)
    spec = dataclasses.replace(TIGHT, size=64)
    dataset = FaceDataset(store, with_made_fakes(reals, meshes), spec, TIGHT, config, meshes=meshes)
    sides = set()
    for dataset.epoch in range(16):
        crop, _, seams = dataset[len(reals)]
        bright = np.argwhere(crop.numpy().mean(axis=2) > 130).mean(axis=0) / 16 - 0.5  # in cells
        where = np.argwhere(seams.numpy() > 0.5).mean(axis=0)
        assert np.abs(bright - where).max() < 0.8
        sides.add(bool(where[1] > 1.5))
    assert sides == {False, True}
