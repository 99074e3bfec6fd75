"""A prediction on a machine that has its compiled networks at hand loads nothing that builds networks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import sys
from pathlib import Path
from inference.predict import PredictRequest, predict
video, output, members = map(Path, sys.argv[1:4])
predict(PredictRequest([video], output, members=members, frames=4, device=sys.argv[4]))
print(*sorted({"torch", "timm", "sklearn", "facenet_pytorch", "matplotlib", "jinja2"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_a_prediction_with_kept_networks_imports_no_torch(media, members, tmp_path):
    def run(name, **environment):
        output = tmp_path / f"{name}.csv"
        done = subprocess.run(
            [sys.executable, "-c", CODE, media / "single_face.mp4", output, members, "cpu"],
            check=True, capture_output=True, text=True, cwd=ROOT, timeout=600, env=os.environ | environment,
        )  # fmt: skip
        return done.stdout.split(), output.read_bytes()

    kept = {"DFDC_CACHE": str(tmp_path / "kept")}
    first, second, without = run("first", **kept), run("second", **kept), run("without", DFDC_CACHE="off")
    assert {"torch", "timm"} <= set(first[0])
    assert second[0] == []
    assert first[1] == second[1] == without[1]
