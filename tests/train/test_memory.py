"""How much memory a run takes, and a batch that does not fit: the error says which one does."""

import types

import pytest
import torch

from models.network import Scorer, build_member
from models.registry import MEMBERS
from train.memory import GIB, MemoryEstimate, describe_memory, explain_out_of_memory, kept_by_forward


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


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_the_estimate_is_what_a_real_pass_keeps(dtype):
    member = MEMBERS["lite0_eyes"]
    network = Scorer(build_member(member), member.crop).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    estimate = kept_by_forward(network, 64, 4, dtype)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items()), "it was not run"
    own = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    kept = {}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    images = torch.zeros(4, 64, 64, 3, dtype=torch.uint8)
    cast = torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), cast:
        network(images)
    # In bf16 the CPU's kernels keep a little beside, which differs by version.
    assert estimate == pytest.approx(sum(storage.nbytes() for storage in kept.values()), rel=0.01 if dtype else 0)


@pytest.mark.slow
def test_the_winners_batch_of_twelve_takes_nine_gib_in_bf16():
    """The figure is of another estimate of the same kind."""
    member = MEMBERS["b7_wide"]
    network = Scorer(build_member(member), member.crop).train()
    assert kept_by_forward(network, 380, 12, torch.bfloat16) / GIB == pytest.approx(8.8, abs=0.2)


@pytest.mark.parametrize(
    ("there", "ends"),
    [
        (None, "a batch of 12 9.0"),
        (16 * GIB, "the device has 16.0"),
        (6 * GIB, "which is too little: train with --set batch=6 --set accumulate=4"),
        (2 * GIB, "which is too little for two faces: train on a larger one"),
    ],
)
def test_the_line_says_what_fits(there, ends):
    line = describe_memory(MemoryEstimate(GIB, 9 * GIB), 12, 2, there)
    assert line.startswith("memory: about 10.0 GiB: weights and what is kept for each 1.0, a batch of 12 9.0")
    assert line.endswith(ends)
