"""What the tests of decoding share."""

from __future__ import annotations

import pytest

from faces import video


@pytest.fixture
def no_full_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it an error to fall back on decoding everything."""

    def refuse(*_: object) -> None:
        raise AssertionError("decoded everything where the needed packets would have done")

    monkeypatch.setattr(video, "_decode_all", refuse)
