"""Face crops in shards on object storage: read by their spans, and kept on this machine up to a limit.

What is kept is chosen by name and not by use. Training reads each crop once an epoch in a new order, so that a cache
which drops the oldest would drop what comes next; a fixed choice of as much as fits saves its share of every epoch. All
processes of a machine choose alike, so they share a folder, and its size needs no count.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import sys
import tempfile
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common.errors import DfdcError
from common.storage import Folder, StorageError

SPAN = ("tar_offset", "tar_size")  # columns of a shard's index
CACHE_GIB = 50.0  # that are kept, when nobody says
AT_A_TIME = 16  # indices that are read; their answers take tens of milliseconds each
TRIES, PAUSE = 6, 1.0  # at a span, and seconds before the second try, twice as long before each further one: 31 in all
HASH_BYTES = 32  # of SHA-256, before the bytes of a crop that is kept
KEPT_DAYS = 30  # that the crops of a data set are kept without being used
CHOICES = 1 << 32  # values of CRC-32


def cache_folder() -> Path:
    """Where crops are kept: below XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dfdc" / "crops"


class RemoteCrops:
    """The shards of a folder of `dfdc extract` behind a URL."""

    def __init__(self, url: str, limit: int, cache: Path | None = None) -> None:
        """Read the indices of all shards.

        Args:
            url: of the folder, as fsspec knows it.
            limit: bytes of crops that are kept on this machine.
            cache: the folder for them; None: `cache_folder()`.

        Raises:
            ValueError: the folder holds no shards, or such whose indices do not say where crops lie.
            StorageError: the storage does not answer.
        """
        self.url, self._folder = url, Folder(url)
        there = self._folder.sizes()
        shards = sorted(name for name in there if name.endswith(".tar") and f"{name[:-4]}.csv" in there)
        if not shards:
            raise ValueError(f"{url} holds no shards of `dfdc extract` (shard_00000.tar with shard_00000.csv)")
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            indices = list(pool.map(self._folder.read, [f"{shard[:-4]}.csv" for shard in shards]))
        self.spans: dict[str, tuple[str, int, int]] = {}  # name -> shard, offset, size
        for shard, index in zip(shards, indices, strict=True):
            self._add(shard, index)
        digest = hashlib.sha256("\0".join([url, *(hashlib.sha256(index).hexdigest() for index in indices)]).encode())
        self.cache = (cache or cache_folder()) / digest.hexdigest()[:32]
        self.kept_below = self._choice(limit)
        self._clean()

    def read(self, name: str, shard: str, offset: int, size: int) -> bytes:
        """Read a crop, from this machine where it is kept.

        Raises:
            StorageError: the storage did not answer, TRIES times.
        """
        if _choice_of(name) >= self.kept_below:
            return self._fetch(shard, offset, size)
        path = self._path(name)
        if (data := _kept(path)) is None:
            data = self._fetch(shard, offset, size)
            self._keep(path, data)
        return data

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the connection, which does not outlive its process, and the spans, which the store has."""
        return self.__dict__ | {"_folder": None, "spans": {}}

    def _add(self, shard: str, index: bytes) -> None:
        rows = csv.DictReader(io.StringIO(index.decode("utf-8"), newline=""))
        if not set(SPAN) <= set(rows.fieldnames or ()):
            raise ValueError(
                f"{self.url}/{shard} is of an earlier version, whose index does not say where crops lie; copy the "
                "folder to a disk and give its path, or extract anew"
            )
        for row in rows:
            if not row[SPAN[0]]:
                raise ValueError(f"{self.url}/{shard}: its index does not say where {row['face']!r} lies; extract anew")
            if row["face"] in self.spans:
                raise ValueError(f"{self.url} holds {row['face']!r} again; names must be unique over all sources")
            self.spans[row["face"]] = shard, int(row[SPAN[0]]), int(row[SPAN[1]])

    def _choice(self, limit: int) -> int:
        """The number below which the crops that are kept lie, so that they take no more than the limit."""
        taken = 0
        for choice, size in sorted((_choice_of(name), size) for name, (_, _, size) in self.spans.items()):
            taken += size + HASH_BYTES
            if taken > limit:
                return choice
        return CHOICES

    def _clean(self) -> None:
        """Remove what a lower limit no longer keeps, and other data sets that nobody has used for long."""
        parent = self.cache.parent
        try:
            self.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.utime(self.cache)
            for other in parent.iterdir():
                if other.is_dir() and other.stat().st_mtime < time.time() - KEPT_DAYS * 86400:
                    _remove(other)
            for path in self.cache.glob("*/*"):
                if int(path.name[:8], 16) >= self.kept_below:
                    path.unlink(missing_ok=True)
        except (OSError, ValueError) as error:
            self._without_cache(error)

    def _path(self, name: str) -> Path:
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
        return self.cache / digest[:2] / f"{_choice_of(name):08x}{digest[:32]}"

    def _keep(self, path: Path, data: bytes) -> None:
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix="ffffffff")  # is cleaned away at a next start
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(data).digest() + data)
            Path(temporary).replace(path)
        except OSError as error:
            self._without_cache(error)

    def _without_cache(self, error: Exception) -> None:
        print(f"{self.cache}: {error}; going on without keeping crops on this machine", file=sys.stderr)
        self.kept_below = 0

    def _fetch(self, shard: str, offset: int, size: int) -> bytes:
        if self._folder is None:
            self._folder = Folder(self.url)
        for attempt in range(TRIES):
            try:
                return self._folder.read_span(shard, offset, size)
            except StorageError:
                if attempt + 1 == TRIES:
                    raise
                time.sleep(PAUSE * 2**attempt)
            except FileNotFoundError as error:
                raise DfdcError(f"{self.url}/{shard} is gone; put it back, and the same command goes on") from error
        raise AssertionError("the last try returns or raises")


def _choice_of(name: str) -> int:
    return zlib.crc32(name.encode("utf-8", "surrogateescape"))


def _kept(path: Path) -> bytes | None:
    """The bytes of a crop that is kept; None for one that is not, or is damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    content = data[HASH_BYTES:]
    return content if hashlib.sha256(content).digest() == data[:HASH_BYTES] else None


def _remove(folder: Path) -> None:
    for path in folder.glob("*/*"):
        path.unlink(missing_ok=True)
    for path in [*folder.iterdir(), folder]:
        path.rmdir()
