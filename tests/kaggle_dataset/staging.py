"""The smallest dataset as `dfdc build` leaves it: the fixture `dataset`."""

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import save

REF = "alice/dfdc-ensemble"


def files_of(seed=0):
    """The smallest dataset that has every kind of file."""
    weights = np.random.default_rng(seed).standard_normal(50_000).astype(np.float32)
    files = {"member.safetensors": save({"weight": weights}), "member.json": b'{"name": "member"}'}
    files |= {"blend.json": b"{}\n", "source.json": b'{"dfdc.py": "print(1)"}'}
    entries = [
        {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "path": ""}
        for name, data in sorted(files.items())
    ]
    return {**files, "manifest.json": json.dumps({"format": 1, "files": entries}).encode()}


@pytest.fixture
def dataset(tmp_path):
    """A folder as `dfdc build` leaves it."""
    folder = tmp_path / "build" / "dataset"
    folder.mkdir(parents=True)
    for name, data in files_of().items():
        (folder / name).write_bytes(data)
    about = {"id": REF, "title": "DFDC ensemble", "licenses": [{"name": "apache-2.0"}]}
    (folder / "dataset-metadata.json").write_text(json.dumps(about))
    return folder
