"""The rooms and who may import whom, held by reading every import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import LIMIT

ROOT = Path(__file__).resolve().parent.parent
# Room -> what it may import of ours, besides itself. A dotted name is one module of a room.
ARROWS = {
    "common": set(),
    "faces": {"common"},
    "models": {"common", "faces.crop"},
    "ensemble": {"common"},
    "inference": {"common", "faces", "models", "ensemble"},
    "train": {"common", "faces", "models", "ensemble"},
    "explore": {"common", "faces", "ensemble.metrics"},
    "scale": {"common", "faces", "models", "ensemble", "inference", "train"},
    "kaggle_dataset": {"common", "inference", "models", "ensemble"},
    "serve": {"common", "faces.decode", "inference", "models.checkpoint"},
}
ARROWS["cli"] = set(ARROWS)
OURS = {*ARROWS, "dfdc", "tests", "scripts", "benchmarks"}
# Modules outside the command that it imports at its top.
LIGHT = ["dfdc.py", "common/__init__.py", "common/device.py", "common/errors.py", "common/files.py"]


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; path = import here"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in OURS}


def is_allowed(name: str, room: str) -> bool:
    return any(name == allowed or name.startswith(allowed + ".") for allowed in {room, *ARROWS[room]})


@pytest.mark.parametrize("room", ARROWS)
def test_a_room_imports_only_what_its_arrows_allow(room):
    files = sorted((ROOT / room).rglob("*.py"))
    wrong = [
        f"{f.relative_to(ROOT)}: {name}" for f in files for name in imported_modules(f) if not is_allowed(name, room)
    ]
    assert not wrong


def test_the_entry_imports_the_command_and_public_names_only():
    public = {"common", "common.errors", "ensemble.blend", "faces.crop", "inference.detector", "inference.prediction"}
    assert {name.rsplit(".", 1)[0] for name in imported_modules(ROOT / "dfdc.py")} == {
        "cli.main",
        "cli.stopping",
        *public,
    }


@pytest.mark.parametrize("room", ARROWS)
def test_rooms_have_code(room):
    assert len(list((ROOT / room).rglob("*.py"))) > 1


@pytest.mark.parametrize("module", [*LIGHT, *(f"cli/{path.name}" for path in sorted((ROOT / "cli").glob("*.py")))])
def test_the_command_starts_without_heavy_imports(module):
    """`dfdc --help` is instant because torch and friends are imported inside commands."""
    top = {n for n in ast.parse((ROOT / module).read_text()).body if isinstance(n, ast.Import | ast.ImportFrom)}
    names = {alias.name for n in top if isinstance(n, ast.Import) for alias in n.names}
    names |= {n.module for n in top if isinstance(n, ast.ImportFrom)}
    light = {Path(path).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__") for path in LIGHT}
    heavy = {"torch", "numpy", "pandas", "cv2", "av", "timm", *ARROWS} - {"cli"}
    assert not {name.split(".")[0] for name in names - light} & heavy


def test_help_loads_nothing_heavy():
    code = "import sys, dfdc; assert not {'torch', 'numpy', 'pandas', 'cv2', 'av', 'timm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=LIMIT)
