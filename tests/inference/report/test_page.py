"""The report, rendered from results made by hand: complete, escaped, self-contained, the same every time."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import pytest

from ensemble.blend import Blend
from inference.report.page import write_report
from inference.report.run_section import RunFacts
from inference.result import PersonResult, ScoredFace, Status, Thumbnail, VideoResult
from inference.schedule.planner import Plan
from inference.schedule.scheduler import Change
from inference.stages import Profile
from tests.pages import Page

RUN = RunFacts(
    title="Run <one> & only",
    members=("lite0", "lite1"),
    sparing=True,
    frames_per_video=4,
    wall_seconds=12.5,
    device="cpu",
    versions={"torch": "2.11.0", "numpy": "2.4.6"},
    clip=(0.02, 0.98),
    blend=Blend.equal(["lite0", "lite1"]),
    command='dfdc predict "a b" --report <here>',
    profile=Profile(
        10.0, 2, 2, {"decode": 18.0, "detect": 2.0, "judge": 3.0}, {"decode": 9.0, "detect": 3.5, "judge": 5.0}
    ),
    plans=(Change(3.4, 6, Plan(8, 0)), Change(9.0, 2, Plan(1, 1, thorough=False))),
)


def jpeg(width: int = 64, height: int = 36) -> bytes:
    ramp = np.tile(np.linspace(0, 255, width, dtype=np.uint8)[None, :, None], (height, 1, 3))
    return bytes(cv2.imencode(".jpg", ramp)[1])


def face(second: float = 0.5, person: int = 0, prob_fake: float = 0.9, detector: str = "blazeface") -> ScoredFace:
    box = np.array([100, 60, 220, 200], dtype=np.float32)
    frame = round(second * 30) if math.isfinite(second) else 0
    return ScoredFace(frame, second, person, box, 0.95, detector, {"lite0": 2.0, "lite1": -1.0}, prob_fake)


def scored(filename: str, faces: tuple[ScoredFace, ...], duration: float = 2.0, prob_fake: float = 0.9) -> VideoResult:
    people = tuple(PersonResult(who, 1, prob_fake) for who in sorted({one.person for one in faces}))
    seconds = sorted({one.second for one in faces if math.isfinite(one.second)})
    thumbnails = tuple(Thumbnail(round(second * 30), second, jpeg(), 0.1) for second in seconds)
    stages = {"decode": 0.25, "judge": 0.5}
    return VideoResult(filename, "ok", prob_fake, "", 640, 360, 30.0, 60, duration, faces, people, thumbnails, stages)


def fallback(filename: str, status: Status, reason: str) -> VideoResult:
    return VideoResult(filename, status, 0.5, reason, seconds={"decode": 0.125})


RESULTS = (
    scored("one.mp4", (face(0.5), face(1.0, prob_fake=0.8), face(1.0, person=1, prob_fake=0.2, detector="mtcnn"))),
    fallback("none.mp4", "no_face", "no step found a face"),
    fallback("<script>alert(1)</script>.mp4", "unreadable", 'moov "atom" <missing> & gone'),
    scored("real.mp4", (face(0.0, prob_fake=0.1),), prob_fake=0.1),
    fallback("slow.mp4", "timed_out", "decode took 20 s"),
    fallback("late.mp4", "skipped_by_budget", "the budget was spent"),
)


# The table's order: scored videos from the highest P(fake) down, then those that were not scored, as given.
ORDERED = tuple(RESULTS[index] for index in (0, 3, 1, 2, 4, 5))


def render(tmp_path: Path, results: tuple[VideoResult, ...], **options: int) -> str:
    write_report(tmp_path / "report.html", results, RUN, **options)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def sections_of(html: str) -> list[str]:
    return re.findall(r'<article id="video-\d+".*?</article>', html, flags=re.DOTALL)


def test_every_video_has_a_row_with_its_facts(tmp_path: Path) -> None:
    html = render(tmp_path, RESULTS)
    rows = Page(html).rows
    assert list(rows) == [f"row-{index}" for index in range(len(RESULTS))]
    for row, result in zip(rows.values(), ORDERED, strict=True):
        assert row.startswith(result.filename)
        assert result.status in row
        assert f"{result.prob_fake:.3f}" in row
        assert row.endswith(result.reason)
        assert ("not scored" in row) == (result.status != "ok")


def test_a_video_beside_the_page_is_played_from_its_pictures(tmp_path: Path) -> None:
    name = "javascript:a #1?.mp4"
    results = (scored(name, (face(0.5), face(1.25))), scored("far.mp4", (face(0.5),)))
    videos = (tmp_path / "page" / "clips" / name, tmp_path / "elsewhere" / "far.mp4")
    for video in videos:
        video.parent.mkdir(parents=True)
        video.touch()
    write_report(tmp_path / "page" / "report.html", results, RUN, videos={video.name: video for video in videos})
    html = (tmp_path / "page" / "report.html").read_text(encoding="utf-8")
    links = re.findall(r'href="([^"]*)" title="Play from here"', html)
    assert links == [f"clips/{quote(name)}#t=0.50", f"clips/{quote(name)}#t=1.25"]
    assert "Play from here" not in render(tmp_path, RESULTS)


def test_a_video_of_before_the_run_was_stopped_says_why_it_has_no_pictures(tmp_path: Path) -> None:
    before = dataclasses.replace(RESULTS[0], thumbnails=())
    with_pictures, without = sections_of(render(tmp_path, (RESULTS[3], before)))[::-1]
    assert "No pictures" in without and "--restart" in without
    assert "No pictures" not in with_pictures
    assert "No pictures" not in render(tmp_path, RESULTS), "one without faces has none to show"


def test_headline_counts_statuses(tmp_path: Path) -> None:
    html = render(tmp_path, RESULTS)
    assert "1 no_face, 1 skipped_by_budget, 1 timed_out, 1 unreadable; prior 0.5" in html
    assert "<dt>Scored</dt><dd>2<" in html
    assert "<dt>Not scored</dt><dd>4<" in html
    assert "<dt>Seconds per video</dt><dd>2.08<" in html  # 12.5 s over 6 videos
    assert "0.90 to 0.95: 1</title>" in html and "0.10 to 0.15: 1</title>" in html  # bins of the histogram
    assert "0.50 to 0.55" not in html  # a prior is no score


def test_where_the_time_went(tmp_path: Path) -> None:
    html = render(tmp_path, RESULTS)
    assert "<dt>Cores at work</dt><dd>1.8 of 2<small>bound by the CPU, most of all decoding</small>" in html
    assert "decoding, 2 at a time</th><td>18.0</td><td>90 %</td><td>9.0</td><td>51 %</td>" in html
    assert "8 frames, all members</th><td>3 s</td><td>6</td>" in html
    assert "1 frames, members of fallback 1, first look for faces only</th><td>9 s</td><td>2</td>" in html
    assert "detection</th><td>2.0</td><td>20 %</td><td>3.5</td><td>20 %</td>" in html


def test_tags_are_balanced_and_links_lead_somewhere(tmp_path: Path) -> None:
    page = Page(render(tmp_path, RESULTS))
    assert page.open == []
    ids = [values["id"] for _, values in page.elements if "id" in values]
    assert len(ids) == len(set(ids))
    links = [values["href"] for values in page.all("a")]
    assert links and all(link and link.startswith("#") and link[1:] in ids for link in links)


def test_text_is_escaped(tmp_path: Path) -> None:
    html = render(tmp_path, RESULTS)
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.mp4" in html
    assert "<missing>" not in html and "<here>" not in html and "<one>" not in html
    assert html.count("<script>") == 1  # ours


def test_a_filename_that_is_not_utf8_can_be_written(tmp_path: Path) -> None:
    html = render(tmp_path, (fallback("caf\udce9.mp4", "unreadable", ""),))
    assert "caf?.mp4" in html


def test_nothing_is_fetched(tmp_path: Path) -> None:
    html = render(tmp_path, RESULTS)
    assert "http://" not in html and "https://" not in html
    page = Page(html)
    assert all((values["src"] or "").startswith("data:image/jpeg;base64,") for values in page.all("img"))
    assert [values["href"] for values in page.all("link")] == ["data:,"]
    assert not any("src" in values for values in page.all("script"))
    assert "url(" not in html and "@import" not in html
    assert any("default-src 'none'" in (values.get("content") or "") for values in page.all("meta"))


def test_same_input_same_bytes(tmp_path: Path) -> None:
    write_report(tmp_path / "a.html", RESULTS, RUN)
    turned = dataclasses.replace(RUN, versions=dict(reversed(RUN.versions.items())))
    write_report(tmp_path / "b.html", RESULTS, turned)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]  # no temporary left


def test_section_shows_faces_people_members_and_detectors(tmp_path: Path) -> None:
    section = next(text for text in sections_of(render(tmp_path, RESULTS)) if ">one.mp4<" in text)
    page = Page(section)
    assert len(page.all("img")) == 2
    boxes = [values for values in page.all("span") if (values.get("class") or "").startswith("box")]
    assert [box["class"] for box in boxes] == ["box p0", "box p0", "box p1"]
    # 100..220 of 640 and 60..200 of 360 pixels
    assert boxes[0]["style"] == "left:15.6%;top:16.7%;width:18.8%;height:38.9%"
    assert "P(fake) 0.200, found by mtcnn at 0.95" in (boxes[2]["title"] or "")
    assert len(page.all("circle")) == 3
    assert page.all("path") == [{"d": "M25.00 10.00L50.00 20.00"}]  # person 1 has one face: a dot, no line
    assert "lite0</th><td>2.00</td><td>0.881</td>" in section
    assert "blazeface</th><td>2</td>" in section and "mtcnn</th><td>1</td>" in section


DEGENERATE = {
    "one face": scored("x.mp4", (face(),)),
    "no faces": dataclasses.replace(scored("x.mp4", (face(),)), faces=(), people=()),
    "zero duration": scored("x.mp4", (face(0.0), face(0.0, person=1)), duration=0.0),
    "NaN everywhere": dataclasses.replace(
        scored("x.mp4", (face(math.nan), face(0.5, prob_fake=math.nan), face(1.0)), duration=math.nan),
        prob_fake=math.nan,
        fps=math.inf,
        seconds={"decode": math.nan},
    ),
    "out of range": scored("x.mp4", (face(-1.0, prob_fake=1.7), face(9.0, prob_fake=-0.2)), prob_fake=3.0),
    "face without size": dataclasses.replace(scored("x.mp4", (face(),)), width=0, height=0),
    "many people": scored("x.mp4", tuple(face(0.1 * who, person=who) for who in range(9))),
    "huge logits": scored("x.mp4", (dataclasses.replace(face(), logits={"other <member>": -1e4}),)),
}


@pytest.mark.parametrize("result", DEGENERATE.values(), ids=DEGENERATE.keys())
def test_degenerate_videos_draw_only_finite_numbers_inside_the_frame(tmp_path: Path, result: VideoResult) -> None:
    html = render(tmp_path, (result,))
    page = Page(html)
    assert page.open == []
    drawn = re.sub(r"<style>.*?</style>|<script>.*?</script>|base64,[^\"]*", "", html, flags=re.DOTALL)
    assert not re.search(r"\b(nan|inf|infinity)\b", drawn, flags=re.IGNORECASE)
    for tag, values in page.elements:
        places = [values.get(name) for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height")]
        if tag in {"rect", "circle", "line", "text"}:
            assert all(0 <= float(place.rstrip("%")) <= 100 for place in places if place)
        if tag == "path":
            assert all(0 <= float(number) <= 100 for number in re.split("[ML ]", values["d"] or "") if number)
        if "style" in values:
            assert all(0 <= float(number) <= 100 for number in re.findall(r"(-?[\d.]+)%", values["style"] or ""))


def test_no_results_is_a_page_too(tmp_path: Path) -> None:
    page = Page(render(tmp_path, ()))
    assert page.open == []
    assert page.rows == {}


def test_sections_are_those_with_the_highest_scores_and_the_table_has_all(tmp_path: Path) -> None:
    results = (scored("a.mp4", (face(),), prob_fake=0.2), *RESULTS, scored("z.mp4", (face(),), prob_fake=0.95))
    html = render(tmp_path, results, max_sections=3)
    page = Page(html)
    names = [re.findall("<bdi>(.*?)</bdi>", section)[0] for section in sections_of(html)]
    assert names == ["z.mp4", "one.mp4", "a.mp4"]
    assert len(page.rows) == len(results)
    assert "3 of 8 videos" in html
    assert "#video-3" not in html  # its row leads nowhere
    assert sections_of(render(tmp_path, RESULTS, max_sections=0)) == []
    with pytest.raises(ValueError, match="-1"):
        render(tmp_path, RESULTS, max_sections=-1)


def test_a_score_that_is_no_number_comes_after_those_that_are(tmp_path: Path) -> None:
    odd = dataclasses.replace(scored("odd.mp4", ()), prob_fake=math.nan)
    rows = list(Page(render(tmp_path, (odd, *RESULTS))).rows.values())
    assert [row.startswith("odd.mp4") for row in rows].index(True) == 2
