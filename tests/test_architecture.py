"""The rooms and who may import whom, held by reading every import."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Room -> what it may import of ours, besides itself and the two modules that belong to nobody. A dotted name is one
# module of a room.
ARROWS = {
    "faces": set(),
    "models": {"faces.crop"},
    "ensemble": set(),
    "inference": {"faces", "models", "ensemble"},
    "train": {"faces", "models", "ensemble"},
    "kaggle_dataset": {"inference", "models", "ensemble"},
}
SHARED = {"dfdc_common", "dfdc_runtime"}
OURS = (
    set(ARROWS)
    | SHARED
    | {
        "dfdc",
        "dfdc_ensemble",
        "dfdc_explore",
        "dfdc_kaggle",
        "dfdc_options",
        "dfdc_train",
        "tests",
        "scripts",
        "benchmarks",
    }
)


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
    return name.split(".", maxsplit=1)[0] in SHARED | {room} or any(
        name == allowed or name.startswith(allowed + ".") for allowed in ARROWS[room]
    )


@pytest.mark.parametrize("room", ARROWS)
def test_a_room_imports_only_what_its_arrows_allow(room):
    files = sorted((ROOT / room).rglob("*.py"))
    wrong = [
        f"{f.relative_to(ROOT)}: {name}" for f in files for name in imported_modules(f) if not is_allowed(name, room)
    ]
    assert not wrong


@pytest.mark.parametrize("module", sorted(SHARED))
def test_shared_modules_import_nothing_of_ours(module):
    assert not imported_modules(ROOT / f"{module}.py") - SHARED


def test_rooms_have_code():
    for room in set(ARROWS) - {"kaggle_dataset"}:
        assert len(list((ROOT / room).glob("*.py"))) > 1, room


@pytest.mark.parametrize(
    "module", ["dfdc", "dfdc_common", "dfdc_ensemble", "dfdc_explore", "dfdc_kaggle", "dfdc_options", "dfdc_train"]
)
def test_the_command_starts_without_heavy_imports(module):
    """`dfdc --help` is instant because torch and friends are imported inside commands."""
    top = {n for n in ast.parse((ROOT / f"{module}.py").read_text()).body if isinstance(n, ast.Import | ast.ImportFrom)}
    names = {alias.name for n in top if isinstance(n, ast.Import) for alias in n.names}
    names |= {n.module for n in top if isinstance(n, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in names} & {"torch", "numpy", "pandas", "cv2", "av", "timm", *ARROWS}
