"""What belongs together: videos tied by an original, a group, equal bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def components(ties: Sequence[Iterable[tuple[str, str]]]) -> NDArray[np.intp]:
    """Number the connected components of things that share a tie.

    Args:
        ties: for each thing its ties, pairs of (kind, value); things with an equal pair belong together, also by way
            of others.

    Returns:
        (N,) component numbers, from 0 in the order in which components first appear.
    """
    number: dict[tuple[str, str], int] = {}
    things: list[int] = []
    values: list[int] = []
    for thing, mine in enumerate(ties):
        for tie in mine:
            things.append(thing)
            values.append(number.setdefault(tie, len(number)))
    count = len(ties)
    # A graph of things and, behind them, ties.
    rows, columns = np.array(things, dtype=np.intp), np.array(values, dtype=np.intp) + count
    size = count + len(number)
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(size, size))
    found = connected_components(graph, directed=False)[1][:count]
    first = np.unique(found, return_index=True)[1]
    order = np.argsort(np.argsort(first))
    return np.asarray(order[np.unique(found, return_inverse=True)[1]], dtype=np.intp)
