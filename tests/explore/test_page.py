"""The page: whole, escaped, the same every time, and nothing in it that reaches for a network."""

import re

import pandas as pd
import pytest
from markupsafe import Markup

from explore.charts import Picture
from explore.gallery import Gallery
from explore.metadata import COLUMNS
from explore.page import Findings, write_page
from explore.page_faces import Detected
from explore.page_parts import Drawn, link, number
from explore.pairs import FIELDS, FRAME_FIELDS
from tests.pages import Page

EVIL = "<script>alert('x')</script> & \"a\" 100%.mp4"


def row(filename, **changes):
    facts = dict.fromkeys(COLUMNS) | dict.fromkeys(("reason", "original", "split", "group", "label"), "")
    facts |= {"status": "ok", "format": "mov,mp4", "video_codec": "h264", "width": 96, "height": 64, "fps": 25.0}
    facts |= {"frames": 24, "duration": 0.96, "rotation": 0, "video_streams": 1, "audio_streams": 0, "bytes": 2000}
    return facts | {"filename": filename, "audio_codec": ""} | changes


def table_of(*rows):
    whole = ["width", "height", "frames", "rotation", "video_streams", "audio_streams", "bytes", "channels"]
    kinds = dict.fromkeys(whole, "Int64") | dict.fromkeys(["fps", "duration", "bit_rate", "sample_rate"], "float64")
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(kinds | {"fakes_of_original": "Int64"})


def detected(name):
    boxes = pd.DataFrame(
        [[name, 3, 0.1, "haar", "elsewhere"]], columns=["filename", "frame", "second", "detector", "kind"]
    )
    looked = pd.DataFrame([[name, 3, 0.1, 96, 64]], columns=["filename", "frame", "second", "width", "height"])
    names = ("haar", "mtcnn")
    matrix = pd.DataFrame([[1.0, 0.5], [float("nan"), 1.0]], index=names, columns=names)
    summary = pd.DataFrame([["haar", 1, 12.3456, 1], ["mtcnn", 1, 100.0, 0]],
                           columns=["detector", "frames", "ms_per_frame", "false"])  # fmt: skip
    drawn = Drawn("pictures/frames/a.jpg", 640, 400, name, "1.0 s")
    gallery = Gallery({name: drawn}, [Drawn("pictures/false/b.jpg", 240, 240, "haar", "elsewhere")], [])
    return Detected(
        names, 1, 2, 0.4, looked, boxes[:0], summary, matrix, matrix, boxes, gallery, {"dlib_hog": "not here"}
    )


def paired(name):
    pair = dict.fromkeys(FIELDS) | {"fake": name, "original": "real.mp4", "found_by": "labels", "status": "ok"}
    pair |= {"reason": "", "frames": 2, "changed_share": 0.1, "on_face": 0.9, "x0": 1, "y0": 2, "x1": 3, "y1": 4}
    gone = dict.fromkeys(FIELDS) | {"fake": "b.mp4", "original": "", "status": "no_original", "reason": "<none> & why"}
    moments = [
        dict.fromkeys(FRAME_FIELDS) | {"fake": name, "original": "real.mp4", "frame": at, "second": at / 25,
                                       "changed_share": 0.1 * at, "whole": "w.jpg" if at else "", "close": "c.jpg"}
        for at in (0, 1)
    ]  # fmt: skip
    return pd.DataFrame([pair, gone], columns=FIELDS), pd.DataFrame(moments, columns=FRAME_FIELDS)


def findings(folder, name="fake.mp4", **changes):
    table = table_of(
        row("real.mp4", label="REAL", audio_streams=1, audio_codec="aac"),
        row(name, label="FAKE", original="real.mp4", video_streams=2),
        row("broken.mp4", status="unreadable", reason="moov atom <not> found", width=None, height=None, fps=None),
    )
    pairs, frames = paired(name)
    facts = {
        "title": f"Explored: {name}", "videos": {n: folder / "videos" / n for n in table["filename"]}, "table": table,
        "charts": [Picture("fps", Markup("<svg></svg>"), "Frames <b>", "per second")], "leak": None,
        "why_no_leak": "2 groups, 5 are needed", "detected": detected(name), "no_points": {"dlib68": "no model"},
        "pairs": pairs, "pair_frames": frames,
    }  # fmt: skip
    return Findings(**(facts | changes))


