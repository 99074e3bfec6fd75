"""Crops in shards on S3: the bytes of the folder, few requests, a limit that is kept, and never a wrong crop."""

import csv
import io
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

import faces.remote
from common.errors import DfdcError
from common.storage import Folder, StorageError
from faces.remote import HASH_BYTES
from faces.store import CropStore, source_of
from tests.common.faulty_store import FaultyStore
from train.data.array_index import compact

SHARDS, FACES = 3, 8


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """A folder as `dfdc extract` leaves it; where crops lie is what tarfile finds."""
    folder, rng = tmp_path_factory.mktemp("crops"), np.random.default_rng(0)
    for number in range(SHARDS):
        path = folder / f"shard_{number:05d}.tar"
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
            for face in range(FACES):
                data = cv2.imencode(".png", rng.integers(0, 255, (12 + face, 16, 3), dtype=np.uint8))[1].tobytes()
                entry = tarfile.TarInfo(f"{number}_{face}.png")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        with tarfile.open(path) as tar, path.with_suffix(".csv").open("w", newline="") as index:
            rows = csv.writer(index)
            rows.writerow(["face", "label", "tar_offset", "tar_size"])
            rows.writerows([entry.name, "REAL", entry.offset_data, entry.size] for entry in tar)
        path.with_suffix(".videos.csv").write_text("filename\n")
    return folder


@pytest.fixture
def server(bucket, shards, monkeypatch, tmp_path):
    """The shards on S3 behind a proxy that counts requests, and an empty cache."""
    import s3fs

    for path in shards.iterdir():
        Folder(f"{bucket}/crops").put(path, path.name)
    server = FaultyStore(os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(faces.remote, "PAUSE", 0.0)
    s3fs.S3FileSystem.clear_instance_cache()
    server.url = f"{bucket}/crops"
    yield server
    server.close()


def reads(server):
    return sum(method == "GET" and path.split("?")[0].endswith(".tar") for method, path in server.faults.seen)


def kept(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_url_gives_the_crops_of_the_folder_and_each_is_fetched_once(server, shards, tmp_path):
    here, there = CropStore([shards]), CropStore([server.url])
    assert list(there.index) == list(here.index) and len(there.index) == SHARDS * FACES
    for _ in range(2):  # epochs
        for name in here.index:
            assert np.array_equal(there.read(name), here.read(name))
    assert reads(server) == SHARDS * FACES
    other = pickle.loads(pickle.dumps(compact(CropStore([f"{server.url}/"]))))  # noqa: S301 - a loader process's copy
    assert np.array_equal(other.read("1_3.png"), here.read("1_3.png")) and reads(server) == SHARDS * FACES


LOADED = """
import sys
import torch
from torch.utils.data import Dataset
from faces.store import CropStore
from train.data.array_index import compact
from train.data.loader import make_loader

class Sums(Dataset):
    def __init__(self, store):
        self.store, self.names = store, list(store.index)
    def __len__(self):
        return len(self.names)
    def __getitem__(self, row):
        return row, int(self.store.read(self.names[row]).sum())

if __name__ == "__main__":
    data = Sums(compact(CropStore([sys.argv[1]])))
    loader = make_loader(data, torch.device("cpu"), 2, 0, batch_size=5)
    for epoch in range(2):
        sums = {int(row): int(value) for batch in loader for row, value in zip(*batch)}
    print(*(sums[row] for row in range(len(data))))
"""


@pytest.mark.slow
def test_loader_processes_read_from_s3_after_their_parent_has(server, shards, tmp_path):
    """The parent's client has threads and connections by then, which its loader processes must not wait for."""
    script = tmp_path / "loaded.py"  # a file: loader processes import the data set's class from it
    script.write_text(LOADED)
    command = [sys.executable, str(script), server.url]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        timeout=600,
        capture_output=True,
        text=True,
        check=False,
    )
    here = CropStore([shards])
    expected = [int(here.read(name).sum()) for name in here.index]
    assert [int(value) for value in done.stdout.split()] == expected, done.stderr
    assert reads(server) == SHARDS * FACES  # the second epoch comes from this machine


def test_a_url_stays_as_it_is_and_a_path_is_a_path():
    assert source_of("s3://bucket/crops") == "s3://bucket/crops" and source_of("a/crops.tar") == Path("a/crops.tar")


def test_no_more_is_kept_than_the_limit_and_every_process_keeps_the_same(server, shards, tmp_path):
    sizes = {name: where.size + HASH_BYTES for name, where in CropStore([shards]).index.items()}
    limit = sum(sizes.values()) // 2
    for _ in range(2):
        store = CropStore([server.url], limit / 2**30)
        for name in store.index:
            store.read(name)
    files = kept(tmp_path / "cache")
    taken = sum(path.stat().st_size for path in files)
    assert limit - max(sizes.values()) <= taken <= limit
    assert reads(server) == 2 * len(sizes) - len(files)
    CropStore([server.url], 0)
    assert kept(tmp_path / "cache") == []  # a lower limit holds at once


def test_what_is_kept_and_damaged_is_fetched_anew(server, shards, tmp_path):
    store, here = CropStore([server.url]), CropStore([shards])
    store.read("0_0.png")
    (path,) = kept(tmp_path / "cache")
    for damaged in (b"", path.read_bytes()[:-1], b"\0" * path.stat().st_size):
        path.write_bytes(damaged)
        assert np.array_equal(store.read("0_0.png"), here.read("0_0.png"))
    assert reads(server) == 4


def test_a_cache_that_cannot_be_written_changes_nothing(server, shards, tmp_path, capsys):
    (tmp_path / "cache").write_text("a file where a folder is wanted")
    store = CropStore([server.url])
    assert np.array_equal(store.read("2_0.png"), CropStore([shards]).read("2_0.png"))
    assert "going on without keeping crops" in capsys.readouterr().err


@pytest.mark.slow
def test_refusals_and_answers_cut_short_never_give_a_wrong_crop(server, shards, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # the client asks several times by itself, with pauses
    store, here, left = CropStore([server.url], 0), CropStore([shards]), [2]

    def first_two(method, path):
        if not path.split("?")[0].endswith(".tar") or not left[0]:
            return False
        left[0] -= 1
        return True

    server.faults.cut = first_two
    assert np.array_equal(store.read("0_1.png"), here.read("0_1.png"))
    server.faults.cut, server.faults.refuse, left[0] = lambda *_: False, first_two, 2
    assert np.array_equal(store.read("0_2.png"), here.read("0_2.png"))
    monkeypatch.setattr(faces.remote, "TRIES", 2)
    server.faults.refuse = lambda method, path: path.split("?")[0].endswith(".tar")
    with pytest.raises(StorageError, match=r"shard_00000.tar"):
        store.read("0_3.png")


def test_a_folder_that_cannot_be_read_by_spans_says_what_to_do(server, shards, bucket):
    folder = Folder(f"{bucket}/old")
    folder.put(shards / "shard_00000.tar", "shard_00000.tar")
    folder.write("shard_00000.csv", b"face,label\n0_0.png,REAL\n")
    with pytest.raises(ValueError, match=r"of an earlier version.*copy the folder to a disk"):
        CropStore([folder.url])
    with pytest.raises(ValueError, match="holds no shards"):
        CropStore([f"{bucket}/nothing"])
    store = CropStore([server.url], 0)
    Folder(server.url).remove("shard_00001.tar")
    with pytest.raises(DfdcError, match=r"shard_00001.tar is gone"):
        store.read("1_0.png")
