"""Tables of several data sets as one: what a blend has to be good at is not one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ensemble.aggregate import Layout
from ensemble.metrics import Floats
from ensemble.table import Faces
from ensemble.truth import ONE_SOURCE, Truth


def named(arguments: Sequence[str]) -> dict[str, list[Path]]:
    """Read NAME=PATH arguments.

    Args:
        arguments: paths, or names of sources with a path each; one name may come several times.

    Returns:
        Source -> its paths, in the order given. Paths without a name belong to ONE_SOURCE.

    Raises:
        ValueError: some have a name and some have not, or a name is empty.
    """
    found: dict[str, list[Path]] = {}
    for argument in arguments:
        name, sign, path = argument.partition("=")
        # A path may hold the sign: one that exists as it is written is a path.
        if not sign or Path(argument).exists():
            name, path = ONE_SOURCE, argument
        elif not name or not path:
            raise ValueError(f"{argument!r} is not NAME=TABLE, such as ffpp=ffpp.csv")
        found.setdefault(name, []).append(Path(path))
    if ONE_SOURCE in found and len(found) > 1:
        without, other = found[ONE_SOURCE][0], next(name for name in found if name)
        raise ValueError(f"{without} has no source and others have ({other}=...); name all: dfdc={without}")
    return found


def merge(tables: Mapping[str, Faces]) -> Faces:
    """Join the labelled tables of several sources.

    Groups of different sources are different groups, and so are videos of one name.

    Args:
        tables: source -> its table; one alone is given back as it is.

    Returns:
        One table, sources in the order of their names, with the members that all have.

    Raises:
        ValueError: no member is in all tables, or one of them has no labels.
    """
    if len(tables) == 1:
        return next(iter(tables.values()))
    names = sorted(tables)
    members = [m for m in tables[names[0]].members if all(m in tables[name].members for name in names)]
    if not members:
        told = "; ".join(f"{name}: {', '.join(tables[name].members)}" for name in names)
        raise ValueError(f"no member is in the tables of all sources ({told})")
    parts = [tables[name].of(members) for name in names]
    lost = [f"{name}: {line}" for name in names for line in tables[name].lost]
    dropped = {name: sorted(set(tables[name].members) - set(members)) for name in names}
    lost += [
        f"{name}: left out, since not all sources have them: {', '.join(out)}" for name, out in dropped.items() if out
    ]
    return Faces(
        tuple(members),
        np.concatenate([part.logit for part in parts]),
        np.concatenate([part.frame for part in parts]),
        _stacked([part.layout for part in parts]),
        np.concatenate([_prefixed(name, part.filename) for name, part in zip(names, parts, strict=True)]),
        _truth(names, [part.known() for part in parts]),
        tuple(lost),
        {f"{name}/{video}": why for name in names for video, why in tables[name].unscored.items()},
        hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest(),
        _joined(parts),
    )


def _joined(parts: Sequence[Faces]) -> Floats | None:
    """The widths of all; NaN for the videos of a table that does not tell."""
    if all(part.face_pixels is None for part in parts):
        return None
    unknown = [np.full(len(part.filename), np.nan) for part in parts]
    return np.concatenate([n if p.face_pixels is None else p.face_pixels for p, n in zip(parts, unknown, strict=True)])


def _truth(names: Sequence[str], parts: Sequence[Truth]) -> Truth:
    known = [part.degradation is not None for part in parts]
    kinds = [np.full(len(p), "", dtype=object) if p.degradation is None else p.degradation for p in parts]
    return Truth(
        np.concatenate([part.label for part in parts]),
        np.concatenate([_prefixed(name, part.group) for name, part in zip(names, parts, strict=True)]),
        np.concatenate(kinds) if all(known) else None,
        np.concatenate([np.full(len(part), name, dtype=object) for name, part in zip(names, parts, strict=True)]),
    )


def _prefixed(name: str, values: np.ndarray) -> np.ndarray:
    return np.array([f"{name}/{value}" for value in values], dtype=object)


def _stacked(layouts: Sequence[Layout]) -> Layout:
    people, videos = [np.zeros(1, dtype=np.int64)], [np.zeros(1, dtype=np.int64)]
    for layout in layouts:
        people.append(layout.person_starts[1:] + people[-1][-1])
        videos.append(layout.video_starts[1:] + videos[-1][-1])
    return Layout(np.concatenate(people), np.concatenate(videos))
