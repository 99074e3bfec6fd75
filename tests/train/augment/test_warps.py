import numpy as np

from tests.train.meshes import make_mesh, noise_picture
from train.augment.mesh import ANCHORS
from train.augment.warps import warp_piecewise

SIZE = 128
MESH = make_mesh((64, 62), 36)


def test_a_piecewise_warp_brings_every_anchor_to_its_place():
    donor_mesh = make_mesh((60, 60), 28, 0.15)
    donor_mesh[list(ANCHORS)] += np.random.default_rng(1).uniform(-1, 1, (len(ANCHORS), 2)).astype(np.float32)
    # A picture whose colours are its coordinates says where each pixel came from.
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    donor = np.stack([x, y, np.zeros_like(x)], axis=-1).astype(np.uint8)
    moved = warp_piecewise(donor, donor_mesh, MESH, (SIZE, SIZE))
    for target, source in zip(MESH[list(ANCHORS)], donor_mesh[list(ANCHORS)], strict=True):
        column, row = np.round(target).astype(int)
        assert np.abs(moved[row, column, :2].astype(float) - source).max() < 3


def test_a_warp_onto_itself_changes_nothing():
    np.testing.assert_allclose(
        warp_piecewise(noise_picture(SIZE), MESH, MESH, (SIZE, SIZE)).astype(int), noise_picture(SIZE), atol=1
    )
