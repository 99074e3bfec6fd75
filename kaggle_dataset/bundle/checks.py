"""Checks of a staged dataset: what Kaggle and the competition would refuse, found before anything is sent."""

from __future__ import annotations

import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from slugify import slugify as slug_of

from common.errors import DfdcError

# The competition's rules: "External data is allowed up to 1 GB in size". Taken as 10^9, over all that is attached.
LIMIT_BYTES = 1_000_000_000
LIMIT_FILES = 50  # at the top level of a dataset
MANIFEST, BLEND = "manifest.json", "blend.json"
DATASET_METADATA, KERNEL_METADATA = "dataset-metadata.json", "kernel-metadata.json"
WHEEL = ".whl.bin"  # Kaggle unpacks a .whl
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst", ".lz4", ".whl", ".egg", ".jar")
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib", ".npy", ".npz")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# As the documentation of Kaggle's client lists them.
LICENSES = {
    "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-3.0", "CC-BY-NC-SA-4.0",
    "CC-BY-ND-4.0", "CC-BY-NC-ND-4.0", "apache-2.0", "GPL-2.0", "GPL-3.0", "LGPL-3.0", "AGPL-3.0", "GFDL-1.3",
    "ODbL-1.0", "DbCL-1.0", "ODC-BY-1.0", "PDDL", "EU-ODP-Legal-Notice", "CDLA-Permissive-1.0", "CDLA-Sharing-1.0",
    "copyright-authors", "other", "unknown",
}  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What a dataset weighs, and why it must not be sent."""

    files: dict[str, int]  # uploaded file -> bytes
    kinds: dict[str, str]  # uploaded file -> member, detector, wheel, source or text
    others: dict[str, int] = field(default_factory=dict)  # another attached dataset -> bytes
    drops: tuple[str, ...] = ()  # what to leave out when it is too much, the least loss first
    problems: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Bytes of everything that is attached."""
        return sum(self.files.values()) + sum(self.others.values())

    @property
    def left(self) -> int:
        """Bytes to the limit; negative above it."""
        return LIMIT_BYTES - self.total

    def refuse(self) -> Report:
        """Itself, or DfdcError with every problem and what to drop first."""
        if not self.problems:
            return self
        text = "\n".join(f"  {problem}" for problem in self.problems)
        hint = "\ndrop first:\n" + "\n".join(f"  {drop}" for drop in self.drops) if self.left < 0 and self.drops else ""
        raise DfdcError(f"the dataset must not be sent:\n{text}{hint}")

    def render(self) -> str:
        """The report for people: bytes by file and by kind, what is left, what to drop first, problems."""
        lines = [f"{size:>13,}  {self.kinds[name]:<8}  {name}" for name, size in _by_size(self.files)]
        lines += [f"{size:>13,}  {'other':<8}  {name}" for name, size in _by_size(self.others)]
        kinds = Counter[str]()
        for name, size in self.files.items():
            kinds[self.kinds[name]] += size
        lines += ["", *(f"{size:>13,}  {kind}" for kind, size in kinds.most_common())]
        lines += [f"{self.total:>13,}  in {len(self.files)} files of {LIMIT_FILES}", f"{self.left:>13,}  left"]
        lines += (
            ["", "to drop first, if it must be smaller:", *(f"  {drop}" for drop in self.drops)] if self.drops else []
        )
        lines += ["", "REFUSED:", *(f"  {problem}" for problem in self.problems)] if self.problems else []
        return "\n".join(lines)


def check_dataset(dataset: Path, others: Mapping[str, int] | None = None) -> Report:
    """Look for all that Kaggle or the rules would refuse in a staged dataset; nothing is changed.

    Args:
        dataset: its folder.
        others: other external data attached to the kernel, owner/slug -> bytes, which count against the same limit.

    Returns:
        The report; what is wrong is in its `problems`.
    """
    entries = sorted(dataset.iterdir())
    uploaded = [path for path in entries if path.name != DATASET_METADATA]
    files = {path.name: path.lstat().st_size for path in uploaded}
    manifest, problems = _manifest(dataset)
    kinds = {name: kind_of(name, str(manifest.get(name, {}).get("path", ""))) for name in files}
    problems += name_problems(path.name for path in entries)
    problems += [problem for path in uploaded for problem in _file_problems(path)]
    problems += _unlike(files, manifest)
    problems += metadata_problems(_read(dataset / DATASET_METADATA))
    report = Report(files, kinds, dict(others or {}), tuple(_drops(dataset, files, kinds)))
    if len(files) > LIMIT_FILES:
        problems.append(f"{len(files)} files at the top level, Kaggle takes {LIMIT_FILES}")
    if report.left < 0:
        problems.append(f"{report.total:,} bytes are attached, {-report.left:,} more than the {LIMIT_BYTES:,} allowed")
    return Report(report.files, report.kinds, report.others, report.drops, tuple(problems))


def kind_of(name: str, path: str) -> str:
    """Tell the kind of a file: member, detector, wheel, source or text.

    Args:
        name: its flat name in the dataset.
        path: its place in the tree.
    """
    if name.endswith(WHEEL):
        return "wheel"
    if name.endswith(".safetensors"):
        return "detector" if path.startswith("faces/") else "member"
    return "source" if name == "source.json" else "text"


