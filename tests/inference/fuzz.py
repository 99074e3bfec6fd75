"""Damaged copies of an mp4, as many as wanted, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

Damage = Callable[[bytearray, np.random.Generator], object]

ATOMS = (b"ftyp", b"moov", b"mvhd", b"trak", b"tkhd", b"mdhd", b"stsd", b"avcC", b"stts", b"stsc", b"stsz", b"stco")
HUGE = (0, 1, 7, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)


def truncated(data: bytearray, rng: np.random.Generator) -> None:
    """The file ends early, sometimes within its first bytes."""
    del data[int(len(data) * rng.random() ** 2) :]


def flipped_bits(data: bytearray, rng: np.random.Generator) -> None:
    """From a few to a few thousand bits, all over the file."""
    for at in rng.integers(0, len(data), 4 ** rng.integers(1, 7)):
        data[at] ^= 1 << int(rng.integers(8))


def zeroed_block(data: bytearray, rng: np.random.Generator) -> None:
    """A part that was never fetched."""
    length = min(len(data), int(rng.integers(512, 65536)))
    at = int(rng.integers(0, len(data) - length + 1))
    data[at : at + length] = bytes(length)


def swapped_blocks(data: bytearray, rng: np.random.Generator) -> None:
    """Two blocks of a disk in each other's place."""
    length = min(len(data) // 4, int(rng.integers(512, 16384)))
    one, other = (int(at) for at in rng.integers(0, len(data) - length + 1, 2))
    first, second = bytes(data[one : one + length]), bytes(data[other : other + length])
    data[one : one + length], data[other : other + length] = second, first


def mangled_atom(data: bytearray, rng: np.random.Generator) -> None:
    """Noise in the first bytes of one of the header's atoms, or in its name."""
    at = _atom(data, rng)
    begin, length = at + int(rng.integers(0, 24)), int(rng.integers(1, 32))
    data[begin : begin + length] = rng.bytes(len(data[begin : begin + length]))


def huge_size(data: bytearray, rng: np.random.Generator) -> None:
    """An atom claims an absurd size, or one of the numbers in it is absurd: a count, a width, a place."""
    at = _atom(data, rng)
    begin = at + int(rng.choice([-4, -4, 8, 12, 16, 20, 24, 28, 32]))
    data[begin : begin + 4] = int(rng.choice(HUGE)).to_bytes(4, "big")


DAMAGES: tuple[Damage, ...] = (truncated, flipped_bits, zeroed_block, swapped_blocks, mangled_atom, huge_size)


def make_fuzzed(folder: Path, source: Path, count: int, seed: int) -> list[Path]:
    """Write `count` damaged copies of the mp4 `source` into `folder`, each kind of damage in turn. Returns their paths.

    Deterministic: the same source, count and seed give the same bytes, and a smaller count the first of a larger.
    """
    whole = source.read_bytes()
    paths = []
    for number in range(count):
        damage = DAMAGES[number % len(DAMAGES)]
        data = bytearray(whole)
        damage(data, np.random.default_rng([seed, number]))
        path = folder / f"fuzz_{seed}_{number:03d}_{damage.__name__}.mp4"
        path.write_bytes(data)
        paths.append(path)
    return paths


def _atom(data: bytearray, rng: np.random.Generator) -> int:
    """Where the name of one of the atoms stands."""
    found = [at for name in ATOMS if (at := data.find(name)) >= 4]
    return int(rng.choice(found))
