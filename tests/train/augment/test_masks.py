import cv2
import numpy as np

from tests.train.meshes import make_mesh
from train.augment.masks import blend_mask, inner_mask
from train.augment.mesh import OVAL

SIZE = 128
MESH = make_mesh((64, 62), 36)


def test_masks_lie_on_the_face_and_reach_every_part_of_it():
    covered = np.zeros((SIZE, SIZE))
    for seed in range(300):
        mask = blend_mask((SIZE, SIZE), MESH, np.random.default_rng(seed))
        assert mask.dtype == np.float32
        assert 0 <= mask.min() <= mask.max() <= 1
        assert mask[0].max() < 0.05 and mask[:, 0].max() < 0.05, (
            "a seam at the edge of the picture is no seam of a face"
        )
        covered += mask > 0.5
    parts = {"nose": (62 + 4, 64), "mouth": (62 + 23, 64), "eye": (62 - 9, 48), "chin": (62 + 40, 64)}
    share = {name: covered[place] / 300 for name, place in parts.items()}
    assert share["mouth"] > 0.5 and share["eye"] > 0.4 and 0.2 < share["chin"] < share["mouth"], share


def test_inner_masks_are_smaller_than_the_face_and_hold_its_middle():
    hull = cv2.convexHull(MESH[list(OVAL)])
    face = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillConvexPoly(face, np.round(hull).astype(np.int32), 1)
    for seed in range(300):
        mask = inner_mask((SIZE, SIZE), MESH, np.random.default_rng(seed))
        assert mask.dtype == np.float32
        assert 0 <= mask.min() <= mask.max() <= 1
        np.testing.assert_array_equal(mask, inner_mask((SIZE, SIZE), MESH, np.random.default_rng(seed)))
        assert mask[62, 64] > 0.9
        within = (mask > 0.5) & (face > 0)
        assert 0.25 < within.sum() / face.sum() < 0.9, "some of the covered face shows around it"
        assert within.sum() > 0.9 * (mask > 0.5).sum(), "it lies on the face"
