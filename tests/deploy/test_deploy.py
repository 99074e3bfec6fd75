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


@pytest.mark.parametrize("name", ["extract.slurm", "sky-extract.yaml", "rayjob.yaml"])
def test_every_option_of_units_exists(name):
    text = (DEPLOY / name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if "dfdc " in line]
    seen = set()
    for line in lines:
        for command, rest in re.findall(r"dfdc (plan|run-units|merge)\b([^;|\n]*)", line):
            known = {option for p in get_command(dfdc.app).commands[command].params for option in p.opts}
            assert set(re.findall(r"\s(-{1,2}[a-z][a-z-]*)", rest)) <= known
            seen.add(command)
    assert seen == {"plan", "run-units", "merge"}


def test_ray_runs_one_image_with_a_token_and_a_fixed_number_of_workers():
    job = yaml.safe_load((DEPLOY / "rayjob.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    workers = cluster["workerGroupSpecs"]
    pods = [group["template"]["spec"] for group in (cluster["headGroupSpec"], *workers)]
    containers = [pod["containers"][0] for pod in pods]
    assert len({container["image"] for container in containers}) == 1
    assert all({"name": "RAY_AUTH_MODE", "value": "token"} in container["env"] for container in containers)
    assert all(group["minReplicas"] == group["replicas"] == group["maxReplicas"] for group in workers)
    pinned = (DEPLOY.parent / "requirements-dev.txt").read_text(encoding="utf-8")
    assert f"ray=={cluster['rayVersion']} " in pinned


def test_the_job_of_an_array_gives_each_task_its_share():
    task = yaml.safe_load((DEPLOY / "sky-extract.yaml").read_text(encoding="utf-8"))
    assert task["resources"]["use_spot"] is True and '--shard "$SHARD"' in task["run"]
    script = (DEPLOY / "extract.slurm").read_text(encoding="utf-8")
    stub = script.replace("source .venv/bin/activate", "").replace("exec dfdc", "echo dfdc")
    array = {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "2"}
    done = subprocess.run(["bash", "-c", stub, "job", "/run"], check=False, capture_output=True, text=True, env=array)
    assert done.stdout == "dfdc run-units /run --shard 3/4\n"


def test_slurms_scripts_are_scripts():
    for name in ("train.slurm", "extract.slurm"):
        assert subprocess.run(["bash", "-n", str(DEPLOY / name)], check=False).returncode == 0
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
