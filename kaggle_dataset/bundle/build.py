"""Pack what a Kaggle kernel needs into a folder whose name is the hash of its manifest."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import DfdcError
from common.files import sha256_of
from kaggle_dataset.bundle.checks import (
    BLEND,
    DATASET_METADATA,
    KERNEL_METADATA,
    MANIFEST,
    WHEEL,
    Report,
    check_dataset,
    name_problems,
)
from kaggle_dataset.bundle.members import measure_drift, stage_members, summary
from kaggle_dataset.bundle.options import Address, BuildOptions
from kaggle_dataset.bundle.start import FORMAT, PROJECT, SOURCE
from kaggle_dataset.bundle.wheels import OPTIONAL, Wheel, gather, read_image, read_pins

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("cli", "common", "ensemble", "faces", "inference", "models")  # that `dfdc predict` and the kernel import
SOURCE_ENDINGS = (".py", ".css", ".js", ".j2")
SCRIPT = "start.py"
ID_DIGITS = 16  # of the manifest's SHA-256, which name the folder


@dataclass(frozen=True)
class Built:
    """A folder that is ready to be proved and sent."""

    id: str
    dataset: Path  # what is uploaded
    kernel: Path  # what is pushed
    manifest: dict[str, Any]
    report: Report
    fresh: bool  # False: the same content was there already, and was left as it is
    converted: tuple[str, ...] = ()  # members that were stored anew in fp16
    drift: dict[str, float] = field(default_factory=dict)  # member or "blend" -> max |difference of prob_fake|


@dataclass(frozen=True)
class _Entry:
    """A file on its way into the dataset."""

    source: Path
    name: str  # in the dataset, where all files lie flat
    path: str  # in the tree of the kernel; "": not there

    def listed(self) -> dict[str, Any]:
        size, digest = self.source.stat().st_size, sha256_of(self.source)
        return {"name": self.name, "bytes": size, "sha256": digest, "path": self.path}


def build(options: BuildOptions, output: Path, say: Callable[[str], None] = lambda _: None) -> Built:
    """Write output/<id>/dataset and output/<id>/kernel, whole or not at all; the same sources give the same bytes.

    Args:
        options: what is packed, and under which address.
        output: the folder of all builds; it is made where it is missing.
        say: is told each step.

    Returns:
        The folders, the manifest and the report of the checks; `fresh` is False where this content was there already.

    Raises:
        ValueError: when members must be stored anew in fp16 and there are no videos to measure what that changes.
        DfdcError: for what the checks refuse, and when a folder of this id was changed after it was built.
    """
    address, others = options.address, options.others
    output.mkdir(parents=True, exist_ok=True)
    say("wheels that the image lacks")
    wheels = gather(options.cache or output / "wheels", () if options.openvino else (OPTIONAL,))
    with tempfile.TemporaryDirectory(dir=output, prefix=".build-") as folder:
        work = Path(folder)
        say("members")
        mixed, converted = stage_members(options.members, work / "members", options.blend)
        drift = _drift(options.members, work / "members", mixed, converted, options.videos)
        entries = _entries(work, mixed.members, wheels)
        manifest = _manifest(entries, wheels, address, others, summary(work / "members", mixed))
        data = _json(manifest)
        identity = hashlib.sha256(data).hexdigest()
        staged = _write(work / "staged", entries, data, address, _kernel_files(address, others, identity))
        say("checks")
        report = check_dataset(staged / "dataset", others).refuse()
        target = output / identity[:ID_DIGITS]
        fresh = _place(staged, target)
    return Built(target.name, target / "dataset", target / "kernel", manifest, report, fresh, tuple(converted), drift)


def source_tree(root: Path = ROOT) -> dict[str, str]:
    """Path -> text of everything that the kernel runs, sorted by path; no weights, no tests, no training."""
    paths = [path for room in ROOMS for path in (root / room).rglob("*") if path.suffix in SOURCE_ENDINGS]
    paths += [root / "dfdc.py", root / "LICENSE", root / "NOTICE"]
    return {path.relative_to(root).as_posix(): path.read_bytes().decode("utf-8") for path in sorted(paths)}


def _drift(
    source: Path, staged: Path, blend: Any, converted: Sequence[str], videos: Sequence[Path]
) -> dict[str, float]:
    """Drift by member; nothing to measure where every byte is the source's."""
    from models.checkpoint import DRIFT_LIMIT

    if not converted:
        return dict.fromkeys(blend.members, 0.0)
    if not videos:
        raise ValueError(
            f"{', '.join(converted)} would be stored in fp16: give videos with faces, to measure what that moves"
        )
    drift = measure_drift(source, staged, blend, videos)
    # Not "above the limit": a NaN is beyond it as well.
    if beyond := [f"{name} by {moved:.4f}" for name, moved in drift.items() if not moved <= DRIFT_LIMIT]:
        raise DfdcError(
            f"stored in fp16, prob_fake of a face moves by more than {DRIFT_LIMIT}: {', '.join(beyond)}; train with "
            f"more weight_decay or a lower lr"
        )
    return drift


