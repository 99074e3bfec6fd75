import numpy as np

from tests.train.meshes import noise_picture
from train.augment.looks import match_colour

SIZE = 128


def test_matched_colours_have_the_targets_mean():
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[30:90, 30:90] = 1
    target = np.full((SIZE, SIZE, 3), (200, 120, 90), np.uint8)
    matched = match_colour(noise_picture(SIZE, 5) // 2 + 40, target, mask)
    assert np.abs(matched[30:90, 30:90].mean(axis=(0, 1)) - (200, 120, 90)).max() < 12
