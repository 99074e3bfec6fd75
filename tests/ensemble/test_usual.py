"""What the ensemble was measured on, and what lies outside."""

import dataclasses

import numpy as np
import pytest

from ensemble.usual import Usual
from tests.ensemble.tables import noisy


@pytest.fixture(scope="module")
def faces():
    made = noisy(400, (0.6, 0.9, 1.2))
    return dataclasses.replace(made, face_pixels=np.linspace(50, 249, len(made.filename)))


def test_one_video_in_a_hundred_of_its_own_table_lies_outside(faces):
    usual = Usual.of(faces)
    assert usual.face_pixels == pytest.approx(52, abs=0.2)
    few = dataclasses.replace(usual, face_pixels=None)
    assert few.unusual(np.zeros(3), 10.0) == []
    assert Usual.from_dict(usual.to_dict()) == usual
    assert "face_pixels" not in few.to_dict()


def test_small_faces_and_quarrelling_members_are_named(faces):
    usual = Usual.of(faces)
    assert usual.unusual(np.zeros(3), 100.0) == []
    assert usual.unusual(np.zeros(3), 20.0) == ["its faces are 20 pixels wide, and those of the tests 52 or more"]
    far = np.array([-1.0, 1.0]) * 2 * usual.disagreement
    assert "disagree" in usual.unusual(far, 100.0)[0]
    assert usual.unusual(far[:1], 100.0) == []
