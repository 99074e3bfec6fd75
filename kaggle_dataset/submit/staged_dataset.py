"""A built dataset as it will be sent: checked to the last byte, and addressed by what its manifest hashes to."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from common.errors import DfdcError
from common.files import sha256_of
from kaggle_dataset.bundle.checks import DATASET_METADATA, MANIFEST, check_dataset

# The client keeps its place in an upload in a file named after the whole path; file systems end at 255 bytes.
LONGEST_PATH = 255 - len(".json")


@dataclass(frozen=True)
class Staged:
    """A folder that is safe to send."""

    folder: Path  # absolute
    ref: str  # owner/slug
    files: dict[str, int]  # name -> bytes of everything that is uploaded, the manifest too
    manifest: bytes

    @property
    def sha256(self) -> str:
        """Of the manifest, which names the hash of every other file."""
        return hashlib.sha256(self.manifest).hexdigest()

    @property
    def size(self) -> str:
        """For people."""
        return f"{len(self.files)} files, {sum(self.files.values()):,} bytes"


def read_staged(dataset: Path) -> Staged:
    """Check a folder as a build does, and by SHA-256; DfdcError for what is wrong, ValueError for no dataset."""
    folder = dataset.resolve()
    try:
        manifest = (folder / MANIFEST).read_bytes()
        ref = str(json.loads((folder / DATASET_METADATA).read_bytes())["id"])
        values = json.loads(manifest)
        entries = {str(entry["name"]): str(entry["sha256"]) for entry in values["files"]}
        others = dict(values.get("others", {}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{dataset} is no built dataset ({error!r}); give the folder that dfdc build wrote") from error
    files = check_dataset(folder, others).refuse().files
    for name, sha256 in entries.items():
        if (actual := sha256_of(folder / name)) != sha256:
            raise DfdcError(
                f"{folder / name} has the SHA-256 {actual[:12]}, {MANIFEST} says {sha256[:12]}: it was changed after "
                f"it was built; build again"
            )
        if (length := len(str(folder / name).encode())) > LONGEST_PATH:
            raise ValueError(f"{folder / name} has {length} bytes, the client takes {LONGEST_PATH}; build it elsewhere")
    return Staged(folder, ref, files, manifest)
