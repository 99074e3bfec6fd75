"""Small wheels and datasets, made on the spot: for tests of what packs and unpacks them."""

import hashlib
import json
import zipfile
from pathlib import Path

from kaggle_dataset.bundle.checks import DATASET_METADATA, WHEEL
from kaggle_dataset.bundle.wheels import Wheel

KERNEL = """import argparse, os, pathlib, sys
import tiny_package
parser = argparse.ArgumentParser()
parser.add_argument("--input")
parser.add_argument("--tree", type=pathlib.Path)
parser.add_argument("--competition")
parser.add_argument("--output")
options, rest = parser.parse_known_args()
root = pathlib.Path(__file__).resolve().parent.parent
assert options.tree == root
print("arguments", rest, "started", os.environ["DFDC_STARTED"], tiny_package.__file__)
weights = (root / "models" / "weights" / "one.safetensors").read_bytes()
pathlib.Path(options.output).write_text(f"{tiny_package.GREETING} {len(weights)} {root}")
sys.exit(3 if rest == ["--fail"] else 0)
"""


def make_wheel(folder, name="tiny_package", version="1.0", tag="py3-none-any", requires=()):
    """A wheel with one module, tiny_package.GREETING == "hello"."""
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    asked = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    files = {
        f"{name}.py": 'GREETING = "hello"\n',
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{asked}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
        f"{info}/RECORD": "",
    }
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in files.items():
            archive.writestr(zipfile.ZipInfo(inside), text)
    return path


def as_wheel(path):
    """What `gather` says of such a file."""
    return Wheel("tiny-package", "1.0", path, hashlib.sha256(path.read_bytes()).hexdigest())


def write_safetensors(path, size):
    """A valid file of `size` bytes that takes no room on the disk: one tensor of zeros."""
    overhead = 120
    header = json.dumps({"zeros": {"dtype": "U8", "shape": [size - overhead], "data_offsets": [0, size - overhead]}})
    with path.open("wb") as handle:
        handle.write((overhead - 8).to_bytes(8, "little") + header.ljust(overhead - 8).encode())
        handle.truncate(size)
    return path


def listed(path, place):
    data = path.read_bytes() if path.stat().st_size < 1 << 20 else b""
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": hashlib.sha256(data).hexdigest(), "path": place}


def write_manifest(folder: Path, places=None, **changes):
    """A manifest of everything in `folder`. places: name -> place in the tree, default below models/weights."""
    names = sorted(path for path in folder.iterdir() if path.name not in ("manifest.json", DATASET_METADATA))
    default = {"source.json": ""} | {p.name: f"models/weights/{p.name}" for p in names if p.suffix == ".safetensors"}
    default |= {p.name: "wheels/" + p.name.removesuffix(".bin") for p in names if p.name.endswith(WHEEL)}
    files = [listed(path, {**default, **(places or {})}.get(path.name, path.name)) for path in names]
    values = {"format": 1, "project": "dfdc-ensemble", "files": files, "wheels": [], **changes}
    (folder / "manifest.json").write_text(json.dumps(values))
    return folder / "manifest.json"


def write_dataset(folder, sources=None, places=None, **changes):
    """A dataset of one weight, one wheel and a kernel that says hello; returns its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "one.safetensors", 4096)
    (folder / "source.json").write_text(json.dumps(sources or {"inference/kernel.py": KERNEL}))
    wheel = make_wheel(folder)
    wheel.rename(wheel.with_name(wheel.name + ".bin"))
    return write_manifest(folder, places, **{"wheels": ["tiny-package==1.0"], **changes})
