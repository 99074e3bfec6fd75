"""Face crops with labels, out of folders or plain tars, and the balanced order in which training sees them."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset, Sampler

from dfdc_common import DfdcError
from faces.crop import CropSpec, Image, box_inside_crop, cut
from train.augment import augment

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True)
class Where:
    """Where the bytes of one image lie: a file, or a span of a tar."""

    path: str
    offset: int = 0
    size: int = -1  # -1: to the end of the file


class CropStore:
    """Images by name, out of folders and uncompressed tars; random access without unpacking."""

    def __init__(self, sources: Sequence[Path]) -> None:
        self.index: dict[str, Where] = {}
        for source in sources:
            found = _index_tar(source) if source.is_file() else _index_folder(source)
            if not found:
                raise ValueError(f"{source} holds no images ({', '.join(IMAGE_ENDINGS)}) and is no tar of them")
            if twice := self.index.keys() & found.keys():
                raise ValueError(f"{source} holds {sorted(twice)[0]!r} again; names must be unique over all sources")
            self.index.update(found)

    def read(self, name: str) -> Image:
        """One image, (H, W, 3) uint8 RGB; DfdcError when it cannot be decoded."""
        where = self.index[name]
        with open(where.path, "rb") as handle:
            handle.seek(where.offset)
            data = handle.read(where.size)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        if image is None:
            raise DfdcError(f"image {name!r} in {where.path} cannot be decoded; remove its row or the file")
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _index_tar(path: Path) -> dict[str, Where]:
    try:
        with tarfile.open(path, "r:") as tar:
            members = [m for m in tar if m.isfile() and m.name.lower().endswith(IMAGE_ENDINGS)]
    except (OSError, tarfile.TarError) as error:
        raise ValueError(f"{path} is neither a folder of face crops nor an uncompressed tar: {error}") from error
    return {os.path.basename(m.name): Where(str(path), m.offset_data, m.size) for m in members}


def _index_folder(folder: Path) -> dict[str, Where]:
    if not folder.is_dir():
        raise ValueError(f"{folder} does not exist")
    tars = sorted(folder.rglob("*.tar"))
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_ENDINGS)
    found = {p.name: Where(str(p)) for p in files}
    for tar in tars:
        found.update(_index_tar(tar))
    return found


def read_labels(path: Path) -> pd.DataFrame:
    """A labels CSV: columns `face` and/or `filename`, `label` (REAL/FAKE), optionally `original`, a group, `split`.

    Returns it with `target` (1.0 fake, 0.0 real, NaN otherwise) and `group` (from `original_group`, `group` or the row
    itself). ValueError naming the column that is missing.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    key = next((c for c in ("face", "filename") if c in table.columns), None)
    if key is None or "label" not in table.columns:
        raise ValueError(f"{path} needs a column 'label' and one of 'face', 'filename'; it has {list(table.columns)}")
    group = next((c for c in ("original_group", "group") if c in table.columns), key)
    return table.assign(
        target=table["label"].str.upper().map({"FAKE": 1.0, "REAL": 0.0}).astype(float),
        group=table[group].where(table[group] != "", table[key]),
    )


class FaceDataset(Dataset[tuple[torch.Tensor, float]]):
    """Labelled crops as a member sees them; augmented only when a seed is given.

    An item is (crop (S, S, 3) uint8 RGB, target). The augmentation of row i in epoch e depends on (seed, e, i) alone,
    so the order, the number of loader workers and a resume change nothing.
    """

    def __init__(
        self, store: CropStore, table: pd.DataFrame, spec: CropSpec, cut_as: CropSpec, seed: int | None = None
    ) -> None:
        if missing := sorted(set(table["face"]) - store.index.keys()):
            raise ValueError(f"{len(missing)} labelled faces are in none of the sources, the first is {missing[0]!r}")
        self.store, self.spec, self.cut_as, self.seed = store, spec, cut_as, seed
        self.names = list(table["face"])
        self.targets = table["target"].to_numpy(dtype=np.float32)
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, float]:
        image = self.store.read(self.names[index])
        height, width = image.shape[:2]
        crop = cut(image, box_inside_crop(self.cut_as, width, height), self.spec)
        if self.seed is not None:
            crop = augment(crop, np.random.default_rng((self.seed, self.epoch, index)))
        return torch.from_numpy(crop), float(self.targets[index])


class PairedSampler(Sampler[list[int]]):
    """Batches of half fakes and half reals; each fake sits beside its own original where that is in the data.

    An epoch shows every fake once. The order is a function of (seed, epoch); `start` skips the batches that a resumed
    run has already seen.
    """

    def __init__(self, table: pd.DataFrame, batch: int, seed: int) -> None:
        if batch % 2:
            raise ValueError(f"batch {batch} must be even: half fakes, half reals")
        target = table["target"].to_numpy()
        self.fakes, self.reals = np.flatnonzero(target == 1), np.flatnonzero(target == 0)
        if not len(self.fakes) or not len(self.reals):
            raise ValueError(f"training needs both classes; there are {len(self.fakes)} fakes, {len(self.reals)} reals")
        position = {name: i for i, name in enumerate(table["filename"])} if "filename" in table else {}
        originals = table["original"] if "original" in table else pd.Series([""] * len(table))
        self.original_of = np.array([position.get(name, -1) for name in originals])
        self.batch, self.seed, self.epoch, self.start = batch, seed, 0, 0

    def __len__(self) -> int:
        return len(self.fakes) * 2 // self.batch

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        fakes = rng.permutation(self.fakes)
        partners = self.original_of[fakes]
        # A fake whose original is not in the data is paired with any real.
        partners = np.where(partners >= 0, partners, rng.choice(self.reals, len(fakes)))
        half = self.batch // 2
        for step in range(self.start, len(self)):
            rows = slice(step * half, (step + 1) * half)
            yield [*fakes[rows].tolist(), *partners[rows].tolist()]
