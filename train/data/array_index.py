"""Where each crop lies, in arrays: what every loader process gets a copy of."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import numpy as np

from faces.store import CropStore, Where


class ArrayIndex(Mapping[str, Where]):
    """The index of a CropStore in four arrays. It is pickled as bytes and not as objects, one for each crop.

    Args:
        index: where each name lies.
    """

    def __init__(self, index: Mapping[str, Where]) -> None:
        names = np.array([_encode(name) for name in index] or [b""])[: len(index)]
        order = np.argsort(names, kind="stable")
        where = list(index.values())
        self.paths = list(dict.fromkeys(place.path for place in where))
        number = {path: row for row, path in enumerate(self.paths)}
        self.names = names[order]
        self.path_of = np.array([number[place.path] for place in where], dtype=np.int32)[order]
        self.offsets = np.array([place.offset for place in where], dtype=np.int64)[order]
        self.sizes = np.array([place.size for place in where], dtype=np.int64)[order]

    def _row(self, name: object) -> int:
        """The row of a name; -1 for an unknown one."""
        if not isinstance(name, str):
            return -1
        key = np.bytes_(_encode(name))
        row = int(np.searchsorted(self.names, key))
        return row if row < len(self.names) and self.names[row] == key else -1

    def __getitem__(self, name: str) -> Where:
        if (row := self._row(name)) < 0:
            raise KeyError(name)
        path: Path | str = self.paths[self.path_of[row]]
        return Where(path, int(self.offsets[row]), int(self.sizes[row]))

    def __contains__(self, name: object) -> bool:
        return self._row(name) >= 0

    def __iter__(self) -> Iterator[str]:
        return (name.decode("utf-8", "surrogateescape") for name in self.names.tolist())

    def __len__(self) -> int:
        return len(self.names)


def compact(store: CropStore) -> CropStore:
    """Return a store of the same crops whose index is arrays."""
    small = copy.copy(store)
    small.index = cast("dict[str, Where]", ArrayIndex(store.index))
    return small


def _encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
