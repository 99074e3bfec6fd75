"""Sections of tuning whose time is up: each gives an answer all the same, and says what was cut."""

import dataclasses
import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from ensemble import sections
from ensemble.contribution import fallback_ensembles, measure_contributions
from ensemble.decide import tune_blend
from ensemble.folds import RIDGES, best_of, choose_ridge
from ensemble.metrics import sigmoid
from ensemble.problem import Aggregates, Problem
from ensemble.report import write_report
from ensemble.sections import Section
from ensemble.select import Cost, Limits, Search
from ensemble.summary import WIDE, render
from ensemble.tune import StudyOptions, run_study
from tests.ensemble.tables import noisy

FACES = noisy(200, (0.6, 0.9, 1.2, 1.5))
TRUTH = FACES.known()


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by a second each time that somebody looks at it."""
    made = SimpleNamespace(now=0.0)

    def look():
        made.now += 1.0
        return made.now

    monkeypatch.setattr(sections, "clock", look)
    return made


def section(seconds=4.5):
    return Section("a section", seconds, [])


def test_a_section_says_once_what_was_cut_and_a_part_of_it_ends_earlier(clock):
    cuts = []
    long = Section("a section", 100.0, cuts)
    part = long.part(0.1)
    assert not long.over("x")
    assert not part.over("x")
    clock.now += 20
    assert part.over("half of it")
    assert part.over("half of it")
    assert not long.over("x")
    assert cuts == ["a section, cut after 100 s: half of it"]
    assert not Section().over("x"), "without a limit there is no end"


def test_of_shrinkages_the_strongest_are_tried_and_without_a_limit_all(clock):
    cut = section()
    tight = choose_ridge(FACES.logit, TRUTH, 0, cut)
    assert tight in RIDGES[-5:]
    assert cut.cuts == ["a section, cut after 4.5 s: only the 5 strongest of 10 shrinkages were tried"]
    assert choose_ridge(FACES.logit, TRUTH, 0) == choose_ridge(FACES.logit, TRUTH, 0, section(math.inf))


def test_a_study_that_is_cut_ends_at_the_optimum(clock):
    problem = Problem(Aggregates(FACES), 0.01)
    cut, whole = section(0.5), run_study(problem, StudyOptions(trials=20))
    tuned = run_study(problem, StudyOptions(trials=20), section=cut)
    assert tuned.trials == 2
    assert tuned.structure == whole.structure
    assert tuned.objective == pytest.approx(whole.objective, abs=1e-4)
    assert [told.partition(": ")[2] for told in cut.cuts] == [
        "1 of 2 structures were compared",
        "1 of 18 trials for weights were made, and the solver's optimum is taken",
    ]


@pytest.mark.parametrize("members", [4, 13])
def test_a_search_for_subsets_that_is_cut_has_tried_every_member_alone(clock, members):
    faces = noisy(60, (1.0,) * members)
    costs = dict.fromkeys(faces.members, Cost(100, 0.01))
    cut = section(0.5)
    found = Search({10: faces.logit}, faces.known(), faces.members, Limits(bytes=250), costs, 1.0, 0).run(cut)
    assert not found.exact
    assert found.cut is (members == 4), "many members are added one by one anyway"
    assert len(found.best.members) == 1
    assert found.gap > 0
    assert len(cut.cuts) == 1


def test_contributions_that_are_cut_are_those_of_light_members(clock):
    def measure(limit):
        return measure_contributions(
            FACES.members, FACES.logit, TRUTH, FACES.filename, best_of(0.0), 0, *[sigmoid(FACES.logit[:, 0])] * 2, limit
        )

    whole = measure(None)
    found = measure(cut := section(2.5))
    weights = best_of(0.0)(FACES.logit, TRUTH).weights
    heavy = [FACES.members[i] for i in np.argsort(-weights)[:2]]
    assert {name for name, own in found.singles.items() if own.missed} == set(heavy)
    # Not the same to the last bit: a BLAS of several threads adds in any order.
    assert found.singles[heavy[0]].missed.value == pytest.approx(whole.singles[heavy[0]].missed.value)
    assert cut.cuts == ["a section, cut after 2.5 s: what the blend loses without a member is known of 2 of 4"]


@pytest.mark.slow
def test_fallbacks_of_many_members_or_in_no_time_halve(clock):
    def sizes(faces, limit):
        costs = {name: Cost(1, 0.01) for name in faces.members}
        args = (faces.members, faces.logit, faces.known(), costs, best_of(1.0), 0)
        found = fallback_ensembles(*args, limit)
        for larger, smaller in pairwise(found):
            assert set(smaller.members) < set(larger.members)
        assert all(math.isfinite(fallback.log_loss) for fallback in found)
        return [len(fallback.members) for fallback in found]

    assert sizes(FACES, None) == [3, 2, 1]
    assert sizes(FACES, cut := section(0.5)) == [2, 1]
    assert len(cut.cuts) == 1
    many = noisy(60, (1.0,) * 40)
    assert sizes(many, None) == [20, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]


@pytest.mark.slow
def test_what_was_cut_is_in_the_summary_and_in_the_report(tmp_path):
    found = tune_blend(FACES, StudyOptions(trials=20), seconds=1e-9)
    write_report(tmp_path / "report.html", found)
    told = "tuning on all, cut after 1e-09 s: 1 of 2 structures were compared"
    assert f"note: {told}\n" in render(found)
    assert told in (tmp_path / "report.html").read_text()
    plenty = tune_blend(FACES, StudyOptions(trials=20))
    assert not any("cut after" in note for note in plenty.notes)


@pytest.mark.slow
def test_two_hundred_members_end(tmp_path):
    """Without sections the fallbacks alone would take hours."""
    faces = noisy(60, (1.0,) * 200)
    costs = dict.fromkeys(faces.members, Cost(1, 1e-6))
    found = tune_blend(faces, StudyOptions(trials=20), costs=costs, seconds=1e-9)
    assert len(found.blend.members) == 200
    assert sum(found.blend.mix.weights > 0) > 100
    assert [len(fallback.members) for fallback in found.blend.fallbacks] == [100, 50, 25, 12, 6, 3, 1]
    kinds = {note.partition(",")[0] for note in found.notes if "cut after" in note}
    assert kinds == {"tuning without a fold", "tuning on all", "subsets", "contributions", "fallback ensembles"}
    text = render(found)
    assert f"and {200 - WIDE} members of less weight" in text
    assert len(text.splitlines()) < 100
    write_report(tmp_path / "report.html", found)
    page = (tmp_path / "report.html").read_text()
    assert "Of 200 members the 30 with the most weight are shown." in page
    assert len(page) < 2_000_000


def test_a_section_needs_time():
    with pytest.raises(ValueError, match="seconds is 0"):
        tune_blend(dataclasses.replace(FACES), StudyOptions(trials=20), seconds=0)
