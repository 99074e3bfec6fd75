"""A server whose decoders, workers or whole process die: no accepted video is lost."""

import os
import signal
from pathlib import Path

import pytest

from common.cores import cores
from common.errors import DfdcError
from serve.store import Store
from tests.serve.answers import problem
from tests.waiting import wait_until


def children_of(pid):
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    except OSError:  # it has ended
        return ""


def worker_of(server):
    (worker,) = [pid for pid in children_of(server.process.pid) if "serve.worker" in command_of(pid)]
    return worker


@pytest.mark.slow
def test_a_decoder_that_crashes_costs_its_video_only(server, clip):
    """All decoders are stopped; one of them has a video when they are killed."""

    def all_decoders_run():
        for identity in [server.send(clip).json()["id"] for _ in range(4)]:
            server.finished(identity)
        return len(children_of(worker_of(server))) == min(4, cores())

    def lost():
        """A decoder that is killed before it has the video is replaced, and costs none: then it is done again."""
        wait_until(all_decoders_run, "every decoder has had a video")
        decoders = children_of(worker_of(server))
        for pid in decoders:
            os.kill(pid, signal.SIGSTOP)
        sent = server.send(clip).json()["id"]
        with server.client() as client:
            wait_until(lambda: client.get(f"/v1/videos/{sent}").json()["stage"] == "decoding", "a decoder has it")
        for pid in decoders:
            os.kill(pid, signal.SIGKILL)
        result.update(server.finished(sent)["result"])
        return result["status"] == "crashed"

    result = {}
    wait_until(lost, "a decoder dies with a video")
    assert result["reason"].startswith("its decoder was killed by signal 9")
    assert server.finished(server.send(clip).json()["id"])["result"]["status"] == "ok"


@pytest.mark.slow
def test_a_dead_worker_loses_no_video(start_server, clip, tmp_path):
    with start_server(tmp_path) as server:
        first = server.send(clip).json()["id"]
        server.finished(first)
        sent = [server.send(clip).json()["id"] for _ in range(3)]
        os.kill(worker_of(server), signal.SIGKILL)
        assert [server.finished(each)["result"]["status"] for each in sent] == ["ok"] * 3
        with server.client() as client:
            assert "dfdc_worker_deaths_total 1.0" in client.get("/metrics").text


POISON = """
import os, sys
if "serve.worker" in sys.orig_argv:
    from faces.cascade import Cascade
    look = Cascade.__call__
    Cascade.__call__ = lambda self, images, **rest: (
        os.abort() if images[0].shape == (90, 160, 3) else look(self, images, **rest)
    )
"""


@pytest.mark.slow
def test_a_video_that_kills_its_worker_is_given_up(start_server, clip, nobody, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(POISON)
    with start_server(tmp_path, PYTHONPATH=str(tmp_path)) as server:
        bad, good = server.send(nobody).json()["id"], server.send(clip).json()["id"]
        video = server.finished(bad)
        assert video["result"]["status"] == "crashed"
        assert "signal 6" in video["result"]["reason"] and "3 times" in video["result"]["reason"]
        assert not video["has_report"]
        assert server.finished(good)["result"]["status"] == "ok"
        with server.client() as client:
            problem(client.get(f"/v1/videos/{bad}/report"), 404, "has no report")


@pytest.mark.slow
def test_a_killed_server_loses_no_accepted_video(start_server, clip, nobody, tmp_path):
    with start_server(tmp_path) as server:
        sent = [server.send(path).json()["id"] for path in [clip, nobody] * 3]
        server.kill()
    (tmp_path / "data" / "uploads" / "0123.part").write_bytes(b"half an upload")
    with start_server(tmp_path) as server:
        statuses = [server.finished(each)["result"]["status"] for each in sent]
        assert statuses == ["ok", "no_face"] * 3
        assert not (tmp_path / "data" / "uploads" / "0123.part").exists()
        with pytest.raises(DfdcError, match="another dfdc serve uses"):
            Store(tmp_path / "data")


SLOW_IMPORT = """
import sys, time
class Stuck:
    def find_spec(self, name, *_):
        while name == "inference.pipeline":
            time.sleep(1)
if "serve.worker" in sys.orig_argv:
    sys.meta_path.insert(0, Stuck())
"""


@pytest.mark.slow
def test_a_worker_that_is_still_loading_ends_with_its_server(start_server, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(SLOW_IMPORT)
    with start_server(tmp_path, PYTHONPATH=str(tmp_path)) as server:
        wait_until(lambda: [p for p in children_of(server.process.pid) if "serve.worker" in command_of(p)], "it loads")
        worker = worker_of(server)
        server.kill()
        wait_until(lambda: not Path(f"/proc/{worker}").exists(), "the worker is gone")
