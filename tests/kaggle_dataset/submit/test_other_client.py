"""The versions of Kaggle's client that are supported, beside the one that is installed: each sends a first version."""

import importlib.metadata
import subprocess
import sys

import pytest

from common.errors import DfdcError
from kaggle_dataset.submit.account import TRIED
from kaggle_dataset.submit.kaggle_client import Kaggle
from kaggle_dataset.submit.upload import Uploaded, UploadTiming, upload
from tests.kaggle_dataset.staging import REF
from tests.waiting import LIMIT

pytestmark = pytest.mark.slow
OTHERS = [version for version in TRIED if version != importlib.metadata.version("kaggle")]


@pytest.fixture(scope="module", params=OTHERS)
def client(request, tmp_path_factory):
    """The program of another version, in an environment of its own."""
    folder = tmp_path_factory.mktemp("client")
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    # It imports six, which it does not ask for and which came with python-dateutil before version 4.
    wanted = [f"kaggle=={request.param}", "six"]
    subprocess.run([*uv, "pip", "install", "-q", "--python", python, *wanted], check=True)
    return python.with_name("kaggle")


def test_there_is_another_version():
    assert OTHERS


def test_a_first_version_is_sent_once(client, fake_kaggle, dataset):
    fake_kaggle.set(dataset_polls=1)
    kaggle = Kaggle(fake_kaggle.kaggle.state, client, fake_kaggle.environment)
    assert any(version in kaggle("--version", timeout=LIMIT).out for version in OTHERS)
    timing = UploadTiming(poll=0.1, settle=0.3, idle=120)
    said = []
    for fresh in (True, False):
        assert upload(dataset, kaggle, deadline=LIMIT, say=said.append, timing=timing) == Uploaded(REF, 1, fresh), said
    assert len(fake_kaggle.asked("CreateDataset")) == 1


def test_an_unknown_dataset_that_is_forbidden_is_a_first_one(client, fake_kaggle, dataset):
    """Kaggle answers 403, not 404, for a name that nobody has; 2.2.5 prints advice about rules under it."""
    fake_kaggle.set(unknown_dataset_status=403)
    kaggle = Kaggle(fake_kaggle.kaggle.state, client, fake_kaggle.environment)
    try:
        made = upload(dataset, kaggle, deadline=LIMIT, timing=UploadTiming(poll=0.1, settle=0.3, idle=120))
    except DfdcError as error:
        pytest.fail(f"a first version was refused: {error}")
    assert made == Uploaded(REF, 1, True)
