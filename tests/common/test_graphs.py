"""Compiled networks that are kept: the same bits, made anew when damaged, safe between processes, left out on wish."""

import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from common import graphs
from common.device import Device
from common.engine import Recipe, make_runner

SIZE = 32


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return self.conv(images.permute(0, 3, 1, 2).float()).mean((2, 3))


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv(graphs.SWITCH, str(tmp_path / "kept"))
    return tmp_path / "kept"


def answers(built, parts=("net",)):
    def build():
        built.append(1)
        return Net()

    images = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    return make_runner(Recipe(build, parts), SIZE, Device("cpu"), engine="openvino")(images)[0]


def test_a_network_is_built_once_and_gives_the_same_bits(kept):
    built = []
    first, second = answers(built), answers(built)
    assert len(built) == 1
    assert first.tobytes() == second.tobytes()
    answers(built, ("another",))
    assert len(built) == 2
    assert len(list(kept.iterdir())) == 2


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda data: data[:-1], marks=pytest.mark.slow),
        lambda data: data[:40] + b"\0" + data[41:],
        pytest.param(lambda _: b"", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_file_is_made_anew(kept, spoil):
    built = []
    first = answers(built)
    (file,) = kept.iterdir()
    file.write_bytes(spoil(file.read_bytes()))
    assert answers(built).tobytes() == first.tobytes()
    assert len(built) == 2
    answers(built)
    assert len(built) == 2


def test_it_can_be_turned_off(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(graphs.SWITCH, "off")
    built = []
    answers(built), answers(built)
    assert len(built) == 2
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv(graphs.SWITCH)
    assert graphs.folder() == tmp_path / "dfdc" / "graphs"


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_changes_nothing(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv(graphs.SWITCH, str(tmp_path / "file" / "below"))
    built = []
    answers(built), answers(built)
    assert len(built) == 2


def _write_and_read(folder: Path) -> int:
    os.environ[graphs.SWITCH] = str(folder)
    path = graphs.path_of(["shared"])
    bad = 0
    for number in range(30):
        graphs.write(path, bytes([number % 256]) * 100_000)
        bad += graphs.read(path) is None
    return bad


@pytest.mark.slow
def test_processes_write_the_same_file_at_a_time(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_write_and_read, [tmp_path, tmp_path]) == [0, 0]
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_not_used_goes(kept):
    old, used = graphs.path_of(["old"]), graphs.path_of(["used"])
    graphs.write(old, b"1")
    graphs.write(used, b"2")
    long_ago = time.time() - 2 * graphs.KEPT_DAYS * 86400
    for path in (old, used):
        os.utime(path, (long_ago, long_ago))
    assert graphs.read(used) == b"2"
    graphs.write(graphs.path_of(["new"]), b"3")
    assert not old.exists()
    assert used.exists()
