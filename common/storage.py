"""Folders on this machine and elsewhere, behind one set of calls: a path, or an fsspec URL such as s3:// or gs://."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from common.errors import DfdcError
from common.files import atomic_path

BLOCK = 8 << 20  # bytes that are read ahead of a long object


class StorageError(DfdcError):
    """Storage did not answer as it should: what was asked for may be there or not, and may be there the next time."""


class Folder:
    """A folder and the objects in it, named by their paths below it.

    An object is written whole or not at all. Listings are not cached: others write here as well.
    """

    def __init__(self, url: str) -> None:
        """Open a folder, which need not be there.

        Args:
            url: a path, or a URL that fsspec knows.

        Raises:
            ValueError: fsspec does not know the URL, or its package is not installed.
        """
        import fsspec

        try:
            self.fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise ValueError(
                f"{url}: {error}; s3:// needs the package s3fs, gs:// gcsfs, hf:// huggingface_hub"
            ) from error
        self.url, self.root = url, str(root).rstrip("/")
        self.is_local = "file" in ([self.fs.protocol] if isinstance(self.fs.protocol, str) else self.fs.protocol)

    def path(self, name: str) -> str:
        """Return an object's path in its file system; on this machine a path like any other."""
        return f"{self.root}/{name}"

    def read(self, name: str) -> bytes:
        """Read an object.

        Raises:
            FileNotFoundError: it is not there.
            StorageError: the storage does not answer.
        """
        with self._told(name):
            return bytes(self.fs.cat_file(self.path(name)))

    def read_span(self, name: str, offset: int, size: int) -> bytes:
        """Read so many bytes of an object from an offset on.

        Raises:
            FileNotFoundError: it is not there.
            StorageError: the storage does not answer, or gave another number of bytes.
        """
        with self._told(name):
            data = bytes(self.fs.cat_file(self.path(name), start=offset, end=offset + size))
            if len(data) != size:
                raise StorageError(f"{self.url}/{name}: {len(data)} bytes from {offset} on came, {size} were expected")
            return data

    def lines(self, name: str) -> Iterator[str]:
        """Read a text line by line, without their ends; errors are those of `read`."""
        with (
            self._told(name),
            self.fs.open(self.path(name), "rb", block_size=BLOCK) as handle,
            io.TextIOWrapper(handle, encoding="utf-8", errors="surrogateescape", newline="\n") as text,
        ):
            for line in text:
                yield line.rstrip("\n")

    def exists(self, name: str) -> bool:
        """Tell whether an object is there; StorageError where the storage does not answer."""
        with self._told(name):
            try:
                self.fs.info(self.path(name))
            except FileNotFoundError:
                return False
            return True

    def write(self, name: str, data: bytes) -> None:
        """Write an object, in place of one that is there; StorageError where that fails."""
        with self._told(name):
            if self.is_local:  # a local put of fsspec is no single act, a rename is
                with atomic_path(Path(self.path(name))) as temporary:
                    temporary.write_bytes(data)
            else:
                self.fs.pipe_file(self.path(name), data)

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless one is there, in one act: of several writers one succeeds.

        S3 does so with If-None-Match, Google with ifGenerationMatch; of a file's names a hard link is made once.

        Returns:
            False where an object is there already, which stays as it is.

        Raises:
            StorageError: the storage does not answer; the object may be there.
        """
        with self._told(name):
            try:
                if self.is_local:
                    _create_file(Path(self.path(name)), data)
                else:
                    self.fs.pipe_file(self.path(name), data, mode="create")
            except FileExistsError:
                return False
            return True

    def put(self, source: Path, name: str) -> None:
        """Copy a file into the folder, in place of an object that is there; StorageError where that fails."""
        with self._told(name):
            if self.is_local:
                with atomic_path(Path(self.path(name))) as temporary:
                    self.fs.put_file(str(source), str(temporary))
            else:
                self.fs.put_file(str(source), self.path(name))

    def fetch(self, name: str, target: Path, size: int | None = None) -> None:
        """Copy an object to a file.

        Args:
            name: of the object.
            target: the file; it is there whole or not at all.
            size: bytes that the object must have.

        Raises:
            FileNotFoundError: it is not there.
            StorageError: the storage does not answer, or gave another number of bytes.
        """
        with self._told(name), atomic_path(target) as temporary:
            self.fs.get_file(self.path(name), str(temporary))
            if size is not None and (found := temporary.stat().st_size) != size:
                raise StorageError(f"{self.url}/{name}: {found} bytes came, {size} were expected")

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        with self._told(name), contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self.path(name))

    def sizes(self) -> dict[str, int]:
        """List the folder and all folders below: bytes of each object by its name; empty for one that is not there."""
        with self._told(""):
            found = self.fs.find(self.root, detail=True)
        start = len(self.root) + 1
        return {path[start:]: int(info["size"] or 0) for path, info in found.items()}

    @contextlib.contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """Let every error of a storage be a StorageError, but for an object that is plainly not there."""
        try:
            yield
        except (FileNotFoundError, DfdcError, GeneratorExit):
            raise
        except Exception as error:  # each kind of storage has errors of its own, many of them no OSError
            raise StorageError(f"{self.url}/{name}: {type(error).__name__}: {error}") from error


def _create_file(target: Path, data: bytes) -> None:
    """Write a file under its name in one act; FileExistsError where the name is taken."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        target.hardlink_to(name)
    finally:
        Path(name).unlink()
