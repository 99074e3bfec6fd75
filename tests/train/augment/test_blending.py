import cv2
import numpy as np
import pytest

from tests.train.meshes import make_mesh, make_meshes, noise_picture
from train.augment import blending
from train.augment.blending import blend, blend_bands, held_out, make_fake, misfit, self_blend, swap
from train.augment.mesh import Meshes

SIZE = 128
MESH = make_mesh((64, 62), 36)


def face(seed=0):
    return noise_picture(SIZE, seed)


class Store:
    def read(self, name):
        return face(int(name))


def test_a_self_blend_is_repeatable_and_changes_something():
    changed = []
    for seed in range(60):
        out, mask = self_blend(face(), MESH, np.random.default_rng(seed))
        assert mask.shape == (SIZE, SIZE)
        assert out.shape == (SIZE, SIZE, 3)
        assert out.dtype == np.uint8
        np.testing.assert_array_equal(out, self_blend(face(), MESH, np.random.default_rng(seed))[0])
        changed.append((out != face()).any())
    assert all(changed)


def test_either_side_of_a_self_blend_is_changed_as_often():
    corner = [
        np.array_equal(self_blend(face(), MESH, np.random.default_rng(s))[0][:4, :4], face()[:4, :4])
        for s in range(200)
    ]
    assert 0.4 < np.mean(corner) < 0.65


@pytest.mark.parametrize("compositor", [swap, misfit, held_out])
def test_a_swap_shows_the_donor_in_the_face_and_the_target_around_it(compositor):
    target, donor = np.full((SIZE, SIZE, 3), 60, np.uint8), face(3)
    for seed in range(40):
        out, mask = compositor(target, MESH, donor, make_mesh((60, 66), 30, 0.1), np.random.default_rng(seed))
        np.testing.assert_array_equal(out[:3], target[:3])
        if compositor is not held_out:  # Poisson blending rounds the pixels around its mask too
            assert (out[mask == 0] == 60).all(), "outside the mask a fake is the face it is made of"
        assert out.shape == target.shape
    assert (out[55:75, 55:75].astype(int) - 60).std() > 0


def test_blending_is_a_weighted_mean():
    inside, outside = np.full((4, 4, 3), 200, np.uint8), np.full((4, 4, 3), 100, np.uint8)
    mask = np.full((4, 4), 0.5, np.float32)
    assert (blend(inside, outside, mask, 1.0) == 150).all()
    assert (blend(inside, outside, mask, 0.5) == 125).all()
    assert (blend(inside, outside, 0 * mask, 1.0) == 100).all()


