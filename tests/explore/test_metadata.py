"""Labels and the metadata table, on files made here: whole, odd and broken."""

import json
import os
import shutil
import socket

import av
import numpy as np
import pandas as pd
import pytest

from explore.metadata import COLUMNS, metadata_table, read_facts, write_table
from explore.video_labels import read_video_labels, unmatched
from tests.media import claim_frames, truncate, write_audio, write_video


def table_of(videos, tmp_path, labels=None, **options):
    known = read_video_labels(labels, videos)
    return metadata_table(videos, known, tmp_path / "cache.jsonl", **options).set_index("filename")


def remux(target, *sources, covers=()):
    """Copy the streams of `sources` into one file, in that order; those in `covers` become cover art."""
    inputs = [av.open(str(source)) for source in sources]
    with av.open(str(target), "w") as out:
        streams = []
        for number, container in enumerate(inputs):
            for stream in container.streams:
                copy = out.add_stream_from_template(stream, opaque=True)
                if number in covers:
                    copy.disposition = av.stream.Disposition.attached_pic
                streams.append((container, stream, copy))
        for container, stream, copy in streams:
            container.seek(0)
            for packet in container.demux(stream):
                if packet.size:
                    packet.stream = copy
                    out.mux(packet)
    for container in inputs:
        container.close()
    return target


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=30, size=(96, 64), audio=True)


def test_metadata_json_is_read_beside_the_videos(tmp_path):
    entries = {
        "real.mp4": {"label": "REAL", "split": "train", "original": None},
        "self.mp4": {"label": "REAL", "original": "other.mp4"},
        "fake.mp4": {"label": "FAKE", "split": "train", "original": "real.mp4"},
        "gone.mp4": {"label": "FAKE", "split": "train", "original": "real.mp4"},
        "odd.mp4": {"label": "FAKE", "original": "NAN"},
    }
    (tmp_path / "metadata.json").write_text(json.dumps(entries))
    videos = [tmp_path / name for name in ("real.mp4", "self.mp4", "fake.mp4", "odd.mp4", "new.mp4")]
    labels = read_video_labels(None, videos).set_index("filename")
    assert labels.loc["fake.mp4"].tolist() == ["FAKE", "real.mp4", "train", "real.mp4"]
    assert labels.loc["real.mp4"].tolist() == ["REAL", "", "train", "real.mp4"]
    assert labels.loc["self.mp4"].tolist() == ["REAL", "", "", "self.mp4"]
    assert labels.loc["odd.mp4"].tolist() == ["FAKE", "", "", "odd.mp4"]
    assert labels.loc["new.mp4"].tolist() == ["", "", "", "new.mp4"]
    counts = unmatched(labels.reset_index(), videos)
    assert (counts.without_file, counts.without_label) == (1, 1)


def test_a_csv_gives_labels_and_groups(tmp_path):
    csv = tmp_path / "clips.csv"
    csv.write_text("filename,label,source,group\na.mp4,fake,x,g1\nb.mp4,UNKNOWN,x,\n")
    labels = read_video_labels(csv, [tmp_path / "a.mp4", tmp_path / "b.mp4"])
    assert labels["label"].tolist() == ["FAKE", ""]
    assert labels["group"].tolist() == ["g1", "b.mp4"]


def test_without_any_labels_they_are_empty(tmp_path):
    assert read_video_labels(None, [tmp_path / "a.mp4"])["label"].tolist() == [""]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "name,label\nx,FAKE\n", "needs a column 'label' and 'filename'"),
        ("a.csv", "filename,label\nx,FAKE\nx,REAL\n", "REAL and FAKE of 'x'"),
        ("a.csv", "filename,label,original\nx,FAKE,y\nx,FAKE,z\n", "different things of 'x'"),
        ("a.json", "[1]", "holds a list"),
        ("a.json", "{", "cannot be read as JSON"),
        ("none.csv", None, "cannot be read"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(tmp_path, name, text, says):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=says):
        read_video_labels(tmp_path / name, [])


