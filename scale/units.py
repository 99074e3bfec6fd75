"""Units of work: a number of videos that are handled together, named after what they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

UNIT_VIDEOS = 64  # a unit of ten-second videos takes a minute on one core, so a lost one costs little
ID_DIGITS = 32  # of a SHA-256


@dataclass(frozen=True)
class Item:
    """One video of a unit."""

    key: str  # its path below the input; empty where metadata names a video and no file is there
    size: int  # bytes when the plan was made
    facts: dict[str, str] = field(default_factory=dict, compare=False)  # for extract: what is known of the video

    @property
    def name(self) -> str:
        """What the video is called in tables: for extract its file name, as in the metadata, else its key."""
        return self.facts.get("filename", self.key)


@dataclass(frozen=True)
class Unit:
    """Videos that are handled together."""

    number: int  # in the order of the plan
    items: tuple[Item, ...]
    id: str  # hash of the options, and of the names, sizes and facts of the videos

    @classmethod
    def of(cls, number: int, items: Sequence[Item], options: str) -> Unit:
        """Name a unit.

        Args:
            number: in the order of the plan.
            items: the videos.
            options: everything besides the videos that decides what is made of them.
        """
        about = json.dumps([options, [[item.key, item.size, item.facts] for item in items]], sort_keys=True)
        return cls(number, tuple(items), hashlib.sha256(about.encode()).hexdigest()[:ID_DIGITS])

    def to_line(self) -> str:
        """One line of the plan."""
        items = [[item.key, item.size, item.facts] if item.facts else [item.key, item.size] for item in self.items]
        return json.dumps({"id": self.id, "number": self.number, "items": items})

    @classmethod
    def from_line(cls, line: str) -> Unit:
        """Read what `to_line` wrote."""
        values = json.loads(line)
        return cls(values["number"], tuple(Item(*item) for item in values["items"]), values["id"])


def cut_into_units(items: Iterable[Item], options: str, videos: int = UNIT_VIDEOS) -> Iterator[Unit]:
    """Cut videos into units of so many, in their order."""
    for number, some in enumerate(_batched(items, videos)):
        yield Unit.of(number, some, options)


def share(units: Iterable[Unit], shard: tuple[int, int] | None) -> Iterator[Unit]:
    """Choose the units of one of several machines that share a plan.

    Args:
        units: of the plan.
        shard: (i, n): every n-th unit from the i-th on, counted from 0; None: all.

    Raises:
        ValueError: not 0 <= i < n.
    """
    first, step = shard or (0, 1)
    if not 0 <= first < step:
        raise ValueError(f"--shard {first}/{step}: shards are counted from 0, so 0/{step} to {step - 1}/{step}")
    return islice(iter(units), first, None, step)


def _batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    iterator = iter(items)
    while some := tuple(islice(iterator, size)):
        yield some
