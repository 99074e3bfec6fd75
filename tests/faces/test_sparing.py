"""Frames that are decoded soonest: how many, one of each segment, and fewer packets than the middles need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faces.media import open_video
from faces.packet_kinds import REFERENCE, START
from faces.packets import PacketIndex
from faces.sparing import sparing_count, sparing_frames
from faces.video import choose_frames, decode
from tests.faces.streams import PYRAMID
from tests.media import write_video

KEY = REFERENCE | START


def index_of(kinds: list[int]) -> PacketIndex:
    """A clip whose packets are shown in the order in which they are decoded."""
    return PacketIndex(list(range(len(kinds))), [True] * len(kinds), kinds, 0, True, True)


@pytest.mark.parametrize(
    ("seconds", "most", "count"),
    [(10.01, 32, 12), (2.0, 32, 12), (20.0, 32, 24), (26.7, 32, 32), (3600.0, 32, 32), (10.0, 8, 8), (0.0, 32, 32)],
)
def test_a_short_video_has_fewer_frames(seconds: float, most: int, count: int) -> None:
    assert sparing_count(seconds, most) == count


@given(
    kinds=st.lists(st.sampled_from([0, REFERENCE, KEY]), max_size=300),
    wanted=st.integers(1, 40),
)
def test_one_frame_of_each_segment_and_never_more_packets_than_their_middles(kinds: list[int], wanted: int) -> None:
    index = index_of([KEY, *kinds])
    chosen, middles = sparing_frames(index, wanted), choose_frames(index.count, wanted)
    assert chosen.dtype == np.int64 and len(chosen) == len(middles)
    edges = [(2 * number * index.count + len(chosen)) // (2 * len(chosen)) for number in range(len(chosen) + 1)]
    for frame, begin, end in zip(chosen.tolist(), edges[:-1], edges[1:], strict=True):
        assert begin <= frame < end
    assert len(index.needed(chosen.tolist()).fed) <= len(index.needed(middles.tolist()).fed)


def test_a_clip_of_ten_seconds() -> None:
    """Two key frames, every second frame referred to: decoding ends early before the second one, and at the end."""
    index = index_of([KEY if number in (0, 250) else number % 2 for number in range(300)])
    chosen = sparing_frames(index, 12).tolist()
    assert chosen == [11, 37, 61, 87, 111, 137, 161, 187, 211, 225, 261, 275]
    assert len(index.needed(chosen).fed) == 128 < len(index.needed(choose_frames(300, 12).tolist()).fed) == 146


def test_a_long_video_costs_a_key_frame_for_each_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mp4", frames=600, size=(64, 48), options=PYRAMID | {"g": "10"})
    with open_video(path) as (container, stream):
        index = PacketIndex.read(container, stream)
    assert len(index.needed(sparing_frames(index, 12).tolist()).fed) == 13  # the first packet tells what made it
    assert len(decode(path, 12, sparing=True).images) == 12


def test_no_frames() -> None:
    assert sparing_frames(PacketIndex([], [], [], 0, True, False), 12).tolist() == []
