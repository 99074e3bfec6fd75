"""The examples for rented machines name options that exist; SkyPilot's own parser takes its file."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

import dfdc

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@pytest.mark.parametrize("name", ["sky.yaml", "train.slurm"])
def test_every_option_of_train_exists(name):
    command = get_command(dfdc.app).commands["train"]
    known = {option for parameter in command.params for option in parameter.opts}
    text = (DEPLOY / name).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if re.search(r"^\s*(exec )?\S*dfdc train ", line)]
    used = set(re.findall(r"\s(-{1,2}[a-z][a-z-]*)", " ".join(lines)))
    assert {"--fold", "--crops", "--labels", "-o"} <= used <= known


def test_slurms_script_is_a_script():
    assert subprocess.run(["bash", "-n", str(DEPLOY / "train.slurm")], check=False).returncode == 0
    text = (DEPLOY / "train.slurm").read_text(encoding="utf-8")
    assert "#SBATCH --requeue" in text and "-eq 75" in text


def test_sky_has_a_spot_machine_a_mirror_and_the_bucket():
    task = yaml.safe_load((DEPLOY / "sky.yaml").read_text(encoding="utf-8"))
    assert task["resources"]["use_spot"] is True
    assert "--mirror s3://" in task["run"]
    assert task["file_mounts"]["/data"]["source"] == "s3://${BUCKET}"


PARSE = """
import sys, sky
task = sky.Task.from_yaml(sys.argv[1])
print(all(choice.use_spot for choice in task.resources), sorted(task.envs), sorted(task.storage_mounts))
"""


@pytest.mark.slow
def test_skypilots_parser_takes_the_task(tmp_path):
    """In an environment of its own: SkyPilot wants other versions of many packages."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "sky"], check=True)
    python = tmp_path / "sky/bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", "uv"], check=True)
    subprocess.run(
        [tmp_path / "sky/bin/uv", "pip", "install", "-q", "--python", python, "skypilot==0.14.1"], check=True
    )
    done = subprocess.run(
        [python, "-c", PARSE, DEPLOY / "sky.yaml"],
        check=False,
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("True ['BUCKET', 'EXPERIMENT', 'FOLD'] ['/data']")
