"""Which wheels are bundled, where they come from, and what keeps the lists honest."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from common.errors import DfdcError
from kaggle_dataset.bundle.build import ROOMS
from kaggle_dataset.bundle.wheels import NEEDED, UNUSED, Image, checked, fetch, gather, lacking, read_image, read_pins
from tests.kaggle_dataset.wheels import make_wheel
from tests.waiting import LIMIT

ROOT = Path(__file__).resolve().parents[3]
OURS = {*ROOMS, "explore", "kaggle_dataset", "scale", "serve", "train"} | {"dfdc"}


def imported(path):
    """Top-level names of everything that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]


def test_every_import_of_the_carried_rooms_is_in_a_list():
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")] + [ROOT / "dfdc.py"]
    found = {name for path in files for name in imported(path)} - sys.stdlib_module_names - OURS
    assert found - NEEDED.keys() - UNUSED == set(), "name its distribution in NEEDED, or put it into UNUSED"
    assert (NEEDED.keys() | UNUSED) - found == set(), "nothing imports this any more"


def test_the_kernel_needs_nothing_of_the_unused():
    code = f"import sys; sys.modules.update(dict.fromkeys({UNUSED!r}))\n"
    code += "import dfdc, inference.kernel, inference.pipeline, inference.run, inference.report.page\n"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=LIMIT)


def test_what_the_image_lacks():
    assert lacking(read_image(), read_pins()) == ["av", "facenet-pytorch", "openvino"]
    assert "openvino" not in lacking(read_image(), read_pins(), ("openvino",))


@pytest.mark.parametrize("name", sorted(read_image().accepted))
def test_the_pinned_version_is_among_the_accepted(name):
    assert read_image().accepted[name].contains(read_pins()[name])


def image(python=("3.11",), accepted=None, **distributions):
    return Image(tuple(python), "2.35", distributions, accepted or {})


def test_a_version_outside_the_bounds_is_bundled():
    known = {**read_image().distributions, "torch": "2.3.1"}
    assert "torch" in lacking(image(accepted=read_image().accepted, **known), read_pins())


def test_without_bounds_only_the_pinned_version_will_do():
    assert "av" not in lacking(image(av=read_pins()["av"]), read_pins())
    assert "av" in lacking(image(av="1.0"), read_pins())


@pytest.fixture
def only_tiny(monkeypatch):
    monkeypatch.setattr("kaggle_dataset.bundle.wheels.NEEDED", {"tiny_package": "tiny-package"})
    pins = {"tiny-package": "1.0", "sub-package": "2.0"}
    monkeypatch.setattr("kaggle_dataset.bundle.wheels.read_pins", lambda: pins)
    monkeypatch.setattr(
        "kaggle_dataset.bundle.wheels.subprocess.run", lambda *_, **__: pytest.fail("asked the network")
    )


def test_from_a_filled_cache_no_network_is_needed(tmp_path, only_tiny):
    for tag in ("cp311-cp311-manylinux_2_28_x86_64", "cp312-cp312-manylinux_2_28_x86_64", "cp39-cp39-win_amd64"):
        make_wheel(tmp_path, tag=tag)
    make_wheel(tmp_path, version="0.9")
    wheels = gather(tmp_path, image=image(("3.11", "3.12")))
    assert [wheel.path.name.split("-")[2] for wheel in wheels] == ["cp311", "cp312"]
    assert {wheel.requirement for wheel in wheels} == {"tiny-package==1.0"}
    assert all(len(wheel.sha256) == 64 for wheel in wheels)


def test_one_file_for_two_pythons_comes_once(tmp_path, only_tiny):
    make_wheel(tmp_path, tag="cp310-abi3-manylinux2014_x86_64")
    assert len(gather(tmp_path, image=image(("3.11", "3.12")))) == 1


def test_what_a_wheel_asks_for_comes_too_unless_the_image_has_it(tmp_path, only_tiny):
    asks = [
        "sub-package>=1.5",
        "numpy<2.6",
        "openvino-telemetry",
        'colorama; sys_platform == "win32"',
        'x; extra == "y"',
    ]
    make_wheel(tmp_path, requires=asks)
    make_wheel(tmp_path, "sub_package", "2.0")
    assert [wheel.distribution for wheel in gather(tmp_path, image=image(numpy="2.4.6"))] == [
        "sub-package",
        "tiny-package",
    ]


def test_what_nobody_has_is_named(tmp_path, only_tiny):
    make_wheel(tmp_path / "a", requires=["numpy<2"])
    with pytest.raises(DfdcError, match="numpy is in no list"):
        gather(tmp_path / "a", image=image(numpy="2.4.6"))
    make_wheel(tmp_path / "b", requires=["sub-package<2"])
    with pytest.raises(DfdcError, match=r"asks for sub-package<2, and requirements.txt pins 2.0"):
        gather(tmp_path / "b", image=image(numpy="2.4.6"))


def test_a_damaged_wheel_in_the_cache_is_refused(tmp_path):
    wheel = make_wheel(tmp_path)
    first = checked(wheel)
    assert checked(wheel) == first
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(DfdcError, match="remove it and build again"):
        checked(wheel)


def test_pip_fetches_what_the_cache_lacks(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shop"))
    make_wheel(tmp_path / "shop", tag="cp312-cp312-manylinux_2_34_x86_64")
    got = fetch("tiny-package", "1.0", "3.12", image(), tmp_path / "cache")
    assert got.parent == tmp_path / "cache"
    assert [path.name for path in sorted(got.parent.iterdir())] == [got.name, f"{got.name}.sha256"]
    with pytest.raises(DfdcError, match=r"no wheel of tiny-package==1.0 for Python 3.11 .*copy it into"):
        fetch("tiny-package", "1.0", "3.11", image(), tmp_path / "cache")
    assert fetch("tiny-package", "1.0", "3.12", image(), tmp_path / "cache") == got


def test_a_file_that_is_no_list_is_named(tmp_path):
    path = tmp_path / "image.toml"
    path.write_text('python = ["3.12"]\n')
    with pytest.raises(DfdcError, match=r"image\.toml is no list"):
        read_image(path)


def test_every_accepted_version_is_of_something_the_image_has():
    assert read_image().accepted.keys() <= read_image().distributions.keys()
    assert all(isinstance(bounds, SpecifierSet) and str(bounds) for bounds in read_image().accepted.values())
