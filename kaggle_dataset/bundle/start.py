"""The script that a Kaggle kernel runs: finds the dataset, verifies it, lays the tree out, runs the kernel in it.

It needs the standard library and pip, and no network. Kaggle gives a script no arguments and may run it inside a
notebook, so another place says so in the environment: DFDC_INPUT and DFDC_OUTPUT are the folder to walk and the
submission, DFDC_ARGUMENTS is passed on to inference/kernel.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path, PurePosixPath
from typing import Any

STARTED = time.time()
EXPECTED = ""  # SHA-256 of the manifest that this script belongs to, written here by the build; "": any one
COMPETITION = ""  # whose data is looked for in the input, written here by the build; "": the kernel's default
FORMAT = 1
PROJECT = "dfdc-ensemble"  # tells our manifest.json from other people's
SOURCE = "source.json"


class StartError(Exception):
    """The dataset is not what it should be; the message says what was seen."""


def main() -> int:
    """Find, verify, lay out, run; returns the exit code of the kernel."""
    source = Path(os.environ.get("DFDC_INPUT", "/kaggle/input")).resolve()
    output = Path(os.environ.get("DFDC_OUTPUT", "/kaggle/working/submission.csv")).resolve()
    with tempfile.TemporaryDirectory(prefix="dfdc-") as temporary:
        tree, libraries = Path(temporary) / "tree", Path(temporary) / "libraries"
        try:
            manifest = find_manifest(source)
            say(f"dataset: {manifest.parent}")
            wheels = lay_out(manifest, tree)
            say(f"verified and laid out in {tree}")
            install(wheels, tree, libraries)
        except StartError as error:
            say(f"{error}\n\nseen below {source}:\n{listing(source)}")
            return 1
        say(f"installed: {', '.join(wheels) or 'nothing'}")
        command = [sys.executable, str(tree / "inference" / "kernel.py"), "--tree", str(tree)]
        command += ["--competition", COMPETITION] if COMPETITION else []
        command += ["--input", str(source), "--output", str(output), *shlex.split(os.environ.get("DFDC_ARGUMENTS", ""))]
        return subprocess.run(command, env=environment(libraries), check=False).returncode


def find_manifest(folder: Path) -> Path:
    """Walk the input for our manifest, wherever Kaggle mounted it; StartError unless there is exactly one."""
    found: dict[str, Path] = {}
    for place, inner, names in os.walk(folder, followlinks=True):
        inner.sort()
        if "manifest.json" in names:
            path = Path(place) / "manifest.json"
            data = path.read_bytes()
            if is_ours(data):
                found.setdefault(hashlib.sha256(data).hexdigest(), path)
    if EXPECTED in found:
        return found[EXPECTED]
    seen = ", ".join(f"{path} ({digest[:16]})" for digest, path in found.items()) or "none"
    if EXPECTED:
        raise StartError(
            f"no manifest {EXPECTED[:16]} in the input; of this project: {seen}. Attach the dataset in the version "
            f"that was built together with this script, or build and push again"
        )
    if len(found) != 1:
        raise StartError(f"the input must hold one dataset of this project, found: {seen}. Attach it, and no other")
    return next(iter(found.values()))


def is_ours(data: bytes) -> bool:
    """Whether these are the bytes of a manifest that the build of this project wrote."""
    try:
        values = json.loads(data)
    except ValueError:
        return False
    return isinstance(values, dict) and values.get("format") == FORMAT and values.get("project") == PROJECT


def lay_out(manifest: Path, tree: Path) -> list[str]:
    """Copy every file to its place below `tree`, verified on the way, and unpack the source.

    Args:
        manifest: the dataset's manifest.json.
        tree: the folder that becomes the working tree.

    Returns:
        The requirements that the bundled wheels fulfil, such as av==18.1.0.

    Raises:
        StartError: files are missing or differ; all of them are named.
    """
    values = json.loads(manifest.read_bytes())
    wrong, text = [], "{}"
    for entry in values["files"]:
        where = manifest.parent / entry["name"]
        target = inside(tree, entry["path"]) if entry["path"] else tree.parent / SOURCE
        if problem := fetch(where, target, entry):
            wrong.append(f"  {where}: {problem}")
        elif entry["name"] == SOURCE:
            text = target.read_text(encoding="utf-8")
    if wrong:
        raise StartError(f"{len(wrong)} files differ from {manifest}; upload the dataset again:\n" + "\n".join(wrong))
    for name, content in json.loads(text).items():
        target = inside(tree, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8", newline="\n")
    return [str(requirement) for requirement in values["wheels"]]


def inside(tree: Path, name: str) -> Path:
    """Return where `name` goes below `tree`.

    Raises:
        StartError: that is not below the tree.
    """
    pure = PurePosixPath(name)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or "\\" in name:
        raise StartError(f"the dataset has a file for {name!r}, which is not below the tree; do not run it")
    return tree / pure


def fetch(where: Path, target: Path, entry: dict[str, Any]) -> str:
    """Copy a file and hash what is copied.

    Args:
        where: folder of the dataset.
        target: the copy.
        entry: the file's entry in the manifest.

    Returns:
        What is wrong with the file; "" after it was found right.
    """
    if not where.is_file():
        return "missing"
    if (size := where.stat().st_size) != entry["bytes"]:
        return f"{size} bytes, expected {entry['bytes']}"
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with where.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(1 << 20):
            digest.update(block)
            writer.write(block)
    actual = digest.hexdigest()
    return "" if actual == entry["sha256"] else f"SHA-256 {actual[:12]}, expected {entry['sha256'][:12]}"


def install(wheels: list[str], tree: Path, libraries: Path) -> None:
    """Install the bundled wheels beside the tree; pip takes of each the one for this Python.

    Args:
        wheels: requirements, such as av==18.1.0.
        tree: the working tree, which holds the wheels.
        libraries: the folder that they are installed into.
    """
    if not wheels:
        return
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-compile",
        "--no-cache-dir",
    ]
    command += ["--disable-pip-version-check", "--find-links", str(tree / "wheels"), "--target", str(libraries)]
    done = subprocess.run([*command, *wheels], capture_output=True, text=True, check=False, env=without_pip_options())
    if done.returncode:
        version = ".".join(map(str, sys.version_info[:3]))
        raise StartError(
            f"pip could not install {', '.join(wheels)} for Python {version}; bring kaggle_dataset/image.toml up to "
            f"date and build again:\n{(done.stdout + done.stderr).strip()}"
        )


def without_pip_options() -> dict[str, str]:
    """The environment without settings of pip, which could point it elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PIP_")} | {
        "PIP_CONFIG_FILE": os.devnull
    }


def environment(libraries: Path) -> dict[str, str]:
    """What the kernel runs in: the installed wheels come first, and the clock runs since this script started."""
    paths = [str(libraries), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "DFDC_STARTED": repr(STARTED)}


def listing(folder: Path, limit: int = 200) -> str:
    """List the files below `folder` and their sizes, at most `limit` of them, a line each."""
    lines = []
    for place, inner, names in os.walk(folder):
        inner.sort()
        for name in sorted(names):
            path = Path(place) / name
            lines.append(f"  {path}: {path.stat().st_size if path.exists() else 'link to nowhere'}")
            if len(lines) >= limit:
                return "\n".join([*lines, "  ..."])
    return "\n".join(lines) or "  nothing"


def say(text: str) -> None:
    """A line in the kernel's log, at once."""
    print(f"start: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__" and (code := main()):
    sys.exit(code)