def test_every_field_of_a_whole_video(clip):
    facts = read_facts(clip)
    with av.open(str(clip)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        rates = video.codec_context.bit_rate, audio.codec_context.bit_rate
        packets = sum(packet.size > 0 for packet in container.demux(audio))
        length = float(audio.duration * audio.time_base)
    assert facts == {
        **{"status": "ok", "reason": "", "format": "mov,mp4,m4a,3gp,3g2,mj2", "video_codec": "h264"},
        **{"width": 96, "height": 64, "frames": 30, "bit_rate": rates[0], "duration": 1.2, "start_time": 0.0},
        **{"fps": 25.0, "rotation": 0, "video_streams": 1, "audio_codec": "aac", "channels": 1, "sample_rate": 16000},
        **{"audio_frames": packets, "audio_bit_rate": rates[1], "audio_duration": length},
        **{"audio_start_time": 0.0, "audio_streams": 1, "bytes": clip.stat().st_size},
    }


def test_sound_before_the_picture_is_not_taken_for_it(clip, tmp_path):
    sound, silent = write_audio(tmp_path / "sound.m4a"), write_video(tmp_path / "silent.mp4", frames=10)
    facts = read_facts(remux(tmp_path / "swapped.mp4", sound, silent))
    assert (facts["video_codec"], facts["audio_codec"], facts["frames"]) == ("h264", "aac", 10)


def test_a_video_without_sound_has_empty_fields(tmp_path):
    row = table_of([write_video(tmp_path / "silent.mp4", frames=5)], tmp_path).loc["silent.mp4"]
    assert row["status"] == "ok" and row["audio_streams"] == 0 and row["audio_codec"] == ""
    audio = ["channels", "sample_rate", "audio_frames", "audio_bit_rate", "audio_duration", "audio_start_time"]
    assert row[audio].isna().all()


def test_of_two_video_streams_the_first_is_described(tmp_path):
    small = write_video(tmp_path / "small.mp4", frames=10, size=(64, 48))
    large = write_video(tmp_path / "large.mp4", frames=10, size=(128, 96))
    facts = read_facts(remux(tmp_path / "two.mp4", small, large))
    assert (facts["video_streams"], facts["width"], facts["status"]) == (2, 64, "ok")


def make_cover(tmp_path):
    return write_video(tmp_path / "cover.png", frames=1, codec="png", pixel_format="rgb24")


def test_cover_art_is_no_video(tmp_path):
    facts = read_facts(remux(tmp_path / "song.mp4", write_audio(tmp_path / "s.m4a"), make_cover(tmp_path), covers=[1]))
    assert (facts["status"], facts["video_streams"], facts["width"]) == ("no_video", 0, None)
    assert facts["reason"] == "holds only audio, cover art" and facts["audio_codec"] == "aac"


def test_an_image_is_called_one_whatever_its_name(tmp_path):
    cover = make_cover(tmp_path)
    for path in (cover, shutil.copy(cover, tmp_path / "image.mp4")):
        facts = read_facts(tmp_path / path)
        assert (facts["status"], facts["width"], facts["fps"], facts["duration"]) == ("image", 96, None, None)
        assert (facts["frames"], facts["video_streams"]) == (1, 0)


def test_rotation_is_told_and_sizes_are_as_stored(tmp_path):
    facts = read_facts(write_video(tmp_path / "phone.mp4", frames=5, rotation=-90))
    assert (facts["rotation"], facts["width"], facts["height"]) == (90, 96, 64)


def test_the_codec_is_named_not_its_decoder(tmp_path):
    with av.open(str(tmp_path / "a.mp3"), "w") as container:
        stream = container.add_stream("mp3", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4608), np.int16), format="s16p", layout="mono")
        frame.sample_rate = 16000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert read_facts(tmp_path / "a.mp3")["audio_codec"] == "mp3"  # libav decodes it by "mp3float"


def test_a_codec_that_is_not_known_is_told_and_another_stream_preferred(tmp_path):
    small = write_video(tmp_path / "small.mp4", frames=10, size=(64, 48))
    large = write_video(tmp_path / "large.mp4", frames=10, size=(128, 96))
    two = remux(tmp_path / "two.mp4", small, large)
    for path in (small, two):
        data = path.read_bytes()
        at = data.index(b"avc1", data.index(b"stsd"))  # of the first stream
        path.write_bytes(data[:at] + b"zzzz" + data[at + 4 :])
    facts = read_facts(small)
    assert (facts["status"], facts["width"]) == ("unreadable", None) and "codec is not known" in facts["reason"]
    facts = read_facts(two)
    assert (facts["status"], facts["video_streams"], facts["width"]) == ("ok", 2, 128)


def test_matroska_says_no_count_so_packets_are_counted(clip, tmp_path):
    facts = read_facts(remux(tmp_path / "clip.mkv", clip))
    assert facts["frames"] == 30
    assert facts["audio_frames"] == read_facts(clip)["audio_frames"]
    assert facts["duration"] == pytest.approx(1.2, abs=0.05)


def test_a_header_that_claims_too_much_is_not_believed(tmp_path):
    path = write_video(tmp_path / "a.avi", frames=20, codec="mpeg4")
    assert read_facts(claim_frames(path, 500))["frames"] == 20


def test_a_video_that_starts_late_says_when(tmp_path):
    path = write_video(tmp_path / "late.ts", frames=20, shift=2000)
    assert read_facts(path)["start_time"] == pytest.approx(2.0)


