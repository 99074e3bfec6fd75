import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faces.boxes import box_areas, iou_matrix, shared_areas


def test_iou_by_hand():
    box = np.array([[0.0, 0, 10, 10]])
    others = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [2, 2, 4, 4], [30, 30, 40, 40]])
    assert iou_matrix(box, others)[0] == pytest.approx([1, 1 / 3, 0, 0.04, 0])
    assert shared_areas(box, others)[0].tolist() == [100, 50, 0, 4, 0]
    assert box_areas(others).tolist() == [100, 100, 100, 4, 100]


def test_boxes_without_area_overlap_nothing():
    assert iou_matrix(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0]]
    assert iou_matrix(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)


sides = st.floats(1, 50)
boxes_of = st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50), sides, sides), min_size=1, max_size=6)


@settings(max_examples=30, deadline=None)
@given(boxes_of, boxes_of)
def test_overlaps_are_symmetric_and_within_bounds(one, other):
    a, b = ([(x, y, x + w, y + h) for x, y, w, h in some] for some in (one, other))
    overlap = iou_matrix(np.array(a), np.array(b))
    assert ((overlap >= 0) & (overlap <= 1 + 1e-9)).all()
    np.testing.assert_allclose(overlap, iou_matrix(np.array(b), np.array(a)).T)
    np.testing.assert_allclose(np.diag(iou_matrix(np.array(a), np.array(a))), 1)