def half_masked(height=65, width=91):
    """A mask whose right half is blended, and two noisy pictures of which one is 60 brighter."""
    mask = np.zeros((height, width), np.float32)
    mask[:, width // 2 :] = 1
    noise = np.random.default_rng(1).integers(0, 40, (height, width, 3)).astype(np.uint8)
    return noise + np.uint8(100), noise + np.uint8(40), mask


def test_bands_run_colours_into_each_other_and_keep_details_and_what_lies_far():
    inside, outside, mask = half_masked()
    at_once, in_bands = blend(inside, outside, mask, 1.0), blend_bands(inside, outside, mask, 1.0, 4)
    assert in_bands.shape == outside.shape
    assert in_bands.dtype == np.uint8
    columns = in_bands.mean(axis=(0, 2)) - outside.mean(axis=(0, 2))
    assert np.abs(columns[:6]).max() < 2, "far outside the mask lies the face that was there"
    assert np.abs(columns[-6:] - 60).max() < 2
    step = np.abs(np.diff(in_bands.astype(float).mean(axis=(0, 2)) - outside.mean(axis=(0, 2)))).max()
    assert np.abs(np.diff(at_once.astype(float).mean(axis=(0, 2)) - outside.mean(axis=(0, 2)))).max() > 55
    assert step < 12, "no edge of colour is left"
    details = in_bands - cv2.GaussianBlur(in_bands, (0, 0), 1.5).astype(float)
    ours = outside - cv2.GaussianBlur(outside, (0, 0), 1.5).astype(float)
    assert np.corrcoef(details.ravel(), ours.ravel())[0, 1] > 0.95, "both pictures have the same details"


def test_bands_keep_the_details_of_each_side():
    noisy, _, mask = half_masked()
    flat = np.full_like(noisy, 60)
    out = blend_bands(noisy, flat, mask, 1.0, 3).astype(float)
    assert out[:, -20:].std() > 0.8 * noisy[:, -20:].std(), "where the mask is, the noise of the one"
    assert out[:, :20].std() < 2, "where it is not, the other is flat"


def test_without_bands_nothing_is_drawn_for_them():
    """Or a run with none would make other fakes than before there were any."""
    inside, outside, mask = half_masked()
    ours, plain = np.random.default_rng(5), np.random.default_rng(5)
    blending._blended(inside, outside, mask, (0.5, 1.0), ours, 0.0)
    plain.choice((0.5, 1.0))
    assert ours.random() == plain.random()


def test_bands_by_a_part_are_a_weighted_mean():
    inside, outside, mask = half_masked()
    whole = np.ones_like(mask)
    np.testing.assert_allclose(blend_bands(inside, outside, whole, 0.5, 3), outside.astype(int) + 30, atol=1)
    np.testing.assert_allclose(blend_bands(inside, outside, whole * 0, 1.0, 3), outside, atol=1)


def test_a_share_of_the_fakes_is_blended_band_by_band(monkeypatch):
    calls = []
    monkeypatch.setattr(blending, "blend_bands", lambda *args: calls.append(args[-1]) or args[1])
    for seed in range(100):
        self_blend(face(), MESH, np.random.default_rng(seed), bands=0.3)
        swap(face(), MESH, face(3), MESH, np.random.default_rng(seed), bands=0.3)
    assert 40 < len(calls) < 80
    assert set(calls) == {2, 3, 4, 5}
    calls.clear()
    self_blend(face(), MESH, np.random.default_rng(0))
    held_out(face(), MESH, face(3), MESH, np.random.default_rng(0))
    assert not calls


def test_a_misfit_blends_over_wider_pyramids_and_leaves_the_rim_of_the_face(monkeypatch):
    calls = []
    monkeypatch.setattr(blending, "blend_bands", lambda *args: calls.append(args[-1]) or args[1])
    for seed in range(200):
        _, mask = misfit(face(), MESH, face(3), MESH, np.random.default_rng(seed), bands=0.5)
        np.testing.assert_array_equal(mask, misfit(face(), MESH, face(3), MESH, np.random.default_rng(seed))[1])
        width = float(np.linalg.norm(MESH[454] - MESH[234]))
        assert 0.5 * width < (mask > 0.5).any(axis=0).sum() < 0.97 * width, "smaller than the face, and no mere part"
    assert 80 < len(calls) < 120
    assert set(calls) == {2, 3, 4, 5, 6}


class Counting(Meshes):
    """Meshes that say among how many faces a donor was looked for."""

    asked: list[int] = []  # noqa: RUF012

    def like(self, name, rng, candidates=200):
        self.asked.append(candidates)
        return super().like(name, rng, candidates)


def counted(misfits, held=False):
    """How many donors of 300 fakes were chosen for a bad fit, and how many fakes are bad fits."""
    plain = make_meshes(["0", "1", "2"], size=SIZE, radius=36)
    meshes = Counting(plain.row_of, plain.points, plain.names, plain.poses)
    meshes.asked.clear()
    with pytest.MonkeyPatch.context() as patch:
        bad = []
        patch.setattr(blending, "misfit", lambda *given: bad.append(1) or (given[0], None))
        for seed in range(300):
            make_fake(Store(), "0", meshes, np.random.default_rng(seed), 0.5, held, misfits=misfits)
    return sum(asked < 40 for asked in meshes.asked), len(bad)


def test_a_share_of_the_swaps_fits_badly_and_never_one_of_validation():
    few, bad = counted(0.25)
    assert few == bad
    assert 20 < bad < 50, "of about 130 swaps"
    assert counted(0.0) == (0, 0)
    assert counted(1.0, held=True) == (0, 0)


def test_a_donor_is_never_the_face_itself_where_there_is_another():
    meshes = make_meshes(["0", "1"], size=SIZE, radius=36)
    assert {meshes.like("0", np.random.default_rng(seed), candidates=1) for seed in range(40)} == {"1"}
    alone = make_meshes(["0"], size=SIZE, radius=36)
    assert alone.like("0", np.random.default_rng(0)) == "0"


def test_without_misfits_nothing_is_drawn_for_them(monkeypatch):
    """Or a run with none would make other fakes than before there were any."""
    meshes = make_meshes(["0", "1"], size=SIZE, radius=36)
    states = []
    monkeypatch.setattr(blending, "swap", lambda *given: states.append(given[4].random()) or (given[0], None))
    make_fake(Store(), "0", meshes, np.random.default_rng(7), swaps=1.0)
    plain = np.random.default_rng(7)
    plain.random()
    meshes.like("0", plain)
    assert states == [plain.random()]


def test_no_compositor_of_training_solves_poissons_equation(monkeypatch):
    """It is what the held-out compositor and the demo's swap do: neither may be known from training."""

    def refuse(*_):
        raise AssertionError("seamlessClone in training")

    monkeypatch.setattr(cv2, "seamlessClone", refuse)
    meshes = make_meshes([str(i) for i in range(5)], SIZE)
    for seed in range(60):
        make_fake(Store(), "2", meshes, np.random.default_rng(seed), swaps=0.5, bands=0.5, misfits=0.5)
    with pytest.raises(AssertionError, match="seamlessClone"):
        make_fake(Store(), "2", meshes, np.random.default_rng(0), swaps=0.5, held=True)


def test_the_share_of_swaps_is_what_was_asked_for(monkeypatch):
    kinds = []
    monkeypatch.setattr(blending, "self_blend", lambda image, *_: kinds.append("self") or image)
    monkeypatch.setattr(blending, "swap", lambda image, *_: kinds.append("swap") or image)
    meshes = make_meshes([str(i) for i in range(5)], SIZE)
    for seed in range(400):
        make_fake(Store(), "1", meshes, np.random.default_rng(seed), swaps=0.35)
    assert 0.28 < kinds.count("swap") / 400 < 0.42


def test_a_face_without_a_mesh_is_named():
    with pytest.raises(ValueError, match="'9' has no mesh"):
        make_fake(Store(), "9", make_meshes(["1"], SIZE), np.random.default_rng(0), swaps=0.5)


def test_a_donor_has_the_nearest_pose_and_is_somebody_else():
    """Place, size and slant do not count; where the nose lies between the eyes does."""

    def turned_away(mesh, by):
        mesh = mesh.copy()
        mesh[[168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 327, 129, 358], 0] += by
        return mesh

    alike = [make_mesh((64, 64), 30), make_mesh((40, 50), 15, 0.5)]
    other = [turned_away(make_mesh((64, 64), 30), 9), turned_away(make_mesh((64, 64), 30), -9)]
    meshes = Meshes.of_points(list("abcd"), np.stack([*alike, *other]).astype(np.float16))
    assert {meshes.like("a", np.random.default_rng(s)) for s in range(20)} == {"b"}


def test_meshes_are_read_back_without_faces_that_have_none(tmp_path):
    points = np.stack([MESH, MESH, MESH]).astype(np.float16)
    points[1, 7] = np.nan
    np.savez_compressed(tmp_path / "m.npz", faces=np.array(["a", "b", "c"]), points=points)
    meshes = Meshes.read(tmp_path / "m.npz")
    assert meshes.names == ("a", "c")
    assert meshes.of("b") is None
    np.testing.assert_allclose(meshes.of("c"), MESH, atol=0.05)
    assert Meshes.read(tmp_path / "m.npz", {"c"}).names == ("c",)
    np.savez(tmp_path / "n.npz", faces=np.array(["a"]))
    with pytest.raises(ValueError, match=r"find_mesh\.py"):
        Meshes.read(tmp_path / "n.npz")
