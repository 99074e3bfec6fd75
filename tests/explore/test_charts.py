"""Pictures of the table, and what metadata gives away: on tables made here."""

from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from common.html.svg import BLUE, GREY, RED, css_colour, standalone
from explore.charts import draw_charts
from explore.leak import leak, why_none
from explore.metadata import COLUMNS, SECONDS, TEXT


def make_table(videos=60, seed=0):
    """Groups of one real and two fakes that differ in nothing but chance."""
    rng = np.random.default_rng(seed)
    rows = []
    for at in range(videos):
        first = at - at % 3
        row = dict.fromkeys(COLUMNS) | dict.fromkeys(TEXT, "") | {"status": "ok", "video_codec": "h264", "split": ""}
        row |= {"filename": f"v{at:03}.mp4", "label": "FAKE" if at % 3 else "REAL", "group": f"v{first:03}.mp4"}
        row |= {"original": f"v{first:03}.mp4" if at % 3 else "", "fakes_of_original": 2, "rotation": 0}
        row |= {
            "width": int(rng.choice([640, 1920])),
            "height": 480,
            "frames": int(rng.integers(200, 300)),
            "fps": 25.0,
        }
        row |= {"bit_rate": int(10 ** rng.uniform(4.5, 7)), "duration": rng.normal(10, 1), "bytes": 1000 + at}
        row |= {"audio_start_time": 0.0, "audio_streams": 1, "video_streams": 1, "start_time": 0.0}
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    whole = [c for c in COLUMNS if c not in (*TEXT, *SECONDS, "filename", "label", "original", "split", "group")]
    return table.astype(dict.fromkeys(whole, "Int64") | dict.fromkeys(SECONDS, "float64"))


def has_colour(picture, colour):
    """Whether something is filled with this colour."""
    return f"fill: {css_colour(colour)}" in picture.svg


def test_every_picture_shows_both_labels_in_their_colours():
    pictures = draw_charts(make_table(90))
    names = ["labels", "fps", "duration", "width", "height", "frames", "bit_rate", "fakes_per_original"]
    assert [picture.name for picture in pictures] == names
    for picture in pictures[:-1]:
        assert has_colour(picture, BLUE) and has_colour(picture, RED), picture.name
        assert not has_colour(picture, GREY)
    assert all(picture.title and picture.caption.endswith(".") for picture in pictures)
    assert pictures[0].caption == "90 files." and "30 originals, 60 fakes" in pictures[-1].caption


def test_five_videos_without_labels_are_drawn():
    table = make_table(5).assign(label="", original="", fakes_of_original=pd.array([pd.NA] * 5, dtype="Int64"))
    table["bit_rate"] = pd.array([pd.NA] * 5, dtype="Int64")
    table.loc[0, "duration"] = np.nan
    pictures = {picture.name: picture for picture in draw_charts(table)}
    assert "bit_rate" not in pictures and "fakes_per_original" not in pictures
    assert "5 of them without a label" in pictures["labels"].caption
    assert "Not known of 1." in pictures["duration"].caption
    assert has_colour(pictures["labels"], GREY)


def test_a_table_of_unreadable_files_has_the_picture_of_labels_only():
    table = make_table(4).assign(status="unreadable", fakes_of_original=pd.array([pd.NA] * 4, dtype="Int64"))
    assert [picture.name for picture in draw_charts(table)] == ["labels"]
    with pytest.raises(ValueError, match="no video"):
        draw_charts(table.iloc[:0])


def test_the_median_in_the_caption_is_that_of_the_label():
    table = make_table(9)
    table["duration"] = np.where(table["label"] == "REAL", 10.0, 20.5)
    caption = next(p.caption for p in draw_charts(table) if p.name == "duration")
    assert caption == "Median duration in seconds: real 10; fake 20.5."


def test_the_same_table_gives_the_same_bytes():
    assert draw_charts(make_table(30)) == draw_charts(make_table(30))


def test_a_picture_can_stand_alone():
    alone = standalone(draw_charts(make_table(30))[2].svg)
    assert "var(" not in alone and BLUE in alone
    assert ElementTree.fromstring(alone).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - made here


@pytest.mark.slow
def test_chance_is_no_leak():
    found = leak(make_table(90))
    assert found.auc.low < found.auc.value < 0.6
    assert found.warning == "" and (found.videos, found.groups) == (90, 30)


@pytest.mark.slow
def test_a_time_base_that_differs_is_found_and_named():
    table = make_table(90)
    table["audio_start_time"] = np.where(table["label"] == "FAKE", 0.023, 0.0)
    found = leak(table)
    assert found.auc.low > 0.9 and found.columns[0].name == "audio_start_time"
    assert found.columns[0].alone == 1 and found.columns[0].importance > 0.3
    assert "audio_start_time" in found.warning and "Train nothing on metadata" in found.warning


@pytest.mark.slow
def test_sound_that_only_reals_have_is_found():
    table = make_table(90)
    table["audio_codec"] = np.where(table["label"] == "FAKE", "", "aac")
    found = leak(table)
    assert found.auc.low > 0.9 and found.columns[0].name == "audio_codec"
    assert np.isnan(found.columns[0].alone)


@pytest.mark.slow
def test_the_shape_that_gave_fakes_away_is_found():
    table = make_table(90)
    fake = table["label"] == "FAKE"
    height = np.random.default_rng(1).integers(300, 900, len(table))
    table["height"] = pd.array(height, dtype="Int64")
    table["width"] = pd.array(np.where(fake, height * 16 // 9, height * 3 // 2), dtype="Int64")
    assert leak(table).columns[0].name == "width_over_height"


@pytest.mark.slow
def test_what_a_group_shares_is_no_leak():
    """Groups of one label each, and a number by which a group is known: that says nothing of groups not seen."""
    table = make_table(240)
    number = np.arange(240) // 20
    table["group"] = [f"g{at}" for at in number]
    table["label"] = np.where(np.isin(number, [0, 2, 3, 7, 8, 11]), "FAKE", "REAL")
    table["bytes"] = pd.array(number, dtype="Int64")
    assert leak(table).auc.value < 0.8  # 1.0 where a group is on both sides


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers_in_any_order_of_rows():
    table = make_table(60)
    assert leak(table, seed=3) == leak(table.sample(frac=1, random_state=0), seed=3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"label": ""}, "0 groups with a real and 0 with a fake"),
        ({"label": "FAKE"}, "0 groups with a real and 20 with a fake"),
        ({"group": "one"}, "1 groups with a real and 1 with a fake"),
        ({"status": "unreadable"}, "0 groups with a real"),
    ],
)
def test_too_few_groups_are_no_answer_but_a_reason(change, reason):
    table = make_table(60).assign(**change)
    assert leak(table) is None and reason in why_none(table)


def test_metadata_that_never_differ_are_no_answer():
    table = make_table(60)
    for name in ("width", "frames", "bit_rate", "duration", "bytes"):
        table[name] = table[name].iloc[0]
    assert leak(table) is None and "the same metadata" in why_none(table)
