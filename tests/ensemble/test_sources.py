import dataclasses

import numpy as np
import pytest

from ensemble.convex import mix_logit, optimum
from ensemble.folds import group_folds
from ensemble.metrics import log_loss_balanced, sigmoid
from ensemble.sources import merge, named
from ensemble.truth import Truth
from ensemble.validate import compare
from tests.ensemble.tables import faces_of, noisy


def two():
    """A large source that member m0 knows, and a small one that m1 knows."""
    large, small = noisy(800, (0.3, 3.0), seed=1), noisy(80, (3.0, 0.3), seed=2)
    return {"large": large, "small": small}


def test_names_and_paths(tmp_path):
    assert named(["a.csv", "b.csv"]).keys() == {""}
    found = named(["x=a.csv", "y=b.csv", "x=c.csv"])
    assert {name: [str(p) for p in paths] for name, paths in found.items()} == {"x": ["a.csv", "c.csv"], "y": ["b.csv"]}
    odd = tmp_path / "run=3.csv"
    odd.write_text("")
    assert named([str(odd)]) == {"": [odd]}
    with pytest.raises(ValueError, match=r"b\.csv has no source and others have \(x=\.\.\.\)"):
        named(["x=a.csv", "b.csv"])
    with pytest.raises(ValueError, match="is not NAME=TABLE"):
        named(["=a.csv"])


def test_one_source_alone_is_what_it_was():
    faces = noisy(40, (1.0,))
    assert merge({"": faces}) is faces


def test_merged_tables_hold_every_video_with_groups_of_their_own():
    faces = merge(two())
    assert len(faces.filename) == 880
    assert faces.filename[0].startswith("large/") and faces.filename[-1].startswith("small/")
    truth = faces.known()
    assert truth.sources == ("large", "small")
    assert truth.groups == 220, "both tables have a group g00000, and they are two"
    assert len(truth.rows_of("small")) == 80
    people = np.diff(faces.layout.person_starts)
    assert people.sum() == len(faces.logit) == 880


def test_sources_weigh_the_same_and_classes_half_within_each():
    truth = merge(two()).known()
    for source in truth.sources:
        here = truth.rows_of(source)
        assert truth.weight[here].sum() == pytest.approx(0.5)
        assert truth.weight[here][truth.label[here] > 0.5].sum() == pytest.approx(0.25)
    prob = np.full(880, 0.5)
    assert truth.loss(prob) == pytest.approx(np.log(2))


def test_the_small_source_is_not_outvoted():
    faces = merge(two())
    mix = optimum(faces.logit, faces.known(), 0.0)
    assert 0.3 < mix.weights[1] < 0.7
    alone = optimum(faces.logit, dataclasses.replace(faces.known(), source=None), 0.0)
    assert alone.weights[1] < 0.3, "as one heap the large source decides"


def test_every_fold_has_both_classes_of_every_source():
    truth = merge(two()).known()
    for fit, held in group_folds(truth, 5, 0):
        assert not set(truth.group[fit]) & set(truth.group[held])
        for source in truth.sources:
            here = held[truth.source[held] == source]
            assert set(truth.label[here]) == {0.0, 1.0}


def test_a_source_of_one_class_is_named():
    tables = two()
    small = tables["small"]
    tables["small"] = dataclasses.replace(small, truth=Truth(np.ones(80), small.known().group))
    with pytest.raises(ValueError, match="source 'small': real and fake rows are needed"):
        merge(tables).known().weight  # noqa: B018


def test_the_losses_of_each_source_are_told_and_the_worst_is_known():
    faces = merge(two())
    prob = {"m0": sigmoid(faces.logit[:, 0].astype(float))}
    losses = compare(faces.known(), prob, [])
    small = two()["small"]
    own = log_loss_balanced(small.known().label, sigmoid(small.logit[:, 0].astype(float)))
    assert losses.by_source["small"]["m0"] == pytest.approx(own, abs=1e-6)
    assert losses.worst("m0") == losses.by_source["small"]["m0"] > losses.by_source["large"]["m0"]
    assert losses.of["m0"].value == pytest.approx(np.mean([losses.by_source[s]["m0"] for s in ("large", "small")]))


def test_members_that_not_all_have_are_left_out_and_told():
    tables = {"a": noisy(40, (1.0, 1.0, 1.0)), "b": noisy(40, (1.0, 1.0))}
    faces = merge(tables)
    assert faces.members == ("m0", "m1")
    assert "a: left out, since not all sources have them: m2" in faces.lost
    renamed = dataclasses.replace(tables["b"], members=("x", "y"))
    with pytest.raises(ValueError, match=r"no member is in the tables of all sources \(a: m0, m1, m2; b: x, y\)"):
        merge({"a": tables["a"], "b": renamed})


def test_predictions_are_made_as_of_one_table():
    faces = merge({"a": noisy(20, (1.0,)), "b": faces_of(np.zeros((20, 1)), np.arange(20) % 2)})
    mix = optimum(faces.logit, faces.known(), 0.0)
    assert np.isfinite(mix_logit(faces.logit, mix, "logit")).all()


def test_videos_of_a_source_that_names_no_widths_have_none():
    tables = two()
    pixels = np.full(len(tables["large"].filename), 80.0)
    truth = merge({**tables, "large": dataclasses.replace(tables["large"], face_pixels=pixels)}).known()
    assert (truth.face_pixels[truth.rows_of("large")] == 80).all()
    assert np.isnan(truth.face_pixels[truth.rows_of("small")]).all()
