import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from common.device import Device
from common.engine import in_pieces, make_runner, shared_piece

ROOT = Path(__file__).resolve().parents[2]


def small_device(most):
    """A network on a device that holds `most` images; remembers how many it was sent, and "read" for each answer."""
    seen = []

    def send(images):
        seen.append(len(images))
        if len(images) > most:
            raise torch.cuda.OutOfMemoryError("out of memory")

        def answer():
            seen.append("read")
            return [images.astype(np.float32)]

        return answer

    return send, seen


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost():
    send, seen = small_device(3)
    call = in_pieces(send, 16)
    images = np.arange(10, dtype=np.uint8)
    assert call(images)[0].tolist() == images.tolist()
    assert seen[:4] == [10, 8, 4, 2]  # 16 asked for ten, then half as many each time
    seen.clear()
    call(images)
    assert max(n for n in seen if n != "read") == 2  # and it stays so


def test_the_next_piece_is_sent_before_the_one_ahead_is_read():
    send, seen = small_device(4)
    images = np.arange(10, dtype=np.uint8)
    assert in_pieces(send, 4)(images)[0].tolist() == images.tolist()
    assert seen == [4, 4, "read", 2, "read", "read"]


def test_as_many_pieces_are_in_flight_as_may_be_and_the_first_is_read_first():
    send, seen = small_device(2)
    images = np.arange(9, dtype=np.uint8)
    assert in_pieces(send, 2, in_flight=3)(images)[0].tolist() == images.tolist()
    assert seen == [2, 2, 2, "read", 2, "read", 1, "read", "read", "read"]


@pytest.mark.parametrize(
    ("images", "piece"), [(1, 1), (2, 1), (8, 4), (9, 5), (16, 8), (17, 5), (24, 6), (32, 8), (33, 6), (1000, 8)]
)
def test_all_workers_get_as_many_pieces(images, piece):
    """Two workers, pieces of eight at most."""
    assert shared_piece(images, 8, 2) == piece


def test_few_images_keep_all_streams_at_work():
    send, seen = small_device(8)
    images = np.arange(9, dtype=np.uint8)
    assert in_pieces(send, 8, share=True)(images)[0].tolist() == images.tolist()
    assert seen == [5, 4, "read", "read"]


def test_openvino_gets_few_images_in_as_many_pieces_as_it_has_streams(monkeypatch):
    send, seen = small_device(8)
    monkeypatch.setattr("common.engine._openvino_sender", lambda *_: send)
    make_runner(torch.nn.Identity(), 8, Device("cpu"), engine="openvino", threads=2)(np.zeros(8, dtype=np.uint8))
    assert seen == [4, 4, "read", "read"]


def test_openvinos_streams_give_every_image_its_own_answer():
    """Also to callers in several threads, which share the streams."""

    class Sum(torch.nn.Module):
        def forward(self, images):
            return images.float().sum((1, 2, 3))

    run = make_runner(Sum(), 8, Device("cpu"), engine="openvino", threads=3, batch=2)
    images = np.random.default_rng(0).integers(0, 256, (4, 33, 8, 8, 3), dtype=np.uint8)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda some: run(some)[0], images))
    for some, answer in zip(images, found, strict=True):
        assert answer.tolist() == some.astype(np.float32).sum((1, 2, 3)).tolist()


def test_one_image_that_does_not_fit_is_an_error():
    with pytest.raises(torch.cuda.OutOfMemoryError):
        in_pieces(small_device(0)[0], 4)(np.zeros(2, dtype=np.uint8))


def test_no_images():
    with pytest.raises(ValueError, match="no images"):
        in_pieces(small_device(9)[0], 4)(np.zeros(0, dtype=np.uint8))


LET_GO = """
import gc, signal
import torch
from common.device import Device
from common.engine import make_runner

class Mean(torch.nn.Module):
    def forward(self, images):
        return images.float().mean(dim=(1, 2, 3), keepdim=True)[:, 0, 0]

runners = [make_runner(Mean(), size, Device("cpu"), engine="openvino", threads=1) for size in (16, 24)]
while runners:
    runners.pop(0)  # in the order in which they were made
    gc.collect()
heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append("told"))
signal.raise_signal(signal.SIGTERM)
print(*heard)
"""


def test_a_signal_is_heard_after_networks_were_let_go_of():
    """OpenVINO's plugin takes the stack for signals away with itself: the next signal would end the process."""
    pytest.importorskip("openvino")
    done = subprocess.run([sys.executable, "-c", LET_GO], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr


def test_there_is_one_core_for_the_whole_process():
    files = [path for path in ROOT.glob("*/**/*.py") if not {".venv", "runs"} & set(path.relative_to(ROOT).parts)]
    assert len(files) > 100
    assert [path.relative_to(ROOT).as_posix() for path in files if "openvino" + ".Core(" in path.read_text()] == [
        "common/engine.py"
    ]
