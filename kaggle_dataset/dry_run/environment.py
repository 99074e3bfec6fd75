"""An environment that has what Kaggle's image has, made in a second from the running one by links."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import venv
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from common.errors import DfdcError

GUARD = Path(__file__).with_name("network_guard.py")
EXACT = "python scripts/image_environment.py .venv-kaggle, then .venv-kaggle/bin/dfdc dry-run"
ALWAYS = ("pip",)  # every image has it, and the kernel's script installs wheels with it


@dataclass(frozen=True)
class SessionEnvironment:
    """An environment and what is in it."""

    python: Path
    linked: dict[str, str]  # distribution -> version, of those that the list names
    below: dict[str, str]  # of those that it does not name, but the former require
    absent: tuple[str, ...]  # the list names them, and the running environment has them not
    reads: tuple[Path, ...]  # folders that the links lead to


def make_environment(folder: Path, names: Iterable[str], connections: Path) -> SessionEnvironment:
    """Make a virtual environment that has no more than Kaggle's image is said to have, and a guard of connections.

    Args:
        folder: where it is made.
        names: the distributions it has, in the versions of this environment, and what they need.
        connections: a file into which every Python process writes the connections that it tries.

    Raises:
        DfdcError: a distribution does not say which files it has.
    """
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    site = next((folder / "lib").glob("python*/site-packages"))
    wanted = sorted({str(canonicalize_name(name)) for name in [*names, *ALWAYS]})
    found = {name: one for name in wanted if (one := _distribution(name))}
    every = dict(_with_needs(found))
    foreign = _foreign(every)
    reads = {link_files(one, site, foreign) for one in every.values()}
    shutil.copyfile(GUARD, site / "_dry_run_guard.py")
    (site / "_dry_run_guard.pth").write_text(f"import _dry_run_guard; _dry_run_guard.watch({str(connections)!r})\n")
    versions = {name: one.version for name, one in sorted(every.items())}
    return SessionEnvironment(
        folder / "bin" / "python",
        {name: version for name, version in versions.items() if name in found},
        {name: version for name, version in versions.items() if name not in found},
        tuple(name for name in wanted if name not in found),
        (*sorted(reads), Path(sys.base_prefix)),
    )


def compare_versions(linked: Mapping[str, str], distributions: Mapping[str, str], pythons: Sequence[str]) -> list[str]:
    """Say which versions a dry run really uses against those that Kaggle's image is said to have.

    Args:
        linked: distribution -> version of this machine.
        distributions: canonical name -> version of the image.
        pythons: of the image, "3.12"; the first is its own.

    Returns:
        Lines: Python, the distributions that differ, and then how to have the image's own.
    """
    own = platform.python_version()
    same = own.startswith(f"{pythons[0]}.")
    lines = [f"Python {own}" + (", as on Kaggle" if same else f"; Kaggle's image has {pythons[0]}")]
    differ = [
        f"{name} {version} ({distributions[name]})"
        for name, version in sorted(linked.items())
        if name in distributions and distributions[name] != version
    ]
    if differ:
        lines.append(f"versions of this machine, and Kaggle's image's behind them: {', '.join(differ)}")
        return [*lines, f"to run with the image's own: {EXACT}"]
    return [*lines, "all distributions are of the versions that Kaggle's image has"]


def link_files(distribution: importlib.metadata.Distribution, site: Path, foreign: Collection[str]) -> Path:
    """Link the files of a distribution, and what Python has compiled of them, to their places in another environment.

    Args:
        distribution: whose programs, which lie outside of its folder, are left out.
        site: the other environment's site-packages.
        foreign: folders, relative, with files of distributions that stay out; any other folder is one link.

    Returns:
        The folder that the distribution lies in.
    """
    origin = Path(str(distribution.locate_file("")))
    for file in _files(distribution):
        name = next((folder for folder in _folders(file) if folder not in foreign), file)
        for each in (name, *_compiled(name)):
            target, source = site / each, origin / each
            if not os.path.lexists(target) and source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source)
    return origin


def _files(distribution: importlib.metadata.Distribution) -> list[str]:
    """Relative paths of its files, without its programs."""
    if (found := _listed().get(canonicalize_name(distribution.name))) is None:
        name, place = distribution.name, distribution.locate_file("")
        raise DfdcError(f"{name} in {place} has no list of its files; install it again with pip")
    return found


@functools.cache
def _listed() -> dict[str, list[str]]:
    """Distribution -> its files, of all that are installed and have a list. A second to read, so read once."""
    found: dict[str, list[str]] = {}
    for one in importlib.metadata.distributions():
        if one.files is not None:
            names = [name for name in map(str, one.files) if not name.startswith(("..", "/"))]
            found.setdefault(canonicalize_name(one.name), names)  # the first is the one that Python imports
    return found


def _folders(file: str) -> Iterator[str]:
    """The folders that a file lies in, outermost first: a, a/b of a/b/c.py."""
    yield from (file[:at] for at, letter in enumerate(file) if letter == "/")


def _foreign(linked: Collection[str]) -> set[str]:
    """Folders with files of the distributions that are not linked."""
    others = (files for name, files in _listed().items() if name not in linked)
    return {folder for files in others for file in files for folder in _folders(file)}


def _compiled(file: str) -> list[str]:
    return [importlib.util.cache_from_source(file)] if file.endswith(".py") else []


def _distribution(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _with_needs(
    found: dict[str, importlib.metadata.Distribution],
) -> Iterator[tuple[str, importlib.metadata.Distribution]]:
    """The distributions, and what they require in turn as far as it is there: of another version it may be more."""
    todo: list[tuple[str, frozenset[str]]] = [(name, frozenset()) for name in found]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen or (one := _distribution(name)) is None:
            continue
        seen.add((name, extras))
        yield name, one
        for requirement in map(Requirement, one.requires or []):
            asked = requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in extras | {""}
            )
            if asked:
                todo.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
