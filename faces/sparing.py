"""Frames of a video that say as much as evenly spread ones and are decoded sooner."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from faces import packets
from faces.packet_kinds import RECOVERY, START
from faces.packets import PacketIndex

# Frames of one shot say much the same: docs/explanation/pipeline.md has what fewer of them cost.
FEWEST = 12
APART = 10 / 12  # seconds: 12 frames of the 10 seconds that a DFDC clip lasts, and 32 from 27 seconds on


def sparing_count(seconds: float, most: int) -> int:
    """How many frames of a video are looked at.

    Args:
        seconds: that the video lasts; 0 where nobody knows.
        most: frames, of a long video and of one of unknown length.

    Returns:
        One frame for each APART seconds, at least FEWEST and at most `most`.
    """
    return most if seconds <= 0 else min(most, max(FEWEST, round(seconds / APART)))


def sparing_frames(index: PacketIndex, wanted: int) -> NDArray[np.int64]:
    """Choose a frame of each of `wanted` equal segments of a clip: the one for which the decoder works least.

    A frame needs those before it, from the key frame on. So a segment with a key frame is where decoding may begin
    anew; the last segment before one gives the frame that ends the work on what is before. In all other segments the
    decoder has to pass through, and the frame nearest to the middle that others refer to costs nothing more.

    Args:
        index: of the clip's packets, sound.
        wanted: how many frames.

    Returns:
        (min(count, wanted),) numbers in presentation order, sorted and unique.
    """
    shown = _in_presentation_order(index)
    taken = min(len(shown), wanted)
    edges = [(2 * segment * len(shown) + taken) // (2 * max(1, taken)) for segment in range(taken + 1)]  # rounded
    start = START | (RECOVERY if len(index.kinds) > packets.MANY_PACKETS else 0)
    segments = [range(begin, end) for begin, end in pairwise(edges)]
    keys = [[number for number in segment if index.kinds[shown[number]] & start] for segment in segments]
    chosen = []
    for segment, mine, after in zip(segments, keys, [*keys, [-1]][1:], strict=True):
        passed = range(mine[-1] if mine else segment.start, segment.stop)
        if not after:  # decoded to its end: the next segment needs it
            chosen.append(_nearest(_referred(index, shown, passed) or passed, segment))
        elif mine:
            chosen.append(_nearest(mine, segment))
        else:
            chosen.append(min(_referred(index, shown, segment) or segment, key=lambda number: shown[number]))
    return np.array(chosen, dtype=np.int64)


def _in_presentation_order(index: PacketIndex) -> list[int]:
    """The positions of the packets of all frames that are shown."""
    shown = [position for position, is_shown in enumerate(index.shown) if is_shown]
    return sorted(shown, key=lambda position: index.stamps[position] or 0)


def _referred(index: PacketIndex, shown: Sequence[int], numbers: range) -> list[int]:
    """Of some frames those that others may refer to, which are decoded in any case."""
    return [number for number in numbers if index.kinds[shown[number]]]


def _nearest(numbers: Sequence[int], segment: range) -> int:
    return min(numbers, key=lambda number: abs(2 * number - (segment.start + segment.stop - 1)))
