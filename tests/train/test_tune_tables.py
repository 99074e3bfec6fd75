"""`dfdc tune` and `dfdc blend` on tables on the disk."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cli.main import app
from ensemble.blend import Blend


def table_of(label, logits, prefix, frames=1):
    """A table of probabilities as `dfdc holdout` writes it: (V, M) logits, the same for each frame."""
    return pd.DataFrame(
        [
            {
                "filename": f"{prefix}{v}.mp4",
                "member": f"m{m}",
                "frame": frame,
                "person": 0,
                "logit": logits[v, m] + frame / 100,
                "status": "ok",
                "label": "FAKE" if label[v] else "REAL",
                "group": f"group {v // 4}",
            }
            for v in range(len(label))
            for m in range(logits.shape[1])
            for frame in range(frames)
        ]
    )


@pytest.fixture
def tables(tmp_path):
    rng = np.random.default_rng(0)
    label = np.arange(120) % 2
    side = (2.0 * label - 1)[:, None]
    noise = rng.normal(0, 1, (120, 2))
    table_of(label, side + noise * (0.5, 3), "d").to_csv(tmp_path / "dfdc.csv", index=False)
    table_of(label[:60], side[:60] + noise[:60] * (3, 0.5), "f", 3).to_csv(tmp_path / "ffpp.csv", index=False)
    table_of(label, -(side + noise), "d").to_csv(tmp_path / "turned.csv", index=False)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.slow
def test_two_sources_are_tuned_as_one_and_told_apart(tables):
    out = tables / "blend.json"
    more = ("-o", out, "--members", tables, "--trials", 6, "--report", tables / "tune.html")
    found = run("tune", f"dfdc={tables / 'dfdc.csv'}", f"ffpp={tables / 'ffpp.csv'}", *more)
    assert found.exit_code == 0, found.output
    values = json.loads(out.read_text())
    assert set(values["by_source"]) == {"dfdc", "ffpp"}
    assert values["tuned_on"]["videos"] == 180
    assert min(Blend.read(out).mix.weights) > 0.2, "neither source is outvoted"
    head = next(line for line in found.stdout.splitlines() if line.startswith("blend"))
    assert head.split()[-2:] == ["dfdc", "ffpp"]
    assert re.search(r"<th[^>]*>(<[^>]*>)*ffpp<", (tables / "tune.html").read_text())


@pytest.mark.slow
def test_turned_values_are_refused_and_the_named_option_helps(tables):
    more = ("-o", tables / "blend.json", "--members", tables, "--trials", 4)
    found = run("tune", tables / "turned.csv", *more)
    assert found.exit_code != 0
    assert "--invert m0" in str(found.exception)
    found = run("tune", tables / "turned.csv", *more, "--invert", "all")
    assert found.exit_code == 0, found.output


@pytest.mark.slow
def test_a_blend_is_applied_with_the_share_of_fakes_that_was_estimated(tables):
    Blend.equal(["m0", "m1"]).write(tables / "blend.json")
    rows = pd.read_csv(tables / "dfdc.csv")
    few = rows[(rows["label"] == "REAL") | rows["filename"].isin([f"d{v}.mp4" for v in range(1, 20, 2)])]
    few.to_csv(tables / "few.csv", index=False)
    out = tables / "out.csv"
    shared = ("--blend", tables / "blend.json", "-o", out)
    assert run("blend", tables / "few.csv", *shared).exit_code == 0
    plain = pd.read_csv(out)["label"].mean()
    found = run("blend", tables / "few.csv", *shared, "--prior", "em")
    assert found.exit_code == 0, found.output
    share = float(found.stdout.split("share of fakes of ")[1].split()[0])
    assert 0.02 < share < 0.4, "10 of 70 are fake"
    assert pd.read_csv(out)["label"].mean() < plain
    assert run("blend", tables / "few.csv", *shared, "--prior", "lots").exit_code != 0
