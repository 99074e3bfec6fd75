"""The report and the summary of a small outcome with hostile names: whole, escaped, self-contained, the same twice."""

import html
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from markupsafe import escape

from ensemble import pictures
from ensemble.decide import Outcome, tune_blend
from ensemble.metrics import Estimate
from ensemble.report import write_report
from ensemble.select import Candidate, Cost, Limits, Selection
from ensemble.summary import render, shares_of
from ensemble.tune import StudyOptions
from ensemble.validate import EQUAL, EQUAL_BY_WIDTH, PLAIN, TUNED
from ensemble.width import WidthCalibration
from tests.ensemble.tables import noisy
from tests.pages import Page

MEMBERS = ("<b>one</b>", "$x_1$ & \u202etwo", 'three" onload="alert(1)')
COSTS = {name: Cost(2_000_000 + 1_000_000 * at, 0.01 * (at + 1)) for at, name in enumerate(MEMBERS)}
NAN = float("nan")


def tune(spreads=(0.6, 0.9, 1.2), members=MEMBERS, costs=COSTS) -> Outcome:
    faces = noisy(120, spreads, per_video=2)
    names = np.array([f"<script>alert({at})</script>.mp4" for at in range(119)] + ["caf\udce9.mp4"])
    truth = replace(faces.known(), degradation=np.array(["<i>jpeg</i>", "clean"])[np.arange(120) // 4 % 2])
    faces = replace(faces, members=members, filename=names, truth=truth)
    return tune_blend(faces, StudyOptions(trials=6), Limits(seconds=1.5, fixed=0.1, per_frame=0.02), costs)


@pytest.fixture(scope="session")
def outcome() -> Outcome:
    return tune()


@pytest.fixture(scope="session")
def single() -> Outcome:
    return tune((0.6,), ("alone",), None)


def page_of(outcome: Outcome, folder: Path, command: str = "dfdc tune '<table>.csv'") -> str:
    write_report(folder / "report.html", outcome, command)
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def page(outcome, tmp_path_factory) -> str:
    return page_of(outcome, tmp_path_factory.mktemp("report"))


def titles(page: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page)


def rows_of(page: str, title: str) -> list[list[str]]:
    """The cells of the tables of a section, their text alone."""
    section = page.split(f"<h2>{title}</h2>")[1].partition("</section>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", section, flags=re.DOTALL)
    return [[html.unescape(re.sub("<.*?>", "", c)) for c in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", r)] for r in rows]


def test_the_verdict_comes_first(outcome, page):
    top = page.split("<h2>")[0]
    low, high = outcome.blend.clip
    assert f"<h1>What ships: {outcome.chosen}</h1>" in top
    assert outcome.why[1:] in html.unescape(top)
    for figure in (
        f"{outcome.expected.value:.4f}",
        f"[{outcome.expected.low:.4f}, {outcome.expected.high:.4f}]",
        f"{outcome.naive:.4f}",
        f"{low:g} to {high:g}",
        f"{outcome.blend.mix.temperature:.3f}",
        f"{outcome.blend.mix.shift:+.3f}",
    ):
        assert figure in top, figure
    for name, weight in zip(outcome.blend.members, outcome.blend.mix.weights, strict=True):
        assert f"<bdi>{escape(name)}</bdi>" in top
        assert f"{weight:.3f}" in top


def test_every_part_is_there(outcome, page):
    assert titles(page) == [
        "Blends",
        "Members",
        "How alike members are",
        "Calibration",
        "What the clip costs and what it protects against",
        "Subsets within the limits",
        "Videos on which members disagree most",
        "By degradation",
        "The study",
        "When time is short",
        "Notes, data, command",
    ]
    read = Page(page)
    assert not read.open
    tags = [tag for tag, _ in read.elements]
    assert tags.count("figure") == 6
    assert tags.count("svg") == 6 + len(outcome.contributions.singles)
    assert all(escape(note) in page for note in outcome.notes)
    assert "dfdc tune &#39;&lt;table&gt;.csv&#39;" in page
    assert outcome.faces.sha256 in page


def test_tables_say_what_the_outcome_says(outcome, page):
    blends = rows_of(page, "Blends")
    plain = outcome.losses.of[PLAIN]
    assert [PLAIN, f"{plain.value:.4f}", f"[{plain.low:.4f}, {plain.high:.4f}]"] in blends
    gain = outcome.losses.difference[TUNED, EQUAL]
    assert any(
        row[:3] == [f"{TUNED} - {EQUAL}", f"{gain.value:+.5f}", f"[{gain.low:+.5f}, {gain.high:+.5f}]"]
        for row in blends
    )
    member = rows_of(page, "Members")[1]
    assert member[0] == MEMBERS[0]
    assert member[2] == f"{outcome.contributions.singles[MEMBERS[0]].auc:.4f}"
    assert member[7:9] == ["2.0", "0.020"]
    head, first, *_ = rows_of(page, "Videos on which members disagree most")
    worst = outcome.contributions.disagreements[0]
    assert head == ["video", "label", "blend", *MEMBERS]
    assert first == [worst.filename, worst.label, f"{worst.prob_fake:.3f}", *(f"{p:.3f}" for p in worst.of.values())]
    first = outcome.contributions.slices[0]
    counts = (str(first.missed), str(first.accused))
    assert rows_of(page, "By degradation")[1] == [
        *("<i>jpeg</i>", str(first.videos), f"{first.log_loss:.4f}", f"{first.auc:.4f}", f"{first.accuracy:.4f}"),
        *counts,
    ]
    assert counts[0] != counts[1]
    assert len(rows_of(page, "The study")) == 2 + len(outcome.nested.fits)
    dropped = [row[0] for row in rows_of(page, "When time is short")[1:]]
    assert len(set(dropped)) == 2
    assert set(dropped) < set(MEMBERS)


def test_chosen_bounds_and_certain_errors_are_in_the_table(outcome, page):
    rows = rows_of(page, "What the clip costs and what it protects against")[1:]
    chosen = [float(row[0].split()[0]) for row in rows if row[0].endswith("chosen")]
    low, high = outcome.blend.clip
    assert chosen == pytest.approx(sorted({low, round(1 - high, 6)}))
    assert all(float(row[3]) == pytest.approx(-np.log(float(row[0].split()[0])), abs=0.06) for row in rows)


def test_the_calibration_says_whether_it_follows_the_width_of_the_faces(outcome, page, tmp_path):
    def facts(text):
        section = text.split("<h2>Calibration</h2>")[1].partition("</section>")[0]
        return " ".join(html.unescape(re.sub("<.*?>", " ", section)).split())

    assert "face width the tables do not tell how wide the faces are" in facts(page)
    gains = {(EQUAL_BY_WIDTH, EQUAL): Estimate(-0.0162, -0.0229, -0.0096)}
    losses = replace(outcome.losses, difference={**outcome.losses.difference, **gains})
    known = replace(outcome, losses=losses)
    assert "face width what ships does not follow it" in facts(page_of(known, tmp_path))
    width = WidthCalibration((36.2, 208.4), (1.081, 1.09), (-0.762, 0.517))
    mix = replace(outcome.blend.mix, width=width)
    told = facts(page_of(replace(known, blend=replace(outcome.blend, mix=mix)), tmp_path))
    assert "36.2 pixels x 1.081 -0.762; 208.4 pixels x 1.090 +0.517" in told
    assert "equal weights, by face width - equal weights -0.0162 [-0.0229, -0.0096] nats" in told


def test_names_are_escaped(page):
    elements = Page(page).elements
    assert [tag for tag, _ in elements].count("script") == 1  # the page's own
    assert "<b>one" not in page
    assert "<i>jpeg" not in page
    assert "&lt;b&gt;one&lt;/b&gt;" in page
    assert not any(key.startswith("on") for _, attributes in elements for key in attributes)
    assert "\udce9" not in page


def test_a_name_that_is_no_text_is_written(outcome, tmp_path):
    odd = replace(outcome.contributions.disagreements[0], filename="caf\udce9.mp4")
    assert "caf?.mp4" in page_of(
        replace(outcome, contributions=replace(outcome.contributions, disagreements=(odd,))), tmp_path
    )


def test_nothing_comes_from_outside(page):
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    assert set(re.findall(r"url\(.", page)) <= {"url(#"}
    elements = Page(page).elements
    policy = [a["content"] for tag, a in elements if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policy) == 1
    assert policy[0].startswith("default-src 'none'")
    linked = [a[key] for _, a in elements for key in ("src", "href", "xlink:href") if a.get(key)]
    assert all(link.startswith(("#", "data:")) for link in linked)


def test_parts_of_pictures_have_names_of_their_own(page):
    names = [a["id"] for _, a in Page(page).elements if "id" in a]
    assert len(names) == len(set(names))
    assert {link[1:] for link in re.findall(r'xlink:href="(#[^"]+)"', page)} <= set(names)


def test_pictures_take_the_colours_of_the_page(page):
    css = page.split("<style>")[1].split("</style>")[0]
    known = set(re.findall(r"--([a-z-]+):", css.partition("@media")[0])) | {"strength"}
    assert set(re.findall(r"var\(--([a-z-]+)\)", page)) <= known
    svg = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert not re.search("#(000000|ffffff)", svg)
    assert "var(--ink)" in svg
    assert "font-family" not in svg


@pytest.mark.slow
def test_the_same_outcome_gives_the_same_bytes(outcome, page, tmp_path):
    assert page_of(outcome, tmp_path) == page
    arguments = [("a", SimpleNamespace(value=0.5, low=0.4, high=0.6))], "log loss"
    code = f"""
from types import SimpleNamespace as namespace
from ensemble.pictures import forest
print(forest(*{arguments}), end="")"""
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True)
    assert other.stdout == pictures.forest(*arguments)


def test_what_is_not_known_is_na(outcome, tmp_path):
    none = Estimate(NAN, NAN, NAN)
    contributions = outcome.contributions
    first = {MEMBERS[0]: replace(contributions.singles[MEMBERS[0]], auc=NAN, missed=none)}
    blank = replace(
        outcome,
        naive=NAN,
        losses=replace(outcome.losses, difference=dict.fromkeys(outcome.losses.difference, none)),
        contributions=replace(
            contributions,
            singles={**contributions.singles, **first},
            correlation=np.full_like(contributions.correlation, NAN),
            slices=(replace(contributions.slices[0], log_loss=NAN, auc=NAN),),
        ),
    )
    page = page_of(blank, tmp_path)
    assert not Page(page).open
    assert not re.search(r"\bnan\b|\binf\b", page, flags=re.IGNORECASE)
    assert rows_of(page, "By degradation")[1][2:4] == ["n/a", "n/a"]
    assert rows_of(page, "How alike members are")[1][1:] == ["n/a"] * 3
    assert rows_of(page, "Members")[1][5:7] == ["n/a", "[n/a, n/a]"]
    assert not re.search(r"\bnan\b", render(blank))


@pytest.mark.slow
def test_one_member_without_costs(single, tmp_path):
    page = page_of(single, tmp_path)
    assert not Page(page).open
    assert "How alike members are" not in titles(page)
    assert "When time is short" not in titles(page)
    assert "Videos on which members disagree most" not in titles(page)
    assert "no costs were given" in page.split("<h2>Subsets within the limits</h2>")[1]
    assert "By degradation" in titles(page)
    assert "alone" in render(single)
    assert "No cheaper subset" not in render(single)


@pytest.mark.slow
def test_thousands_of_subsets_stay_small(outcome, tmp_path):
    chosen = outcome.fitted.best_subset
    many = [replace(chosen, seconds=0.1 + at / 4000, bytes=10**6 + at, log_loss=0.7 - at / 10**5) for at in range(4095)]
    mixed = [replace(c, seconds=c.seconds * (1 + at % 7), bytes=c.bytes * (1 + at % 5)) for at, c in enumerate(many)]
    large = replace(outcome, selection=Selection((chosen, *mixed), True, None))
    few = replace(outcome, selection=Selection((chosen, *mixed[:20]), True, None))
    sizes = [
        len(pictures.subsets(o.selection.candidates, [chosen], chosen, lambda c: c.seconds, 1.5, "seconds"))
        for o in (large, few)
    ]
    assert sizes[0] < 60_000
    assert sizes[1] < 20_000
    assert "data:image/png" in page_of(large, tmp_path)
    assert "data:image/png" not in page_of(few, tmp_path)


def test_a_greedy_search_says_so(outcome, tmp_path):
    one, two = MEMBERS[:2]
    way = (
        Candidate((one,), 2, 5_000_000, 0.1 + 2 * 0.02 + 0.5, True, 0.5),
        Candidate((one, two), 2, 8_000_000, 0.1 + 2 * 0.02 + 0.75, True, 0.4),
    )
    greedy = replace(outcome, selection=Selection(way[::-1], False, 0.00123))
    shares = shares_of(greedy)
    assert set(shares) == {one, two}
    assert (shares[two].bytes, shares[two].seconds) == (3_000_000, pytest.approx(0.25))
    assert "added one by one" in render(greedy)
    assert "0.00123" in page_of(greedy, tmp_path)
    assert "subsets were tried" not in render(greedy)


def test_the_summary_says_what_matters(outcome):
    text = render(outcome)
    lines = text.splitlines()
    expected, gain = outcome.expected, outcome.losses.difference[TUNED, EQUAL]
    assert lines[0] == f"What ships: {outcome.chosen}"
    assert outcome.why in lines[1]
    assert f"{expected.value:.4f}, 95 % interval [{expected.low:.4f}, {expected.high:.4f}]" in text
    assert f"[{gain.low:+.5f}, {gain.high:+.5f}]" in text
    assert "subsets were tried" in text
    assert "No cheaper subset is better than: " in text
    assert all(f"note: {note}" in text for note in outcome.notes)
    assert len(lines) <= 40
    assert "\u202e" not in text  # nothing that a terminal would obey
    assert "$x_1$ & ?two" in text


def test_what_is_not_clearly_better_is_named(outcome, tmp_path):
    unsure = {pair: Estimate(-0.1, -0.2, 0.1) for pair in outcome.losses.difference}
    better = {pair: Estimate(-0.1, -0.2, -0.05) for pair in outcome.losses.difference}
    doubtful, sure = (replace(outcome, losses=replace(outcome.losses, difference=d)) for d in (unsure, better))
    assert f"not clearly better than: best single member; {PLAIN}" in render(replace(doubtful, chosen=EQUAL))
    assert "It is not clearly better than" in page_of(doubtful, tmp_path).split("<main>")[0]
    assert "not clearly better than" not in render(replace(sure, why=""))
