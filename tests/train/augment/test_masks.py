import numpy as np

from tests.train.meshes import make_mesh
from train.augment.masks import blend_mask

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
