"""`dfdc explore` from videos to a page: whatever lies in the folder, in one go or in two."""

import os
import shutil

import av
import pandas as pd
import pytest
from typer.testing import CliRunner

import cli.explore
import dfdc
from explore import run as module
from explore.run import ExploreOptions, explore, find_media
from tests.media import picture, truncate, write_audio, write_video
from tests.pages import Page

QUICK = ExploreOptions(frames=1, detectors=("haar", "blazeface_back"))


def write_two_streams(path):
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, size in zip(streams, ((96, 64), (64, 48)), strict=True):
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(12):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(picture(number, stream.width, stream.height), format="rgb24")
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))


def darker(number, width, height):
    """The same scene, a part of it changed."""
    image = picture(number, width, height)
    image[10:30, 10:30] //= 3
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory, media):
    """One of each: a face with sound or without, sound alone, two streams, half a file, an image, other files."""
    folder = tmp_path_factory.mktemp("odd")
    shutil.copy(media / "single_face.jpg", folder / "image.jpg")
    shutil.copy(media / "single_face.mp4", folder / "face.mp4")
    write_video(folder / "sound.mp4", 12, audio=True)
    write_audio(folder / "only_sound.mp4")
    write_two_streams(folder / "two.mp4")
    truncate(write_video(folder / "broken.mp4", 24), 0.5)
    (folder / "notes.txt").write_text("none of ours")
    return folder


@pytest.fixture(scope="module")
def report(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "report"
    explore(find_media([folder]), None, output, QUICK)
    return output


def run(*arguments):
    return CliRunner().invoke(dfdc.app, list(map(str, arguments)), catch_exceptions=False)


def test_the_page_says_what_each_file_was(report):
    html = (report / "index.html").read_text()
    table = pd.read_csv(report / "metadata.csv", keep_default_na=False).set_index("filename")
    assert table["status"].to_dict() == {
        "broken.mp4": "unreadable", "face.mp4": "ok", "image.jpg": "image", "only_sound.mp4": "no_video",
        "sound.mp4": "ok", "two.mp4": "ok",
    }  # fmt: skip
    odd = html.split("and what is odd</h2>")[1]
    for name in ("broken.mp4", "image.jpg", "only_sound.mp4", "two.mp4"):
        assert f"<bdi>{name}</bdi>" in odd
    assert "more than one video stream" in odd and "no sound" in odd
    assert "give --labels" in html and "notes.txt" not in html
    assert Page(html).open == []


def test_what_the_page_shows_is_there(report):
    page = Page((report / "index.html").read_text())
    sources = [image["src"] for image in page.all("img")]
    assert any("/frames/" in source for source in sources)
    assert "Frames per second by label" in (report / "index.html").read_text()
    assert not [source for source in sources if not (report / source).is_file()]


def test_a_second_run_does_nothing_anew_and_gives_the_same_page(folder, report, monkeypatch):
    before = (report / "index.html").read_bytes()

    def fail(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr("explore.detectors.decode", fail)
    monkeypatch.setattr("explore.gallery.decode", fail)
    monkeypatch.setattr("explore.metadata.read_facts", fail)
    stages = []
    explore(
        find_media([folder]),
        None,
        report,
        QUICK,
        lambda stage, total: stages.append((stage, total)) or (lambda _: None),
    )
    assert (report / "index.html").read_bytes() == before
    assert stages == [("metadata", 6), ("detectors", 3), ("pictures", 3)]


def test_fakes_are_held_against_originals_from_the_command_line(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    write_video(videos / "real.mp4", 12)
    write_video(videos / "fake.mp4", 12, draw=darker)
    labels = tmp_path / "labels.csv"
    labels.write_text("filename,label,original\nreal.mp4,REAL,\nfake.mp4,FAKE,real.mp4\n")
    done = run("explore", videos, "-o", tmp_path / "r", "--labels", labels, "--frames", 1, "--detectors", "haar")
    assert done.exit_code == 0
    assert done.stdout.strip() == str(tmp_path / "r" / "index.html")
    pairs = pd.read_csv(tmp_path / "r" / "pairs.csv")
    assert pairs[["fake", "original"]].to_numpy().tolist() == [["fake.mp4", "real.mp4"]]
    html = (tmp_path / "r" / "index.html").read_text()
    assert 'data-fake="../videos/fake.mp4"' in html


@pytest.mark.parametrize("name", ["frames", "audio"])
def test_a_folder_that_is_called_like_a_command_is_told_apart(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    told = CliRunner().invoke(cli.explore.app, [name, "-o", "out"])
    assert isinstance(told.exception, ValueError)
    assert f"to look at the folder: ./{name}" in str(told.exception)
    empty = CliRunner().invoke(cli.explore.app, [f"./{name}", "-o", "out"])
    assert "holds no video" in str(empty.exception)


def test_frames_and_audio_are_commands_below(folder, tmp_path):
    done = run("explore", "frames", folder / "sound.mp4", folder / "broken.mp4", "-o", tmp_path / "f", "--rate", "all",
               "--format", "jpg")  # fmt: skip
    assert done.exit_code == 0 and "unreadable" in done.stdout
    assert len(list((tmp_path / "f" / "sound").glob("*.jpg"))) == 12
    done = run("explore", "audio", folder / "sound.mp4", folder / "face.mp4", "-o", tmp_path / "a", "--format", "aac")
    assert done.exit_code == 0
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["sound.aac"]


def test_help_teaches_all_three():
    said = run("explore", "--help").stdout
    for words in ("dfdc explore VIDEOS -o", "explore frames VIDEOS", "explore audio VIDEOS", "--labels", "--detectors"):
        assert words in said
    assert "--rate" in run("explore", "frames", "--help").stdout
    assert "--format" in run("explore", "audio", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("explore", "nowhere", "-o", "r"), "nowhere does not exist"),
        (("explore", "frames", "nowhere", "-o", "r"), "nowhere does not exist"),
        (("explore", "frames", "dfdc.py", "-o", "r", "--rate", "some"), "--rate is 'some'"),
    ],
)
def test_mistakes_are_named(arguments, said):
    with pytest.raises(ValueError, match=said):
        run(*arguments)


def test_media_are_found_by_their_endings(folder, tmp_path):
    assert [path.name for path in find_media([folder, folder / "face.mp4"])] == [
        "broken.mp4", "face.mp4", "image.jpg", "only_sound.mp4", "sound.mp4", "two.mp4",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="holds no video"):
        find_media([tmp_path])
    with pytest.raises(ValueError, match="no videos were given"):
        find_media([])
    assert ".mp4" in module.MEDIA_ENDINGS


@pytest.mark.slow
def test_a_name_that_is_no_utf_8_ends_nothing(tmp_path, media):
    shutil.copy(media / "single_face.mp4", tmp_path / os.fsdecode(b"caf\xe9.mp4"))
    page = explore(find_media([tmp_path]), None, tmp_path / "report", QUICK)
    assert "caf?.mp4" in page.read_text(encoding="utf-8")
    assert b"caf\xe9.mp4" in (tmp_path / "report" / "boxes.csv").read_bytes()
