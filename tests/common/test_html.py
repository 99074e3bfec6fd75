"""The pages: one way to make them, and whatever a file is called comes out as text in each of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jinja2
import pandas as pd
import pytest

from common.html import Cell, Table, number, render
from kaggle_dataset.bundle.checks import Report
from kaggle_dataset.bundle.report import write_report as write_build
from kaggle_dataset.dry_run.report import DryRunReport, RunResult
from kaggle_dataset.dry_run.report import write_report as write_dry_run
from tests.ensemble.test_report import tune
from tests.explore.test_page import findings
from tests.inference.report.test_page import RUN, fallback, scored
from tests.pages import Page

ROOT = Path(__file__).resolve().parents[2]
EVIL = "<script>alert('x')</script> & \"a\" \udce9.mp4"


def predict_page(folder: Path) -> Path:
    from inference.report.page import write_report

    results = (fallback(EVIL, "unreadable", EVIL), dataclasses.replace(scored(EVIL, ()), reason=EVIL))
    write_report(folder / "page.html", results, dataclasses.replace(RUN, command=EVIL, title=EVIL))
    return folder / "page.html"


def explore_page(folder: Path) -> Path:
    from explore.page import write_page

    with pd.option_context("future.infer_string", False):  # as `explore` does: pandas' own text refuses such names
        return write_page(folder, findings(folder, EVIL, why_no_leak=EVIL))


def tune_page(folder: Path) -> Path:
    from ensemble.report import write_report

    outcome = tune((0.6,), (EVIL.replace("\udce9", "e"),), None)  # of one member, which is tuned fastest
    write_report(folder / "page.html", dataclasses.replace(outcome, notes=(EVIL,)), command=EVIL)
    return folder / "page.html"


def dry_run_page(folder: Path) -> Path:
    run = RunResult(EVIL, 25.0, 15.0, {"ok": 9, "no_face": 1}, 1, 1)
    report = DryRunReport(EVIL, EVIL, "3.12", {EVIL: "1"}, {}, (EVIL,), (EVIL,), 5, 60.0, (run,))
    write_dry_run(folder / "page.html", report)
    return folder / "page.html"


def build_page(folder: Path) -> Path:
    report = Report({EVIL: 5}, {EVIL: EVIL}, {EVIL: 7}, (EVIL,))
    write_build(folder / "page.html", EVIL, report, {EVIL: None, "other": 0.001})
    return folder / "page.html"


@pytest.mark.parametrize("make", [predict_page, explore_page, tune_page, dry_run_page, build_page])
def test_names_and_notes_come_out_as_text(make: Callable[[Path], Path], tmp_path: Path) -> None:
    html = make(tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    assert [name for name, _ in page.elements].count("script") == 1  # the page's own
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &#34;a&#34; ?.mp4" in html
    assert not any(key.startswith("on") for _, values in page.elements for key in values)
    ids = [values["id"] for _, values in page.elements if "id" in values]
    assert len(ids) == len(set(ids))
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert [(values["content"] or "").startswith("default-src 'none'") for values in policy] == [True]


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="title"):
        render("common/html/base.html.j2")


def test_a_cell_shows_its_parts_and_escapes_them() -> None:
    cell = Cell("1 ", ("<a>",), after=" & more", strong="<b>", small="'", href="#x", kind="number", value=2.0)
    table = Table(("name", "value"), [("first", cell)], "numbers", '"quoted"')
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(ROOT), autoescape=True, trim_blocks=True)
    made = environment.get_template("common/html/parts.html.j2").module.table(table)  # type: ignore[attr-defined]
    assert '<td class="number" data-value="2">1 <a href="#x"><bdi>&lt;a&gt;</bdi></a> &amp; more' in made
    assert "<b>&lt;b&gt;</b> <small>&#39;</small></td>" in made
    assert 'aria-label="&#34;quoted&#34;"' in made


def test_numbers_that_are_none_are_na() -> None:
    assert [number(value, 2, " s") for value in (1.234, None, float("nan"), float("inf"))] == ["1.23 s", *["n/a"] * 3]