def name_problems(names: Iterable[str]) -> list[str]:
    """What is wrong with the names of files that are to lie flat in one folder; a name may come twice."""
    problems, seen = list[str](), dict[str, str]()
    for name in names:
        if (before := seen.get(name.lower())) == name:
            problems.append(f"two files are called {name}; rename one")
        elif before is not None:
            problems.append(f"{name} and {before} have one name where case does not count; rename one")
        seen[name.lower()] = name
        if name.startswith("."):
            problems.append(f"{name} is a dotfile, and everything in the folder would be published")
        elif not NAME.fullmatch(name):
            problems.append(f"{name!r}: letters, digits and . _ + - only, please")
        elif name.lower().endswith(ARCHIVES):
            problems.append(f"{name} is an archive, which Kaggle unpacks; send what is in it")
        elif name.lower().endswith(PICKLES) and not name.endswith(WHEEL):
            problems.append(f"{name} may hold a pickle, which can run code when it is loaded; store it as .safetensors")
        elif not name.endswith((".safetensors", ".json", WHEEL)):
            problems.append(f"{name} is neither .safetensors nor .json nor {WHEEL}: nothing here reads it")
    return problems


def metadata_problems(metadata: Mapping[str, Any]) -> list[str]:
    """What is wrong with the values of dataset-metadata.json."""
    owner, _, slug = str(metadata.get("id", "")).partition("/")
    problems = slug_problems(owner, slug, str(metadata.get("title", "")))
    licenses = metadata.get("licenses", [])
    names = [entry.get("name") for entry in licenses if isinstance(entry, dict)] if isinstance(licenses, list) else []
    if len(names) != 1 or names[0] not in LICENSES:
        problems.append(f"the license is {names}; it must be one of {', '.join(sorted(LICENSES))}")
    return problems


def slug_problems(owner: str, slug: str, title: str) -> list[str]:
    """Say what is wrong with an address on Kaggle; nothing where all is well.

    Args:
        owner: name of the account.
        slug: of the dataset.
        title: from which Kaggle makes the slug anew.
    """
    problems = []
    if not OWNER.fullmatch(owner):
        problems.append(f"the owner is {owner!r}; give the name of the Kaggle account")
    if not (6 <= len(slug) <= 50 and SLUG.fullmatch(slug)):
        problems.append(f"the slug is {slug!r}; it has 6 to 50 of a-z and 0-9, and single dashes between them")
    if not 6 <= len(title) <= 50:
        problems.append(f"the title {title!r} has {len(title)} characters; 6 to 50 are allowed")
    if (made := slugify(title)) != slug:
        problems.append(f"Kaggle would make the slug {made!r} of the title {title!r}, not {slug!r}")
    return problems


def slugify(title: str) -> str:
    """The slug of a title, made by the library that Kaggle's client makes it with: an accent is dropped."""
    return str(slug_of(title))


def _manifest(dataset: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The manifest's entries by name, and what is wrong with it."""
    try:
        return {str(entry["name"]): entry for entry in _read(dataset / MANIFEST)["files"]}, []
    except (KeyError, TypeError) as error:
        return {}, [f"{MANIFEST} lists no files ({error!r}); build the dataset again"]


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty when there is none, which then lacks what is looked for."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _unlike(files: Mapping[str, int], manifest: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Where the folder and its manifest differ. Hashes are the kernel's to check."""
    listed = {name: entry.get("bytes") for name, entry in manifest.items()}
    there = {name: size for name, size in files.items() if name != MANIFEST}
    problems = [f"{name} is not in {MANIFEST}; remove it" for name in sorted(there.keys() - listed.keys())]
    problems += [f"{name} is missing; build the dataset again" for name in sorted(listed.keys() - there.keys())]
    both = sorted(there.keys() & listed.keys())
    return problems + [f"{n} has {there[n]} bytes, {MANIFEST} says {listed[n]}" for n in both if there[n] != listed[n]]


def _file_problems(path: Path) -> Iterator[str]:
    """What is wrong with one entry of the folder besides its name."""
    if path.is_symlink():
        yield f"{path.name} is a link; Kaggle would get what it points to, {path.readlink()}"
    elif path.is_dir():
        yield f"{path.name} is a folder, which the upload leaves out"
    elif not path.is_file():
        yield f"{path.name} is no ordinary file"
    elif path.suffix == ".safetensors":
        try:
            # Reads the header only, and holds it against the size of the file.
            with safe_open(path, framework="numpy"):
                pass
        except SafetensorError as error:
            yield f"{path.name} is no safetensors file ({error}); never load it in another way, it may run code"
    elif path.suffix == ".json" and not _is_json(path):
        yield f"{path.name} is no JSON"
    elif path.name.endswith(WHEEL) and not zipfile.is_zipfile(path):
        yield f"{path.name} is no wheel"


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def _drops(dataset: Path, files: Mapping[str, int], kinds: Mapping[str, str]) -> Iterator[str]:
    """What can go, the least loss first: wheels that only speed up the CPU, then members by the blend's fallbacks."""
    if sizes := [size for name, size in files.items() if kinds[name] == "wheel" and name.startswith("openvino")]:
        yield f"{sum(sizes):,} bytes: OpenVINO; a CPU session becomes 4 times slower, a GPU session stays as it is"
    blend = _read(dataset / BLEND)
    had, loss = set(blend.get("members", {})), blend.get("expected_log_loss", {}).get("value")
    for fallback in blend.get("ladder", []):
        for name in sorted(had - set(fallback["weights"])):
            after = f"expected log loss {loss:.4f} -> {fallback['log_loss']:.4f}" if loss is not None else "tune again"
            yield f"{files.get(f'{name}.safetensors', 0):,} bytes: member {name}, {after}"
        had, loss = set(fallback["weights"]), fallback["log_loss"]


def _by_size(sizes: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
