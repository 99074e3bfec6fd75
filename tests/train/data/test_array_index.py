import pickle

import numpy as np
import pytest

from faces.store import CropStore, Where
from tests.train.data.test_dataset import make_faces
from train.data.array_index import ArrayIndex, compact
from train.data.dataset import FaceDataset
from train.data.load import load_data


def test_the_arrays_say_what_the_objects_said(tmp_path):
    index = {
        "b.png": Where(tmp_path / "one.tar", 512, 100),
        "a.png": Where(tmp_path / "a.png"),
        "ä\udcff.png": Where(tmp_path / "one.tar", 2**40, 7),
    }
    arrays = pickle.loads(pickle.dumps(ArrayIndex(index)))  # noqa: S301 - our own bytes
    assert dict(arrays) == index
    assert set(index) - arrays.keys() == set()
    assert "c.png" not in arrays and "" not in arrays and 3 not in arrays
    with pytest.raises(KeyError):
        arrays["b.pn"]
    assert len(ArrayIndex({})) == 0


def test_a_compact_store_reads_the_same_pictures(tmp_path):
    table = make_faces(tmp_path / "crops")
    store = CropStore([tmp_path / "crops"])
    for name in table["face"]:
        np.testing.assert_array_equal(compact(store).read(name), store.read(name))


def test_what_a_loader_process_gets_is_small(tmp_path):
    """With objects it was 190 bytes a face and more."""
    table = make_faces(tmp_path / "crops", count=48)
    table.to_csv(tmp_path / "labels.csv", index=False)
    data = load_data([tmp_path / "crops"], tmp_path / "labels.csv")
    few = FaceDataset(data.store, data.train, data.cut_as, data.cut_as)
    many = FaceDataset(data.store, data.train.loc[list(data.train.index) * 100], data.cut_as, data.cut_as)
    grown = (len(pickle.dumps(many)) - len(pickle.dumps(few))) / (len(many) - len(few))
    assert grown < 150  # bytes a face: box, points, target, original, name