def break_in(kind, path):
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link to nothing":
        path.symlink_to(path.with_name("gone"))
    elif kind == "cut off":
        truncate(write_video(path, frames=30, container_options={"movflags": "faststart"}), 0.7)
    elif kind == "header lost":
        truncate(write_video(path, frames=30), 0.5)
    else:
        path.write_bytes({"empty": b"", "noise": np.random.default_rng(0).bytes(5000)}[kind])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("folder", "is a folder"),
        ("fifo", "is not a regular file"),
        ("link to nothing", "No such file"),
        ("empty", "zero bytes"),
        ("noise", "is not a video"),
        ("header lost", "is not a video"),
        ("cut off", "the file ends before"),
    ],
)
def test_what_cannot_be_read_is_a_row_with_a_reason(tmp_path, kind, reason):
    break_in(kind, tmp_path / "bad.mp4")
    row = table_of([tmp_path / "bad.mp4"], tmp_path).loc["bad.mp4"]
    assert row["status"] == "unreadable" and reason in row["reason"]
    assert row[["width", "frames", "duration", "video_streams"]].isna().all()


def test_a_playlist_fetches_nothing(tmp_path):
    path = tmp_path / "list.m3u8"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x.ts"
        path.write_text(f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{address}\n#EXT-X-ENDLIST\n")
        assert read_facts(path)["status"] == "unreadable"
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_the_table_is_joined_with_labels_and_counts_fakes(clip, tmp_path):
    names = ["real.mp4", "lone.mp4", "one.mp4", "new.mp4"]
    for name in names:
        shutil.copy(clip, tmp_path / name)
    fake = {"label": "FAKE", "original": "real.mp4", "split": "train"}
    entries = {"real.mp4": {"label": "REAL"}, "lone.mp4": {"label": "REAL"}, "one.mp4": fake, "gone.mp4": fake}
    (tmp_path / "metadata.json").write_text(json.dumps(entries))
    done = []
    table = table_of([tmp_path / name for name in names], tmp_path, progress=done.append)
    assert ["filename", *table.columns] == list(COLUMNS) and list(table.index) == names and done == [1] * 4
    assert table["fakes_of_original"].tolist() == [2, 0, 2, pd.NA]
    assert table["group"].tolist() == ["real.mp4", "lone.mp4", "real.mp4", "new.mp4"]
    assert table["label"].tolist() == ["REAL", "REAL", "FAKE", ""]


def test_labels_without_originals_count_no_fakes(clip, tmp_path):
    csv = tmp_path / "labels.csv"
    csv.write_text("filename,label\nclip.mp4,REAL\n")
    assert table_of([clip], tmp_path, csv)["fakes_of_original"].isna().all()


def test_two_files_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="have one name"):
        table_of([tmp_path / "a" / "x.mp4", tmp_path / "b" / "x.mp4"], tmp_path)


def test_a_run_that_was_killed_goes_on(clip, tmp_path, monkeypatch):
    videos = [shutil.copy(clip, tmp_path / name) for name in ("a.mp4", "b.mp4", "c.mp4")]
    first = table_of(videos, tmp_path)
    cache = tmp_path / "cache.jsonl"
    whole = cache.read_text()
    cache.write_text(whole[:-20])  # the last line is torn, in the middle of its text
    read = []
    monkeypatch.setattr("explore.metadata.read_facts", lambda path: read.append(path) or read_facts(path))
    pd.testing.assert_frame_equal(table_of(videos, tmp_path), first)
    assert len(read) == 1 and sorted(cache.read_text().splitlines()) == sorted(whole.splitlines())
    write_video(videos[0], frames=7)
    assert table_of(videos, tmp_path)["frames"].tolist() == [7, 30, 30] and len(read) == 2


def test_written_tables_are_equal_and_the_same_each_time(clip, tmp_path):
    silent = write_video(tmp_path / "silent.mp4", frames=5)
    table = table_of([clip, silent], tmp_path).reset_index()
    csv, parquet = write_table(table, tmp_path / "one")
    again = write_table(table, tmp_path / "two")
    assert [path.read_bytes() for path in (csv, parquet)] == [path.read_bytes() for path in again]
    pd.testing.assert_frame_equal(pd.read_parquet(parquet).astype(table.dtypes), table)
    assert pd.read_csv(csv)["frames"].tolist() == [30, 5]
    assert csv.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert ",,0," in csv.read_text().splitlines()[2]  # no sound: empty fields, then no stream


def test_a_name_that_is_not_unicode_is_written(clip, tmp_path):
    odd = tmp_path / os.fsdecode(b"\xff.mp4")
    shutil.copy(clip, odd)
    csv, _ = write_table(metadata_table([odd], read_video_labels(None, [odd]), tmp_path / "cache.jsonl"), tmp_path)
    assert "?.mp4" in csv.read_text()
