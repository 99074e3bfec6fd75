"""The share of a container counts, and not what the machine has."""

import math
import os

import pytest

from common import cores as module
from common.cores import cores


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({"pods/one": "250000 100000"}, 2.5),
        ({"pods/one": "max 100000", "pods": "150000 100000"}, 1.5),  # the group above grants less
        ({"": "400000 100000"}, 4.0),
        ({"pods/one": "max 100000"}, math.inf),
        ({"pods/one": "no numbers"}, math.inf),
        ({}, math.inf),
    ],
)
def test_the_smallest_quota_on_the_way_up_counts(tmp_path, groups, expected):
    for name, text in groups.items():
        (tmp_path / "sys" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys" / name / "cpu.max").write_text(text + "\n")
    (tmp_path / "membership").write_text("1:cpu:/elsewhere\n0::/pods/one\n")
    assert module._quota(tmp_path / "membership", tmp_path / "sys") == expected


def test_a_system_without_groups_grants_all(tmp_path):
    assert module._quota(tmp_path / "nothing", tmp_path) == math.inf


@pytest.mark.parametrize(("quota", "expected"), [(math.inf, 8), (2.5, 3), (0.2, 1), (64.0, 8)])
def test_affinity_and_quota_are_combined(monkeypatch, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(module, "_quota", lambda *_: quota)
    assert cores() == expected