def _entries(work: Path, members: Sequence[str], wheels: Sequence[Wheel]) -> list[_Entry]:
    """All files of the dataset but the manifest, sorted by name; DfdcError when two have one name."""
    source = work / SOURCE
    source.write_bytes(_json(source_tree()))
    staged = [work / "members" / f"{name}{ending}" for name in members for ending in (".json", ".safetensors")]
    weights = [*staged, work / "members" / BLEND]
    entries = [_Entry(source, SOURCE, "")]
    entries += [_Entry(path, path.name, f"models/weights/{path.name}") for path in weights]
    entries += [
        _Entry(p, p.name, f"faces/weights/{p.name}") for p in (ROOT / "faces" / "weights").glob("*.safetensors")
    ]
    entries += [_Entry(w.path, w.path.name.removesuffix(".whl") + WHEEL, f"wheels/{w.path.name}") for w in wheels]
    if problems := name_problems([MANIFEST, DATASET_METADATA, *(entry.name for entry in entries)]):
        raise DfdcError("; ".join(problems))
    return sorted(entries, key=lambda entry: entry.name)


def _manifest(
    entries: Sequence[_Entry],
    wheels: Sequence[Wheel],
    address: Address,
    others: Mapping[str, int],
    blend: Mapping[str, object],
) -> dict[str, Any]:
    """What is in the dataset and how it is sent. Nothing of this machine and no time, so that it can be made again."""
    image, pins = read_image(), read_pins()
    bundled = {wheel.distribution: wheel.version for wheel in wheels}
    kernel = {name: hashlib.sha256(data).hexdigest() for name, data in _kernel_files(address, others, "").items()}
    return {
        "format": FORMAT,
        "project": PROJECT,
        "files": [entry.listed() for entry in entries],
        "wheels": sorted({wheel.requirement for wheel in wheels}),
        "versions": {
            "python": list(image.pythons),
            "image": image.distributions,
            "bundled": bundled,
            "tested": {name: pins[name] for name in sorted({*image.distributions, *bundled} & pins.keys())},
        },
        "blend": dict(blend),
        "dataset": _dataset_metadata(address),
        "others": dict(others),
        # Of the script before the manifest's own hash is written into it.
        "kernel": kernel,
    }


def _dataset_metadata(address: Address) -> dict[str, Any]:
    return {
        "id": f"{address.owner}/{address.slug}",
        "title": address.words,
        "licenses": [{"name": address.license}],
    }


def _kernel_files(address: Address, others: Mapping[str, int], identity: str) -> dict[str, bytes]:
    """The kernel's folder: name -> bytes. identity: SHA-256 of the manifest, after which the script looks."""
    script = (Path(__file__).resolve().parent / SCRIPT).read_text(encoding="utf-8")
    script = _bake(_bake(script, "EXPECTED", identity), "COMPETITION", address.competition)
    metadata = {
        "id": f"{address.owner}/{address.slug}-kernel",
        "title": f"{address.words} kernel",
        "code_file": SCRIPT,
        "language": "python",
        "kernel_type": "script",
        "is_private": True,
        # The older and the newer way of asking for a GPU; a T4 is what every account can have.
        "enable_gpu": True,
        "machine_shape": "NvidiaTeslaT4",
        "enable_tpu": False,
        "enable_internet": False,  # the client's default is true
        "dataset_sources": [f"{address.owner}/{address.slug}", *sorted(others)],
        "competition_sources": [address.competition],
        "kernel_sources": [],
        "model_sources": [],
    }
    return {SCRIPT: script.encode("utf-8"), KERNEL_METADATA: _json(metadata)}


def _bake(script: str, constant: str, value: str) -> str:
    """The start script with a value in the place of an empty constant."""
    baked, count = re.subn(
        rf'^{constant} = "" ', lambda _: f"{constant} = {json.dumps(value)} ", script, flags=re.MULTILINE
    )
    if count != 1:
        raise DfdcError(f'{SCRIPT} has {count} lines that begin with {constant} = ""; it needs one')
    return baked


def _write(
    staged: Path, entries: Sequence[_Entry], manifest: bytes, address: Address, kernel: Mapping[str, bytes]
) -> Path:
    """The two folders, every file read-only: an upload that goes on after a cut must not find other bytes."""
    (staged / "dataset").mkdir(parents=True)
    (staged / "kernel").mkdir()
    for entry in entries:
        shutil.copyfile(entry.source, staged / "dataset" / entry.name)
    (staged / "dataset" / MANIFEST).write_bytes(manifest)
    (staged / "dataset" / DATASET_METADATA).write_bytes(_json(_dataset_metadata(address)))
    for name, data in kernel.items():
        (staged / "kernel" / name).write_bytes(data)
    for path in staged.glob("*/*"):
        path.chmod(0o444)
    return staged


def _place(staged: Path, target: Path) -> bool:
    """Rename onto `target`; False when the same content is there already. DfdcError when it was changed since."""
    try:
        staged.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        # What was pushed or tried of it is noted beside these two folders.
        if _hashes(staged) != _hashes(target):
            raise DfdcError(f"{target} was changed after it was built; remove it and build again") from error
        return False
    return True


def _hashes(folder: Path) -> dict[str, str]:
    files = [path for part in ("dataset", "kernel") for path in (folder / part).iterdir()]
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def _json(values: Any) -> bytes:
    return (json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")
