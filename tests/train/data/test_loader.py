"""Loader processes: how many, what they need, and what they do when told to end."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

from common.errors import DfdcError
from tests.train.running import ROOT
from train.data.loader import check_shared_memory, default_workers

MB = 2**20


@pytest.mark.parametrize(("free", "fits"), [(64, 2), (3, 0)])
def test_small_shared_memory_is_found_before_the_first_batch(tmp_path, monkeypatch, free, fits):
    """Docker gives 64 MB: eight processes with three batches of 8 MB each need 200."""
    usage = shutil._ntuple_diskusage(free * MB, 0, free * MB)
    monkeypatch.setattr("train.data.loader.shutil.disk_usage", lambda _: usage)
    with pytest.raises(DfdcError, match=rf"has {free} MiB free; 8 .* need 200\. .*--shm-size=1g.*--workers {fits}"):
        check_shared_memory(8 * MB, 8, folder=tmp_path)
    if fits:
        check_shared_memory(8 * MB, fits, folder=tmp_path)
        with pytest.raises(DfdcError):
            check_shared_memory(8 * MB, fits, processes=2, folder=tmp_path)
    check_shared_memory(8 * MB, 0, folder=tmp_path)
    check_shared_memory(8 * MB, 8, folder=tmp_path / "a system without it")


def test_a_gpu_gets_loaders_from_the_cores_and_the_cpu_one(monkeypatch):
    monkeypatch.setattr("train.data.loader.cores", lambda: 16)
    assert [default_workers(torch.device("cuda"), n) for n in (1, 4, 32)] == [16, 4, 1]
    assert default_workers(torch.device("cpu")) == 1


PRELOADED = """
import os
from pathlib import Path
import torch
from torch.utils.data import Dataset
from train.data.loader import make_loader

class Parents(Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, index):
        return torch.tensor(os.getppid())

if __name__ == "__main__":
    (parent,) = {int(pid) for batch in make_loader(Parents(), torch.device("cpu"), 2, 0) for pid in batch}
    print(parent != os.getpid(), "libtorch_cpu" in Path(f"/proc/{parent}/maps").read_text())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells what a process has loaded")
def test_loader_processes_find_torch_loaded(tmp_path):
    """The process that they are copies of has it, so that not each of them imports it for itself."""
    script = tmp_path / "preloaded.py"
    script.write_text(PRELOADED)
    told = subprocess.check_output(
        [sys.executable, str(script)], text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert told.split() == ["True", "True"]


SIGNALLED = """
import os, signal, subprocess, sys
import numpy as np, torch
from torch.utils.data import Dataset
from train.data.loader import make_loader

class Numbers(Dataset):
    def __len__(self):
        return 64
    def __getitem__(self, index):
        return torch.tensor(index), torch.tensor(os.getpid())

if __name__ == "__main__":
    def told(*_):
        print("told", flush=True)

    signal.signal(signal.SIGTERM, told)
    loader = make_loader(Numbers(), torch.device("cpu"), 2, 0, batch_size=2)
    seen, pids = [], set()
    for epoch in range(2):
        for number, (indices, made_by) in enumerate(loader):
            seen += indices.tolist()
            pids |= set(made_by.tolist())
            if (epoch, number) == (0, 3):
                # As a machine that is taken away: somebody else signals every process of the group.
                subprocess.run(["kill", "-TERM", "--", f"-{os.getpgid(0)}"], check=True, start_new_session=True)
    assert seen == [*range(64)] * 2, seen
    assert len(pids) == 2, pids  # the same processes in both epochs
    assert signal.getsignal(signal.SIGTERM) is told  # of this process; loader processes have one of their own
    print("all", flush=True)
"""


@pytest.mark.slow
def test_loader_processes_stay_and_do_not_heed_the_groups_sigterm(tmp_path):
    script = tmp_path / "signalled.py"  # a file: loader processes import the data set's class from it
    script.write_text(SIGNALLED)
    done = subprocess.run(
        [sys.executable, str(script)],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        cwd=ROOT,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout.split()) == (0, ["told", "all"]), done.stderr
