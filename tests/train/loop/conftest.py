import pytest

from tests.train.data.test_dataset import make_faces
from tests.train.meshes import write_meshes
from tests.train.running import TINY
from train.data.load import load_data


@pytest.fixture(autouse=True)
def tiny_member(monkeypatch):
    monkeypatch.setattr("models.registry.MEMBERS", TINY)


@pytest.fixture
def data(tmp_path):
    table = make_faces(tmp_path / "crops", count=48)
    table.to_csv(tmp_path / "labels.csv", index=False)
    write_meshes(tmp_path / "mesh.npz", table["face"], size=64)
    return load_data([tmp_path / "crops"], tmp_path / "labels.csv", mesh=tmp_path / "mesh.npz")
