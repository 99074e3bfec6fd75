"""Wheels that Kaggle's image lacks: which they are, and getting them for its Python and platform."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.metadata import parse_email
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from common.errors import DfdcError
from common.files import sha256_of, write_text

IMAGE = Path(__file__).resolve().parents[1] / "image.toml"
REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"

# What the rooms that the dataset carries import -> its distribution.
NEEDED = {
    "av": "av",
    "cv2": "opencv-python-headless",
    "facenet_pytorch": "facenet-pytorch",
    "jinja2": "jinja2",
    "markupsafe": "markupsafe",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "openvino": "openvino",
    "pandas": "pandas",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "timm": "timm",
    "torch": "torch",
    "tqdm": "tqdm",
    "typer": "typer",
}
# Imported by the same rooms for tuning (optuna, sqlalchemy) and for object storage (fsspec), neither done by a kernel.
UNUSED = {"fsspec", "optuna", "sqlalchemy"}
# Asked for by a wheel that works without it. OpenVINO's telemetry would open connections, and a kernel has no network.
LEFT_OUT = {"openvino-telemetry"}
# 5 to 6 times torch's speed on the CPU, unused on a GPU: the first that can go.
OPTIONAL = "openvino"

PIP_SECONDS = 900.0


@dataclass(frozen=True)
class Image:
    """The stated list of what Kaggle's image has."""

    pythons: tuple[str, ...]  # "3.12": every one that a session may have
    glibc: str  # "2.35"
    distributions: dict[str, str]  # canonical name -> version
    accepted: dict[str, SpecifierSet]  # canonical name -> versions that the code runs on

    def has(self, name: str, wanted: SpecifierSet) -> bool:
        """Whether the image has a version of it that is wanted."""
        return name in self.distributions and wanted.contains(self.distributions[name], prereleases=True)

    @property
    def platforms(self) -> list[str]:
        """Platform tags that it can run, the newest first (PEP 600; the older names of PEP 513 and 571 behind them)."""
        newest = int(self.glibc.split(".")[1])
        modern = [f"manylinux_2_{minor}_x86_64" for minor in range(newest, 4, -1)]
        return [*modern, "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]

    def tags(self, python: str) -> set[Tag]:
        """Tags of the wheels that it can install on one of its Pythons."""
        version = [int(part) for part in python.split(".")]
        interpreter = f"cp{version[0]}{version[1]}"
        general = compatible_tags(version, interpreter, self.platforms)
        return {*cpython_tags(version, platforms=self.platforms), *general}


@dataclass(frozen=True)
class Wheel:
    """One bundled file."""

    distribution: str
    version: str
    path: Path
    sha256: str

    @property
    def requirement(self) -> str:
        """What pip is asked for: of several files for several Pythons it takes the right one."""
        return f"{self.distribution}=={self.version}"


def read_image(path: Path = IMAGE) -> Image:
    """Read the stated list; DfdcError naming the file when it is not one."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        accepted: dict[str, SpecifierSet] = {
            canonicalize_name(name): SpecifierSet(text) for name, text in values["accepted"].items()
        }
        distributions: dict[str, str] = {
            canonicalize_name(name): str(version) for name, version in values["distributions"].items()
        }
        return Image(tuple(values["python"]), str(values["glibc"]), distributions, accepted)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise DfdcError(f"{path} is no list of an image ({error}); its head says what it holds") from error


def read_pins(path: Path = REQUIREMENTS) -> dict[str, str]:
    """Canonical name -> version of every line `name==version` of a requirements file."""
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("==") for line in lines if line)
    return {canonicalize_name(name): version for name, _, version in pairs if version}


def lacking(image: Image, pins: dict[str, str], without: Collection[str] = ()) -> list[str]:
    """Name the needed distributions that the image lacks, or has in a version that is neither pinned nor accepted.

    Args:
        image: what Kaggle's image has.
        pins: version by distribution, of requirements.txt.
        without: distributions to leave out.
    """
    wanted = sorted(set(NEEDED.values()) - set(without))
    return [n for n in wanted if not image.has(n, image.accepted.get(n) or SpecifierSet(f"=={pins[n]}"))]


def gather(cache: Path, without: Collection[str] = (), image: Image | None = None) -> list[Wheel]:
    """Collect every wheel that the image lacks, with what these wheels ask for in turn.

    Args:
        cache: folder where they are kept; with all of them there no network is needed.
        without: distributions to leave out.
        image: what Kaggle's image has; None: as kaggle_dataset/image.toml says.

    Returns:
        The wheels, sorted by file name.

    Raises:
        DfdcError: a wheel cannot be had, or asks for something that neither the image nor a pin gives.
    """
    image, pins = image or read_image(), read_pins()
    todo, wheels = lacking(image, pins, without), dict[str, list[Wheel]]()
    while todo:
        name = todo.pop(0)
        if name in wheels:
            continue
        if name not in pins:
            raise DfdcError(f"{name} is in no list: pin it in {REQUIREMENTS.name}, or name its version in {IMAGE.name}")
        files = {fetch(name, pins[name], python, image, cache) for python in image.pythons}
        wheels[name] = [Wheel(name, pins[name], path, checked(path)) for path in sorted(files)]
        todo += [further for wheel in wheels[name] for further in _asked_for(wheel, image, pins)]
    return sorted((wheel for found in wheels.values() for wheel in found), key=lambda wheel: wheel.path.name)


def fetch(name: str, version: str, python: str, image: Image, cache: Path) -> Path:
    """Return the wheel of a distribution for one Python of the image, from the cache or downloaded into it.

    Args:
        name: of the distribution.
        version: the pinned one.
        python: such as 3.11.
        image: what Kaggle's image has.
        cache: folder where wheels are kept.

    Raises:
        DfdcError: there is no such wheel, or no network to fetch it.
    """
    if found := _cached(name, version, python, image, cache):
        return found
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", python, "--dest", folder]
        command += [part for platform in image.platforms for part in ("--platform", platform)]
        try:
            done = subprocess.run(
                [*command, f"{name}=={version}"], capture_output=True, text=True, check=False, timeout=PIP_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise DfdcError(f"pip did not get {name}=={version} within {PIP_SECONDS:.0f} s; run it again") from error
        got = sorted(Path(folder).glob("*.whl"))
        if done.returncode or len(got) != 1:
            reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            raise DfdcError(
                f"no wheel of {name}=={version} for Python {python} on manylinux_{image.glibc}: {reason}. With no "
                f"network, copy it into {cache}"
            )
        target = cache / got[0].name
        write_text(_note(target), sha256_of(got[0]) + "\n")
        shutil.move(got[0], target)
        return target


def checked(wheel: Path) -> str:
    """The SHA-256 of a cached wheel; DfdcError when it is not the one that was noted when it came."""
    actual, note = sha256_of(wheel), _note(wheel)
    if not note.exists():
        write_text(note, actual + "\n")
    if (expected := note.read_text(encoding="utf-8").strip()) != actual:
        raise DfdcError(f"{wheel} has SHA-256 {actual[:12]}, noted was {expected[:12]}; remove it and build again")
    return actual


def _note(wheel: Path) -> Path:
    return wheel.with_name(wheel.name + ".sha256")


def _cached(name: str, version: str, python: str, image: Image, cache: Path) -> Path | None:
    tags = image.tags(python)
    for path in sorted(cache.glob("*.whl")):
        its_name, its_version, _, its_tags = parse_wheel_filename(path.name)
        if its_name == name and str(its_version) == version and tags & its_tags:
            return path
    return None


def _asked_for(wheel: Wheel, image: Image, pins: dict[str, str]) -> Iterator[str]:
    """Distributions that a wheel requires and the image does not have."""
    for text in _requirements(wheel.path):
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        applies = requirement.marker is None or any(requirement.marker.evaluate(_world(p)) for p in image.pythons)
        if not applies or name in LEFT_OUT or image.has(name, requirement.specifier):
            continue
        if name in pins and not requirement.specifier.contains(pins[name]):
            raise DfdcError(f"{wheel.path.name} asks for {requirement}, and {REQUIREMENTS.name} pins {pins[name]}")
        yield name


def _world(python: str) -> dict[str, str]:
    """The marker variables of PEP 508 in which the image differs from this machine."""
    names = {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}
    return {**names, "python_version": python, "python_full_version": f"{python}.0", "extra": ""}


def _requirements(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        inside = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        if len(inside) != 1:
            raise DfdcError(f"{wheel} is no wheel: it has {len(inside)} METADATA files; remove it and build again")
        return parse_email(archive.read(inside[0]))[0].get("requires_dist", [])
