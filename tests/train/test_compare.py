"""Runs side by side, from the files that a training leaves."""

import pytest
from typer.testing import CliRunner

import dfdc
from tests.pages import Page
from train.compare import read_runs, render_runs, write_page


def make_run(folder, losses, done=False):
    """A run as `publish` leaves it, with these calibrated losses."""
    folder.mkdir(parents=True)
    lines = ["epoch,step,train_loss,val_log_loss_balanced,val_log_loss_calibrated,val_auc,lr,seconds"]
    lines += [f"{i},{10 * i},0.8,0.6,{loss},{1 - loss if loss else ''},0.001,{1800 * i}" for i, loss in losses.items()]
    (folder / "history.csv").write_text("\n".join(lines) + "\n")
    if done:
        (folder / "one.safetensors").touch()
    return folder


@pytest.fixture
def runs(tmp_path):
    make_run(tmp_path / "runs" / "long", {1: 0.6, 2: 0.45, 3: 0.5}, done=True)
    make_run(tmp_path / "runs" / "folds" / "0", {1: 0.44})
    make_run(tmp_path / "runs" / "nan", {1: ""})
    return tmp_path / "runs"


def test_the_lowest_loss_comes_first_and_who_has_none_last(runs):
    found = read_runs([runs, runs / "long"])  # named twice, read once
    assert [run.name for run in found] == [str(runs / name) for name in ("folds/0", "long", "nan")]
    assert [run.exported for run in found] == [False, True, False]
    assert [None if run.best is None else run.best["epoch"] for run in found] == [1, 2, None]
    lines = render_runs(found).splitlines()
    assert lines[0].split() == ["run", "epochs", "best", "log", "loss", "AUC", "last", "hours", "member"]
    assert lines[2].split()[1:] == ["3", "2", "0.4500", "0.5500", "0.5000", "1.50", "exported"]
    assert lines[3].split()[1:] == ["1", "n/a", "n/a", "n/a", "n/a", "0.50", "not", "yet"]


def test_the_page_has_every_run_and_its_curves(runs, tmp_path):
    found = read_runs([runs])
    write_page(tmp_path / "page.html", found)
    text = (tmp_path / "page.html").read_text()
    assert all(run.name in text for run in found)
    assert 'style="background:var(--blue)"' in text  # as the line of the first run is drawn
    assert text.count("<svg") == 3 and "AUC of 3 runs over epochs" in text
    assert "<h1>3 training runs</h1>" in text
    write_page(tmp_path / "again.html", found)
    assert (tmp_path / "again.html").read_text() == text
    Page(text)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "holds no run"), ("", "is no history"), ("epoch,val_auc\n1,0.5\n", "lacks the column")]
)
def test_what_is_no_run_is_refused_by_name(tmp_path, content, said):
    (tmp_path / "run").mkdir()
    if content is not None:
        (tmp_path / "run" / "history.csv").write_text(content)
    with pytest.raises(ValueError, match=f"run.*{said}"):
        read_runs([tmp_path / "run"])


def test_the_command(runs, tmp_path):
    result = CliRunner().invoke(dfdc.app, ["runs", str(runs), "-o", str(tmp_path / "page.html")])
    assert result.exit_code == 0 and "0.4500" in result.stdout
    assert (tmp_path / "page.html").is_file()
