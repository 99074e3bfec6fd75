"""An environment of links: what is asked for is there, and nothing that lies in the same folder."""

import subprocess

import pytest

from common.errors import DfdcError
from kaggle_dataset.dry_run import environment


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Three distributions, of which the first two share a folder and the first requires the third."""
    site = tmp_path / "site"
    for name, requires in (("one", "Requires-Dist: three\n"), ("two", ""), ("three", "Requires-Dist: absent\n")):
        files = {
            f"d_shared_{'b' if name == 'three' else 'a'}/{name}.py": "",
            f"d_{name}.py": "",
            f"d_{name}/in/x.py": "",
        }
        about = f"d_{name}-1.dist-info"
        files[f"{about}/METADATA"] = f"Metadata-Version: 2.1\nName: d-{name}\nVersion: 1\n{requires}".replace(
            "three", "d-three"
        )
        files[f"{about}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{about}/RECORD", "../../bin/program"])
        for file, text in files.items():
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            (site / file).write_text(text)
    monkeypatch.syspath_prepend(str(site))
    environment._listed.cache_clear()
    yield site
    environment._listed.cache_clear()


@pytest.mark.slow
def test_a_shared_folder_shows_only_what_is_asked_for(installed, tmp_path):
    made = environment.make_environment(tmp_path / "environment", ["D_One", "nowhere"], tmp_path / "connections")
    assert made.linked.keys() == {"d-one", "pip"}
    assert made.below == {"d-three": "1"}
    assert made.absent == ("nowhere",)
    assert installed in made.reads
    for module, there in (("d_one", 1), ("d_shared_a.one", 1), ("d_one.in.x", 1), ("d_three", 1), ("d_two", 0),
                          ("d_shared_a.two", 0)):  # fmt: skip
        path = next((tmp_path / "environment" / "lib").glob("python*")) / "site-packages"
        name = module.replace(".", "/")
        assert ((path / f"{name}.py").exists() or (path / name).exists()) == bool(there), module
    subprocess.run([made.python, "-c", "import d_one, d_shared_a.one, d_shared_b.three"], check=True)
    assert subprocess.run([made.python, "-c", "import d_two"], capture_output=True, check=False).returncode == 1


def test_a_distribution_without_a_list_of_its_files(installed, tmp_path):
    (installed / "d_one-1.dist-info" / "RECORD").unlink()
    with pytest.raises(DfdcError, match=r"d-one in .* has no list of its files"):
        environment.make_environment(tmp_path / "environment", ["d-one"], tmp_path / "connections")
