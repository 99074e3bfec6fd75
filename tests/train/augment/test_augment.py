import av
import cv2
import numpy as np
import pytest
import torch

from faces.crop import ALIGNED_POINTS
from train.augment import degrade as degrading
from train.augment.degrade import degrade, overlay, publish, quarter, recompress
from train.augment.face_parts import OUTLINE, cut_out, face_scale, outline_in
from train.augment.mixing import mix_pairs
from train.augment.photometric import KINDS, augment

SIZE = 96
POINTS = ALIGNED_POINTS * SIZE / 112


def face(seed=0, size=SIZE):
    """Smooth noise: unlike white noise, it looks like a picture to a codec."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("kind", KINDS)
def test_augment_keeps_shape_and_type_over_many_draws(kind):
    for seed in range(120):
        out = augment(face(), np.random.default_rng(seed), kind)
        assert out.shape == (SIZE, SIZE, 3)
        assert out.dtype == np.uint8
        assert out.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(
        augment(face(), np.random.default_rng(5), kind), augment(face(), np.random.default_rng(5), kind)
    )


def test_an_unknown_set_is_told_the_known_ones():
    with pytest.raises(ValueError, match="standard, strong, keras, none"):
        augment(face(), np.random.default_rng(0), "mild")


def test_keras_moves_as_far_as_the_tutorial_says():
    """A dot in the middle lands a fifth of the size away at most along each turned axis, stretched by the zoom."""
    image = np.zeros((101, 101, 3), np.uint8)
    cv2.circle(image, (50, 50), 4, (255, 255, 255), -1)
    places = []
    for seed in range(200):
        y, x = np.nonzero(augment(image, np.random.default_rng(seed), "keras")[..., 0] > 128)
        places.append((x.mean() - 50, y.mean() - 50))
    reach = np.linalg.norm(places, axis=1).max() / 101
    assert 0.2 < reach < 0.2 * np.sqrt(2) / 0.8 + 0.02


@pytest.mark.parametrize("change", [quarter, recompress, overlay, degrade])
@pytest.mark.parametrize("size", [SIZE, 97])
def test_degradations_change_the_picture_and_not_its_shape(change, size):
    image = face(size=size)
    for seed in range(10):
        out = change(image, np.random.default_rng(seed))
        assert out.shape == image.shape
        assert out.dtype == np.uint8
        np.testing.assert_array_equal(out, change(image, np.random.default_rng(seed)))
    assert (out != image).any()
    # Still that picture. An overlay may hide much of it.
    if change in (quarter, recompress):
        assert np.corrcoef(out.ravel(), image.ravel())[0, 1] > 0.9


def test_recompress_goes_through_h264_and_worse_at_a_higher_crf(monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    codecs = []

    class Fixed:
        def __init__(self, crf):
            self.crf = crf

        def integers(self, low, high):
            assert (low, high) == (17, 41)
            return self.crf

    real_open = av.open

    def spying(*args, **kwargs):
        container = real_open(*args, **kwargs)
        codecs.append(container.format.name)
        return container

    monkeypatch.setattr("train.augment.degrade.av.open", spying)
    fine, coarse = (np.abs(recompress(image, Fixed(crf)).astype(int) - image).mean() for crf in (17, 40))
    assert fine < coarse
    assert set(codecs) == {"h264"}


def test_the_outline_follows_the_points():
    np.testing.assert_allclose(outline_in(ALIGNED_POINTS), OUTLINE, atol=1e-9)
    moved = outline_in(ALIGNED_POINTS * 2 + [10, 20])
    np.testing.assert_allclose(moved, OUTLINE * 2 + [10, 20], atol=1e-9)
    assert face_scale(ALIGNED_POINTS * 2) == pytest.approx(2)
    inside = [cv2.pointPolygonTest(OUTLINE.astype(np.float32), tuple(map(float, p)), False) for p in ALIGNED_POINTS]
    assert min(inside) > 0


def test_cut_out_takes_parts_of_the_face_and_nothing_else():
    image, gone = np.full((SIZE, SIZE, 3), 200, np.uint8), []
    image[::2] = 100
    for seed in range(60):
        out = cut_out(image, POINTS, np.random.default_rng(seed))
        changed = (out != image).any(axis=2)
        gone.append([changed[round(y), round(x)] or changed[round(y) + 1, round(x)] for x, y in POINTS])
        assert 0.01 < changed.mean() < 0.6
        assert not changed[:8].any()  # the forehead stays
    shares = np.mean(gone, axis=0)
    assert (shares > 0.3).all()
    assert (shares < 0.9).all()


def test_mixing_keeps_pairs_shares_and_balance():
    fakes, reals = torch.full((3, 2, 2, 3), 200, dtype=torch.uint8), torch.full((3, 2, 2, 3), 100, dtype=torch.uint8)
    crops, target = torch.cat([fakes, reals]), torch.tensor([1.0, 1, 1, 0, 0, 0])
    mixed, soft = mix_pairs(crops, target, 0.5, np.random.default_rng(0))
    torch.testing.assert_close(mixed[:, 0, 0, 0], 100 + 100 * soft)
    assert soft.mean() == pytest.approx(0.5)
    assert (soft[:3] >= 0.5).all()
    assert len(set(soft.tolist())) == 6


def test_publishing_draws_codecs_and_sizes_as_it_says(monkeypatch):
    seen = []
    monkeypatch.setattr(degrading, "through_h264", lambda image, crf: seen.append(("h264", crf, len(image))) or image)
    monkeypatch.setattr(degrading, "through_jpeg", lambda image, q: seen.append(("jpeg", q, len(image))) or image)
    for seed in range(600):
        assert publish(face(), np.random.default_rng(seed)).shape == (SIZE, SIZE, 3)
    crf, quality = ([value for kind, value, _ in seen if kind == wanted] for wanted in ("h264", "jpeg"))
    assert 0.44 < len(crf) / 600 < 0.56
    assert (min(crf), max(crf)) == (20, 40)
    assert 40 <= min(quality) <= 42 and 93 <= max(quality) <= 95
    sides = np.array([side for *_, side in seen])
    assert 0.44 < (sides == SIZE).mean() < 0.56
    assert 0.39 * SIZE < sides.min() < 0.45 * SIZE


def test_published_pictures_are_still_the_picture():
    differences = [np.abs(publish(face(), np.random.default_rng(s)).astype(int) - face()).mean() for s in range(60)]
    # Colour is stored at half the resolution, and this picture has strong colours; another picture is 70 away.
    assert all(0 < d < 30 for d in differences)
    assert np.median(differences) < 12
