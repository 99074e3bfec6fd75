"""What benchmarks, scripts and examples import of the rooms is there: they run more seldom than the code moves."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = [path for folder in ("benchmarks", "scripts", "examples") for path in sorted((ROOT / folder).rglob("*.py"))]


def imports_of_ours(path):
    """(module, name) of each import of ours, also of those inside functions."""
    rooms = {entry.stem for entry in ROOT.iterdir() if entry.is_dir() or entry.suffix == ".py"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in rooms:
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_what_a_program_imports_is_there(path):
    for module, name in imports_of_ours(path):
        if not hasattr(importlib.import_module(module), name):
            importlib.import_module(f"{module}.{name}")
