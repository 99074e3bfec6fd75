import math

import cv2
import matplotlib.figure
import pytest

from train.curves import write_curves

HISTORY = [
    {
        "epoch": epoch,
        "step": 10 * epoch,
        "train_loss": 0.7 - 0.1 * epoch,
        "val_log_loss_balanced": 0.6 - 0.02 * epoch,
        "val_log_loss_calibrated": loss,
        "val_auc": 0.8 + 0.01 * epoch,
        "lr": 1e-3 / epoch,
        "seconds": 5.0 * epoch,
    }
    for epoch, loss in enumerate([0.5, 0.4, 0.45, 0.4], start=1)
]


@pytest.fixture
def figure(monkeypatch):
    """The figures that are saved, for a look inside."""
    seen = []
    save = matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig", lambda self, *args, **named: (seen.append(self), save(self, *args, **named))
    )
    return seen


def test_a_run_becomes_one_picture(tmp_path, figure):
    path = tmp_path / "my_run" / "curves.png"
    write_curves(HISTORY, path)
    assert cv2.imread(str(path)).shape == (880, 880, 3)
    assert [p.name for p in path.parent.iterdir()] == ["curves.png"]
    loss, area, rate = figure[0].axes
    # The second epoch is the first of two equals: the loop keeps an epoch only when it is better.
    assert loss.get_title(loc="left") == "my_run: best in epoch 2, log loss 0.4000, AUC 0.8200"
    lines = {line.get_label(): line for line in loss.lines}
    assert lines["validation, calibrated"].get_ydata().tolist() == [0.5, 0.4, 0.45, 0.4]
    assert lines["validation"].get_ydata()[0] == pytest.approx(0.58)
    assert lines["training"].get_ydata()[0] == pytest.approx(0.6)
    assert area.lines[0].get_ydata()[0] == pytest.approx(0.81)
    assert rate.lines[0].get_ydata()[0] == pytest.approx(1e-3)
    assert all(axes.lines[-1].get_xdata() == [2, 2] for axes in figure[0].axes)  # where the best epoch is marked


def test_the_same_run_gives_the_same_bytes(tmp_path):
    write_curves(HISTORY, tmp_path / "a.png", "run")
    write_curves(HISTORY, tmp_path / "b.png", "run")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("value", [None, math.nan, "missing"])
def test_values_that_are_not_there_leave_gaps(tmp_path, figure, value):
    """A first epoch, or a history from before a column was kept."""
    rows = [row | {"val_log_loss_calibrated": value, "train_loss": value} for row in HISTORY[:1]]
    if value == "missing":
        rows = [{k: v for k, v in row.items() if v != value} for row in rows]
    write_curves(rows, tmp_path / "a.png", "old")
    assert figure[0].axes[0].get_title(loc="left") == "old"
    legend = [text.get_text() for text in figure[0].axes[0].get_legend().get_texts()]
    assert legend == ["validation"]


def test_a_picture_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    write_curves(HISTORY, tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()

    def full(_, path, **__):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    with pytest.raises(OSError, match="no space"):
        write_curves(HISTORY, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("rows", "name"), [([], "a.png"), (HISTORY, "a.pdf")])
def test_what_cannot_be_drawn_is_refused(tmp_path, rows, name):
    with pytest.raises(ValueError, match=r"curves of \d epochs into .*a\.p"):
        write_curves(rows, tmp_path / name)
