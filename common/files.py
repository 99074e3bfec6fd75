"""Files: which of them are videos, atomic writes, locks, hashes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

# What cameras, phones and the data sets of the field write; a file with another ending can be given by its path.
VIDEO_ENDINGS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it onto `target` on success, remove it on failure.

    The rename is atomic on one file system, so a reader (or a run after a kill) sees the old file or the whole new one,
    never a part.

    Args:
        target: The file to be written. Missing parent folders are made; an existing file is replaced.

    Yields:
        An empty file to write to, in the folder of `target`.

    Raises:
        OSError: The folder cannot be written, or `target` is a folder, a device or a pipe: a rename would replace it.
    """
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "is no regular file, and only such are written", str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        sync(temporary)
        # mkstemp makes files private; a result should have the permissions the user's umask asks for.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk: a rename that survives a power cut must not point at empty blocks.

    Args:
        path: What is flushed.

    Raises:
        OSError: The disk is full or fails.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(target: Path, text: str) -> None:
    """Write `text` to `target` as UTF-8 with unix line ends, whole or not at all.

    Args:
        target: The file to be written.
        text: Its content. Bytes of file names that are not UTF-8, which Python keeps as surrogates, are written as they
            were.

    Raises:
        OSError: The folder cannot be written.
    """
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")


def link_file(source: Path, target: Path) -> None:
    """Give a file a second name, which keeps its bytes when the first is replaced; a copy where there are no links.

    Args:
        source: The file.
        target: Its second name, which must be free.

    Raises:
        OSError: The folder cannot be written.
    """
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def lock_file(descriptor: int, wait: bool = False) -> bool:
    """Take the exclusive lock of an open file or folder.

    The lock belongs to the open file, so a child that inherits the descriptor holds it as well. The system gives it
    back when the last copy of the descriptor is closed, however the processes end.

    Args:
        descriptor: of the open file or folder.
        wait: block until the lock is free.

    Returns:
        False when somebody else holds the lock; always True with `wait`.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def files_in(inputs: Sequence[Path], endings: tuple[str, ...] = VIDEO_ENDINGS) -> list[Path]:
    """List the files that `inputs` name.

    Args:
        inputs: Files, taken whatever their names are, and folders, whose sub-folders are not searched.
        endings: Of a folder, which entries are taken; lower case, with the dot.

    Returns:
        The files in the order of the inputs, those of one folder sorted by name.

    Raises:
        ValueError: An input does not exist, or a folder has no such entry.
    """
    found: list[Path] = []
    for source in inputs:
        if source.is_dir():
            inside = sorted(path for path in source.iterdir() if path.suffix.lower() in endings)
            if not inside:
                raise ValueError(f"{source} holds no video ({', '.join(VIDEO_ENDINGS)}); sub-folders are not searched")
            found += inside
        elif source.exists() or source.is_symlink():
            found.append(source)
        else:
            raise ValueError(f"{source} does not exist; give videos, or folders of videos")
    return found


def refuse_overwriting(read: Iterable[Path | None], written: Iterable[Path | None]) -> None:
    """Refuse outputs that are inputs, or each other; to be called before anything is written. None stands for no file.

    Raises:
        ValueError: a file would be read and written over, or written twice, or an output is a folder or a device.
    """
    inputs = {path.resolve() for path in read if path is not None}
    outputs: set[Path] = set()
    for path in written:
        if path is None:
            continue
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} is no regular file; name one to write")
        if (place := path.resolve()) in inputs:
            raise ValueError(f"{path} is read, and would be written over; name another output")
        if place in outputs:
            raise ValueError(f"{path} would be written twice; give each output a name of its own")
        outputs.add(place)


def harmless(cell: object) -> object:
    """Return a cell of a table for people so that a spreadsheet shows it and does not run it.

    Text that begins with = + - @, a tab or a line's end is a formula to Excel and others, and the names of files come
    from strangers. Numbers and all other text stay as they are.

    Args:
        cell: of a table that no program reads again.
    """
    if not isinstance(cell, str) or not cell.startswith(FORMULA_STARTS):
        return cell
    try:
        float(cell)
    except ValueError:
        return "'" + cell
    return cell


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal digits; the file is read in blocks."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
