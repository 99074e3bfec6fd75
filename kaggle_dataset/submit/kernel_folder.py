"""The folder of a kernel as it is pushed: a script and its kernel-metadata.json."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from common.files import sha256_of
from kaggle_dataset.bundle.checks import KERNEL_METADATA

REF = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]{5,}")


def check_metadata(kernel: Path) -> str:
    """The ref that a kernel's folder is pushed as; ValueError for metadata that would not do what is meant."""
    path = kernel / KERNEL_METADATA
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        ref, code = str(values["id"]), kernel / str(values["code_file"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no kernel metadata with id and code_file ({error}); first: dfdc build") from error
    if not REF.fullmatch(ref):
        raise ValueError(f"{path}: id {ref!r} is not owner/slug with a slug of at least 5 characters")
    if not code.is_file():
        raise ValueError(f"{path}: the code_file {code} is not there")
    if values.get("kernel_type") != "script":
        raise ValueError(f"{path}: kernel_type is {values.get('kernel_type')!r}; only a script can be compared again")
    if values.get("enable_internet") is not False:
        raise ValueError(f"{path}: enable_internet must be false; left out, the client turns the internet on")
    if values.get("model_sources"):
        raise ValueError(
            f"{path}: model_sources {values['model_sources']} cannot be verified, the client does not tell when Kaggle "
            f"leaves one out; put the weights into the dataset"
        )
    return ref


def content_hash(folder: Path) -> str:
    """SHA-256 over names and contents of the files in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listing = [(path.relative_to(folder).as_posix(), sha256_of(path)) for path in files]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def wants_gpu(kernel: Path) -> bool:
    """Whether the session of the kernel in a folder is to have a GPU."""
    return json.loads((kernel / KERNEL_METADATA).read_text(encoding="utf-8")).get("enable_gpu") is True
