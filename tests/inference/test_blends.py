"""Two blends in a folder of members: which of them predicts."""

import shutil

import pytest

from common.errors import DfdcError
from ensemble.blend import ANY_FILE, FILE, Blend
from inference.blends import blend_file, load_blend
from models.checkpoint import WEIGHTS_DIR, find_cards


@pytest.fixture
def folder(tmp_path):
    for card in find_cards(WEIGHTS_DIR)[:2]:
        for ending in (".json", ".safetensors"):
            shutil.copy(WEIGHTS_DIR / f"{card.name}{ending}", tmp_path)
    return tmp_path


def test_the_competition_has_a_blend_of_its_own(folder):
    names = [card.name for card in find_cards(folder)]
    assert (
        load_blend(folder).to_json() == load_blend(folder, competition=False).to_json()
    )  # equal weights: there is none
    Blend.equal(names).write(folder / FILE)
    Blend.equal(names[:1]).write(folder / ANY_FILE)
    assert load_blend(folder).members == tuple(names)
    assert load_blend(folder, competition=False).members == tuple(names[:1])
    assert load_blend(folder, folder / FILE, competition=False).members == tuple(names)
    (folder / ANY_FILE).unlink()
    assert blend_file(folder, competition=False) == folder / FILE


def test_a_blend_of_other_members_is_refused(folder):
    Blend.equal(["gone"]).write(folder / ANY_FILE)
    with pytest.raises(DfdcError, match="needs member 'gone'"):
        load_blend(folder, competition=False)
