"""Units are named after what they are, and shared between machines without a word."""

import pytest

from scale.manifest import OtherRunError, differences, refuse_other
from scale.run import read_shard
from scale.units import Item, Unit, cut_into_units, share

ITEMS = [Item(f"{number:03d}.mp4", number) for number in range(10)]


def test_a_unit_is_named_after_keys_sizes_and_options():
    named = {
        Unit.of(0, items, options).id
        for items, options in (
            (ITEMS[:2], "a"),
            (ITEMS[:3], "a"),
            (ITEMS[:2], "b"),
            ([ITEMS[0], Item("001.mp4", 99)], "a"),
            ([ITEMS[0], Item("x/001.mp4", 1)], "a"),
            ([ITEMS[0], Item("001.mp4", 1, {"label": "FAKE"})], "a"),
        )
    }
    assert len(named) == 6
    assert Unit.of(7, ITEMS[:2], "a").id in named  # its place in the plan is no part of it


def test_units_keep_their_order_and_come_back_from_their_lines():
    units = list(cut_into_units(iter(ITEMS), "options", 4))
    assert [len(unit.items) for unit in units] == [4, 4, 2]
    assert [item for unit in units for item in unit.items] == ITEMS
    facts = Unit.of(3, [Item("", -1, {"filename": "gone.mp4"})], "options")
    for unit in (*units, facts):
        again = Unit.from_line(unit.to_line())
        assert again == unit and [i.facts for i in again.items] == [i.facts for i in unit.items]
    assert facts.items[0].name == "gone.mp4"


def test_shards_share_all_units_and_each_once():
    shares = [list(share(range(10), (i, 3))) for i in range(3)]
    assert (
        sorted(number for shard in shares for number in shard) == list(range(10))
        and max(map(len, shares)) - min(map(len, shares)) <= 1
    )
    assert list(share(range(10), None)) == list(range(10))


@pytest.mark.parametrize("text", ["3/3", "a/3", "1", "-1/3", "1/", "0/0"])
def test_a_wrong_shard_is_named(text):
    with pytest.raises(ValueError, match=f"--shard is '{text}'"):
        read_shard(text)
    assert read_shard("63/64") == (63, 64)


def test_what_differs_is_named():
    there = {"code": "a", "libraries": {"torch": "2.10", "av": "18"}, "cpu": "AVX2"}
    here = {"code": "a", "libraries": {"torch": "2.11", "av": "18"}, "cpu": "AVX512"}
    assert differences(there, here) == ["cpu was AVX2, is AVX512", "libraries.torch was 2.10, is 2.11"]
    refuse_other("the machine", there, there)
    with pytest.raises(OtherRunError, match=r"the machine is another: cpu was AVX2, is AVX512; libraries.torch was"):
        refuse_other("the machine", there, here)
