import numpy as np
import pytest
import torch

from common.engine import in_pieces


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


def test_one_image_that_does_not_fit_is_an_error():
    with pytest.raises(torch.cuda.OutOfMemoryError):
        in_pieces(small_device(0)[0], 4)(np.zeros(2, dtype=np.uint8))


def test_no_images():
    with pytest.raises(ValueError, match="no images"):
        in_pieces(small_device(9)[0], 4)(np.zeros(0, dtype=np.uint8))