def test_names_from_files_are_escaped_everywhere(tmp_path):
    html = write_page(tmp_path, findings(tmp_path, EVIL)).read_text()
    page = Page(html)
    assert page.open == []
    assert "<script>alert" not in html and "<not>" not in html and "<none>" not in html and "<b>" not in html
    assert len(page.all("script")) == 1
    players = page.all("div", **{"class": "players"})
    wanted = "videos/%3Cscript%3Ealert%28%27x%27%29%3C/script%3E%20%26%20%22a%22%20100%25.mp4"
    assert players[0]["data-fake"] == wanted
    assert players[0]["data-original"] == "videos/real.mp4"
    assert players[0]["data-amplified"] == "4"
    assert "avc1" in players[0]["data-fake-type"]


def test_nothing_reaches_for_a_network_and_pictures_wait(tmp_path):
    html = write_page(tmp_path, findings(tmp_path)).read_text()
    page = Page(html)
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert policy.startswith("default-src 'none'") and "http" not in policy and "connect-src" not in policy
    addresses = [v for _, a in page.elements for k, v in a.items() if k in ("src", "href") or k.startswith("data-")]
    assert addresses and not [a for a in addresses if a and re.match(r"[a-z]+:|//|/", a) and a != "data:,"]
    assert "@import" not in html and "url(" not in html
    images = page.all("img")
    assert len(images) == 4 and all(image["loading"] == "lazy" and image["alt"] for image in images)
    # The place of each is kept free, so that what stands below does not jump.
    assert all("width" in image or "aspect-ratio" in (image["style"] or "") for image in images)


def test_the_same_findings_give_the_same_bytes(tmp_path):
    first = write_page(tmp_path, findings(tmp_path)).read_bytes()
    assert write_page(tmp_path, findings(tmp_path)).read_bytes() == first


def test_every_link_within_the_page_leads_somewhere(tmp_path):
    page = Page(write_page(tmp_path, findings(tmp_path)).read_text())
    ids = {values["id"] for _, values in page.elements if values.get("id")}
    inner = {values["href"][1:] for _, values in page.elements if (values.get("href") or "").startswith("#")}
    assert len(inner) == 8  # seven sections, and the frame of the one video that has one
    assert inner <= ids


def test_what_was_found_is_told(tmp_path):
    html = write_page(tmp_path, findings(tmp_path)).read_text()
    assert "moov atom &lt;not&gt; found" in html
    assert "more than one video stream" in html
    assert "dlib_hog: not here" in html and "dlib68: no model" in html
    assert "Not measured: 2 groups, 5 are needed." in html
    assert "&lt;none&gt; &amp; why" in html
    assert 'style="--strength:0.275"' in html and "nan" not in html.split("</style>")[1].split("<script>")[0].lower()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pairs": None}, "give --labels"),
        ({"pairs": pd.DataFrame(columns=FIELDS)}, "None of these videos is labelled FAKE"),
        ({"detected": None}, "No frame could be looked at"),
        ({"charts": []}, "nothing to draw"),
        ({"table": table_of(row("a.jpg", status="image", reason="a picture"))}, "a picture"),
        ({"table": table_of(row("fake.mp4", audio_streams=1))}, "Every file is a video that can be read"),
    ],
)
def test_parts_that_are_missing(tmp_path, changes, said):
    if "table" in changes:
        changes |= {"pairs": None}
    html = write_page(tmp_path, findings(tmp_path, **changes)).read_text()
    assert said in html
    assert Page(html).open == []


def test_links_are_relative_and_hold_any_name(tmp_path):
    assert link(tmp_path / "a:b #1?.mp4", tmp_path / "report") == "../a%3Ab%20%231%3F.mp4"
    assert link(tmp_path / "x\udcff.mp4", tmp_path) == "x%FF.mp4"


@pytest.mark.parametrize(
    ("value", "shown"), [(3, "3"), (0.12345, "0.123"), (12345.6, "12346"), (float("nan"), ""), (None, ""), (pd.NA, "")]
)
def test_numbers(value, shown):
    assert number(value) == shown
