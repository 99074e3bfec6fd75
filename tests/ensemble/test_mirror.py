import dataclasses

import numpy as np
import pytest

from ensemble.blend import Blend
from ensemble.convex import Mix
from ensemble.mirror import mirror_gain
from tests.ensemble.tables import faces_of, noisy


def two_views(videos: int, lean: float, seed: int = 0):
    """Faces whose answers lean by a number of their own when not mirrored, and by minus it when mirrored."""
    plain = noisy(videos, [0.6, 0.9], seed)
    leans = np.random.default_rng(seed + 1).normal(0, lean, plain.logit.shape)
    return dataclasses.replace(plain, logit=plain.logit + leans), plain


def test_where_members_lean_to_a_side_both_views_help():
    gain = mirror_gain(*two_views(600, 1.0))
    assert gain.high < 0
    assert gain.low < gain.value < gain.high


def test_where_a_mirror_changes_nothing_it_is_worth_nothing():
    plain, _ = two_views(600, 0.0)
    gain = mirror_gain(plain, plain)
    assert gain.value == gain.low == gain.high == 0.0


def test_where_the_mirrored_answers_are_noise_it_hurts():
    plain, both = two_views(600, 1.0)
    assert mirror_gain(both, plain).low > 0


def test_other_faces_are_refused():
    plain, both = two_views(60, 1.0)
    with pytest.raises(ValueError, match="other faces"):
        mirror_gain(plain, faces_of(both.logit[:40], both.known().label[:40]))


def test_the_choice_is_kept_in_the_file(tmp_path):
    blend = Blend(("a", "b"), Mix.equal(2), mirror=True)
    blend.write(tmp_path / "blend.json")
    assert Blend.read(tmp_path / "blend.json").to_json() == blend.to_json()
    assert Blend.read(tmp_path / "blend.json").fallback(0).needed().mirror
    old = (tmp_path / "blend.json").read_text().replace('  "mirror": true,\n', "")
    (tmp_path / "old.json").write_text(old)
    assert not Blend.read(tmp_path / "old.json").mirror  # written before there was a choice
