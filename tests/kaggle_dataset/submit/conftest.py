"""What the tests of pushing share."""

import json

import pytest

from kaggle_dataset.submit.push import STATE, push
from tests.kaggle_dataset.kernels import OUTPUT, QUICK, REF, answer_pulls, write_kernel


@pytest.fixture
def desk(fake_kaggle, tmp_path, monkeypatch):
    """The stand-in with a kernel that is complete at once, and what a push is given."""
    fake_kaggle.set(kernel_script=("COMPLETE",))
    fake_kaggle.service.outputs = {"submission.csv": OUTPUT}
    answer_pulls(fake_kaggle.service)
    monkeypatch.setattr("kaggle_dataset.submit.push.SETTLE", 0.5)
    fake_kaggle.kernel, fake_kaggle.output = write_kernel(tmp_path / "build" / "kernel"), tmp_path / "output"
    fake_kaggle.push = lambda **changes: push(
        fake_kaggle.kernel, fake_kaggle.output, fake_kaggle.kaggle, **{**QUICK, **changes}
    )
    fake_kaggle.state = lambda: json.loads((fake_kaggle.kernel.parent / STATE).read_text())
    versions = fake_kaggle.service.kernels.get
    fake_kaggle.pushes = lambda: len(versions(REF, {"versions": []})["versions"])
    return fake_kaggle
