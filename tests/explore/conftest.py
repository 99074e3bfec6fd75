"""What the tests of explore share."""

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Threads of torch that wait for each other make MTCNN ten times slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
