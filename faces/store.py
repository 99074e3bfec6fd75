"""Ready face crops by name, out of folders and plain tars, on this machine or behind URLs."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from common.errors import DfdcError
from faces.crop import Image
from faces.remote import CACHE_GIB, RemoteCrops

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True)
class Where:
    """Where the bytes of one image lie: a file, or a span of a tar."""

    path: Path | str  # of a file; of a shard behind a URL its address
    offset: int = 0
    size: int = -1  # -1: to the end of the file


class CropStore:
    """Images by name, out of folders and uncompressed tars; random access without unpacking."""

    def __init__(self, sources: Sequence[Path | str], cache_gib: float = CACHE_GIB) -> None:
        """Find out where each image lies.

        Args:
            sources: folders, tars, and URLs of folders of `dfdc extract`.
            cache_gib: GiB of images behind URLs that are kept on this machine.

        Raises:
            ValueError: a source holds no images, or one of a name that is there already.
            StorageError: a storage does not answer.
        """
        self.index: dict[str, Where] = {}
        self.remote: dict[str, RemoteCrops] = {}  # by URL
        for source in sources:
            if is_url(source):
                self._add_remote(str(source).rstrip("/"), int(cache_gib * (1 << 30)))
                continue
            source = Path(source)  # noqa: PLW2901
            found = _index_tar(source) if source.is_file() else _index_folder(source)
            if not found:
                raise ValueError(f"{source} holds no images ({', '.join(IMAGE_ENDINGS)}) and is no tar of them")
            _add(self.index, found, source)

    def read(self, name: str) -> Image:
        """One image, (H, W, 3) uint8 RGB; DfdcError when it cannot be decoded."""
        where = self.index[name]
        if isinstance(where.path, str):
            url, _, shard = where.path.rpartition("/")
            data = self.remote[url].read(name, shard, where.offset, where.size)
        else:
            with where.path.open("rb") as handle:
                handle.seek(where.offset)
                data = handle.read(where.size)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        if image is None:
            raise DfdcError(f"image {name!r} in {where.path} cannot be decoded; remove its row or the file")
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def _add_remote(self, url: str, cache: int) -> None:
        remote = RemoteCrops(url, cache)
        found = {name: Where(f"{url}/{shard}", *span) for name, (shard, *span) in remote.spans.items()}
        _add(self.index, found, url)
        remote.spans = {}  # the index has them
        self.remote[url] = remote


def is_url(source: Path | str) -> bool:
    """Whether a source of crops is a URL, and no path."""
    return isinstance(source, str) and "://" in source


def source_of(text: str) -> Path | str:
    """Read a source of crops as a user gives it."""
    return text if is_url(text) else Path(text)


def _index_tar(path: Path) -> dict[str, Where]:
    try:
        with tarfile.open(path, "r:") as tar:
            members = [m for m in tar if m.isfile() and m.name.lower().endswith(IMAGE_ENDINGS)]
    except (OSError, tarfile.TarError) as error:
        raise ValueError(f"{path} is neither a folder of face crops nor an uncompressed tar: {error}") from error
    found: dict[str, Where] = {}
    for member in members:
        _add(found, {PurePosixPath(member.name).name: Where(path, member.offset_data, member.size)}, path)
    return found


def _index_folder(folder: Path) -> dict[str, Where]:
    if not folder.is_dir():
        raise ValueError(f"{folder} does not exist")
    found: dict[str, Where] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix.lower() in IMAGE_ENDINGS:
            _add(found, {path.name: Where(path)}, folder)
        elif path.suffix == ".tar":
            _add(found, _index_tar(path), folder)
    return found


def _add(index: dict[str, Where], more: dict[str, Where], source: Path | str) -> None:
    if twice := index.keys() & more.keys():
        raise ValueError(f"{source} holds {min(twice)!r} again; names must be unique over all sources")
    index.update(more)
