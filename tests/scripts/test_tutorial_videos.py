"""The crude fakes of the tutorial: a face that is coarse, and nothing else that is changed."""

import numpy as np
import pytest

from common.errors import DfdcError
from faces.detect import NO_FACES, FrameFaces
from scripts.tutorial_videos import coarsen, forge


def face(*box):
    return FrameFaces(np.array([box], np.float32), np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32), "drawn")


def noise(height=60, width=80):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("box", [(20, 10, 60, 50), (-20, -10, 30, 40), (50, 30, 200, 90)])
def test_only_the_face_is_coarse(box):
    image = noise()
    fake = coarsen(image, np.array(box, np.float32))
    inside = np.zeros(image.shape[:2], bool)
    inside[max(0, box[1]) : max(0, box[3]), max(0, box[0]) : max(0, box[2])] = True
    assert (fake[~inside] == image[~inside]).all()
    assert fake[inside].std() < image[inside].std() / 2


def test_a_box_outside_changes_nothing():
    assert (coarsen(noise(), np.array([100, 100, 120, 120], np.float32)) == noise()).all()


def test_every_frame_needs_a_face():
    frames = [noise(), noise()]
    assert len(forge(frames, lambda images: [face(20, 10, 60, 50)] * len(images))) == 2
    with pytest.raises(DfdcError, match=r"frames \[1\]"):
        forge(frames, lambda _: [face(20, 10, 60, 50), NO_FACES])
