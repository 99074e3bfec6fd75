"""The real S3 client before a real S3 server that has a bad day: the right bytes, or doubt that is told as doubt."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.storage import Folder, StorageError
from tests.common.faulty_store import Faults, FaultyStore
from tests.waiting import LIMIT

ROOT = Path(__file__).resolve().parents[2]
CONTENT = bytes(range(256)) * 400


@pytest.fixture
def store(bucket, monkeypatch):
    import s3fs

    store = FaultyStore(os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.address)
    s3fs.S3FileSystem.clear_instance_cache()
    yield store
    store.close()


@pytest.fixture
def folder(store, bucket):
    return Folder(f"{bucket}/run")


def first(times):
    """Say yes to so many requests for the object, then no."""
    left = [times]

    def ask(method, path):
        if "video" not in path or not left[0]:
            return False
        left[0] -= 1
        return True

    return ask


@pytest.mark.slow
def test_a_short_storm_of_refusals_costs_nothing(store, folder, tmp_path):
    store.faults.refuse = first(3)
    assert folder.create("video", CONTENT) is True
    store.faults.refuse = first(3)
    assert folder.read("video") == CONTENT
    store.faults.refuse = first(3)
    folder.fetch("video", tmp_path / "video", len(CONTENT))
    assert (tmp_path / "video").read_bytes() == CONTENT


def test_a_storm_without_end_is_told_and_leaves_nothing(store, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    folder.write("video", CONTENT)
    store.faults.refuse = lambda method, path: "video" in path
    with pytest.raises(StorageError, match="video"):
        folder.read("video")
    with pytest.raises(StorageError, match="video"):
        folder.fetch("video", tmp_path / "video", len(CONTENT))
    with pytest.raises(StorageError, match="video"):
        folder.create("video", b"other")  # True or False would be a claim about what is there
    assert not (tmp_path / "video").exists()
    store.faults = Faults()
    assert folder.read("video") == CONTENT


@pytest.mark.slow
def test_an_answer_that_is_cut_short_is_never_taken_for_the_whole(store, folder, tmp_path):
    folder.write("video", CONTENT)
    store.faults.cut = first(1)
    with contextlib.suppress(StorageError):
        assert folder.read("video") == CONTENT  # where the client asks again
    store.faults.cut = lambda method, path: method == "GET" and "video" in path
    for call in (lambda: folder.read("video"), lambda: folder.fetch("video", tmp_path / "video", len(CONTENT))):
        with pytest.raises(StorageError, match="video"):
            call()
    assert not (tmp_path / "video").exists()


WRITER = """
import sys
from common.storage import Folder
from pathlib import Path
print("begins", flush=True)
Folder(sys.argv[1]).put(Path(sys.argv[2]), "large")
"""


@pytest.mark.slow
def test_a_writer_that_is_killed_amid_its_parts_leaves_no_object(store, folder, bucket, tmp_path):
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(110 * 2**20)  # more than the client sends in one request
    store.faults.stall = lambda method, path: method == "PUT" and "partNumber=2" in path
    writer = subprocess.Popen([sys.executable, "-c", WRITER, folder.url, large], cwd=ROOT)
    assert store.faults.stalled.wait(LIMIT)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert any("partNumber=1" in path for _, path in store.faults.seen)
    assert folder.sizes() == {} and not folder.exists("large")
    store.faults.go_on.set()
    store.faults = Faults()
    folder.put(large, "large")  # the unit is made again
    assert folder.sizes() == {"large": large.stat().st_size}
