import numpy as np
import pandas as pd
import pytest

from tests.train.data.test_dataset import make_faces
from train.data.sampler import PairedSampler, originals_of


@pytest.fixture
def table(tmp_path):
    table = make_faces(tmp_path / "crops")
    return table.assign(target=(table["label"] == "FAKE").astype(float))


def test_batches_are_half_and_half_and_pair_a_fake_with_its_original(table):
    sampler = PairedSampler(table, batch=4, seed=0)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 8
    for batch in batches:
        assert table["target"].iloc[batch].tolist() == [1, 1, 0, 0]
        assert table["original"].iloc[batch[:2]].tolist() == table["filename"].iloc[batch[2:]].tolist()
    assert sorted(i for b in batches for i in b[:2]) == np.flatnonzero(table["target"]).tolist()


def test_the_original_is_that_of_the_same_frame_and_person():
    rows = [("a", "", 0, 0), ("a", "", 9, 0), ("b", "a", 9, 0), ("b", "a", 0, 0), ("b", "a", 0, 1)]
    table = pd.DataFrame(rows, columns=["filename", "original", "frame", "person"])
    assert originals_of(table).tolist() == [-1, -1, 1, 0, -1]


def test_by_originals_another_fake_of_each_comes_every_epoch(table):
    sampler = PairedSampler(table, batch=4, seed=0, sampling="originals")
    assert len(sampler) == 4
    seen = []
    for sampler.epoch in range(4):
        batches = list(sampler)
        fakes = [i for batch in batches for i in batch[:2]]
        assert len({table["original"].iloc[i] for i in fakes}) == 8
        assert all(table["original"].iloc[b[0]] == table["filename"].iloc[b[2]] for b in batches)
        seen.append(set(fakes))
    assert not seen[0] & seen[1]
    assert not seen[2] & seen[3]
    assert seen[0] | seen[1] == set(np.flatnonzero(table["target"]).tolist())


def test_independent_sampling_shows_every_fake_once_and_reals_evenly(table):
    batches = list(PairedSampler(table, batch=4, seed=0, sampling="independent"))
    assert sorted(i for b in batches for i in b[:2]) == np.flatnonzero(table["target"]).tolist()
    counts = np.bincount([i for b in batches for i in b[2:]], minlength=len(table))
    assert set(counts[table["target"] == 0]) == {2}


@pytest.mark.parametrize("sampling", ["pairs", "originals", "independent"])
def test_processes_share_one_common_batch(table, sampling):
    whole = list(PairedSampler(table, 8, 0, sampling))
    halves = [list(PairedSampler(table, 4, 0, sampling, rank, 2)) for rank in range(2)]
    assert [sorted(b) for b in whole] == [sorted(a + b) for a, b in zip(*halves, strict=True)]


def test_the_order_is_a_function_of_seed_and_epoch_and_can_be_resumed(table):
    sampler = PairedSampler(table, batch=4, seed=0)
    whole = list(sampler)
    sampler.start = 5
    assert list(sampler) == whole[5:]
    sampler.start, sampler.epoch = 0, 1
    assert list(sampler) != whole


@pytest.mark.parametrize(
    ("batch", "keep", "message"), [(3, slice(None), "even"), (4, slice(0, 1), "both"), (64, slice(None), "16 pairs")]
)
def test_a_sampler_that_cannot_balance_says_so(table, batch, keep, message):
    with pytest.raises(ValueError, match=message):
        PairedSampler(table.iloc[keep], batch, 0)


@pytest.mark.parametrize("world", [1, 3])
def test_too_few_faces_name_the_batch_that_they_fill(table, world):
    with pytest.raises(ValueError, match=r"16 pairs do not fill one batch of 64") as told:
        PairedSampler(table, batch=64, seed=0, world=world)
    most = int(str(told.value).rpartition("--set batch=")[2])
    assert len(PairedSampler(table, batch=most, seed=0, world=world)) == 1
    with pytest.raises(ValueError, match="more faces are needed"):
        PairedSampler(table, batch=64, seed=0, world=17)
