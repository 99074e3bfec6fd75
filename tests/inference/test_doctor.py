import sys

import pytest

from inference.doctor import DoctorRequest, examine


@pytest.mark.parametrize("forbidden", [False, True])
def test_a_python_that_stores_nothing_compiled_is_told_and_no_failure(members, monkeypatch, forbidden):
    monkeypatch.setattr(sys, "dont_write_bytecode", forbidden)
    told = [finding for finding in examine(DoctorRequest(members)) if "unset PYTHONDONTWRITEBYTECODE" in finding.detail]
    assert [finding.level for finding in told] == ["missing"] * forbidden
