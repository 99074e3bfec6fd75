"""A batch that does not fit: the error says which one does."""

import types

import pytest
import torch

from train.memory import explain_out_of_memory


def run_that_holds(faces, tried):
    def loss(batch, _part, _network):
        tried.append([len(tensor) for tensor in batch])
        if len(batch[0]) > faces:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return torch.zeros((), requires_grad=True)

    return types.SimpleNamespace(
        config=types.SimpleNamespace(accumulate=2),
        spec=types.SimpleNamespace(size=380),
        device=torch.device("cpu"),
        optimizer=torch.optim.SGD([torch.zeros(1)]),
        asked=None,
        _loss=loss,
    )


@pytest.mark.parametrize(("holds", "told"), [(7, "batch=6 accumulate=4"), (3, "batch=2 accumulate=12")])
def test_the_batch_that_fits_is_found_and_the_step_stays_the_same(holds, told):
    tried = []
    error = explain_out_of_memory(run_that_holds(holds, tried), (torch.zeros(12, 1), torch.zeros(12)))
    assert "a batch of 12 at 380 pixels does not fit into the memory of cpu" in str(error)
    assert f"--set {told}" in str(error)
    assert tried[0] == [6, 6]


def test_a_network_that_fits_not_even_two_faces_is_told_so():
    error = explain_out_of_memory(run_that_holds(1, []), (torch.zeros(4, 1), torch.zeros(4)))
    assert "not even two faces at 380 pixels" in str(error)
