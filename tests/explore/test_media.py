"""Frames and sound written from videos made here."""

import json
import wave

import av
import cv2
import numpy as np
import pytest

from explore.audio import extract_audio
from explore.frames import extract_frames
from tests.explore.test_metadata import break_in, make_cover, remux
from tests.media import all_frames, spoil_packets, write_audio, write_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=50, audio=True)  # two seconds


def pictures_in(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def read(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize(
    ("rate", "numbers"), [(0.2, [0]), (1, [0, 25]), (3, [0, 9, 17, 25, 34, 42]), (1000, range(50)), (None, range(50))]
)
def test_frames_at_a_rate_are_the_first_of_each_interval(clip, tmp_path, rate, numbers):
    row = extract_frames([clip], tmp_path, rate).iloc[0]
    assert pictures_in(tmp_path / "clip") == [f"{number:05}.png" for number in numbers]
    assert (row["status"], row["reason"], row["frames"]) == ("ok", "", len(numbers))
    assert row["folder"] == str(tmp_path / "clip")


def test_frames_are_the_pictures_of_a_decode(clip, tmp_path):
    extract_frames([clip], tmp_path, 1)
    assert np.array_equal(read(tmp_path / "clip" / "00025.png"), all_frames(clip)[25])


def test_a_jpeg_is_close(clip, tmp_path):
    extract_frames([clip], tmp_path, 1, "jpg")
    assert np.abs(read(tmp_path / "clip" / "00025.jpg").astype(float) - all_frames(clip)[25]).mean() < 4


def test_frames_are_upright(tmp_path):
    path = write_video(tmp_path / "phone.mp4", frames=2, rotation=-90)
    extract_frames([path], tmp_path / "out")
    assert np.array_equal(read(tmp_path / "out" / "phone" / "00000.png"), np.rot90(all_frames(path)[0], -1))


def test_the_clock_starts_with_the_first_frame_and_follows_times(tmp_path):
    times = [0, 40, 80, 900, 1000, 1100, 2050]
    path = write_video(tmp_path / "late.mkv", frames=7, times=times, shift=500)
    extract_frames([path], tmp_path / "out", 1)
    assert pictures_in(tmp_path / "out" / "late") == ["00000.png", "00004.png", "00006.png"]


def test_what_is_complete_is_passed_over_and_what_is_not_is_done_again(clip, tmp_path):
    first = extract_frames([clip], tmp_path, 1)
    kept = tmp_path / "clip" / "00000.png"
    time = kept.stat().st_mtime_ns
    half = tmp_path / ".clip.part"  # as a kill leaves it
    half.mkdir()
    done = []
    assert extract_frames([clip], tmp_path, 1, progress=done.append).equals(first)
    assert kept.stat().st_mtime_ns == time and done == [1]
    (tmp_path / "clip" / ".complete.json").unlink()
    (half / "00049.png").touch()
    assert extract_frames([clip], tmp_path, 1).equals(first)
    assert kept.stat().st_mtime_ns > time and pictures_in(tmp_path / "clip") == ["00000.png", "00025.png"]
    assert not half.exists()
    extract_frames([clip], tmp_path, 3)  # another rate
    assert len(pictures_in(tmp_path / "clip")) == 6


def test_a_video_that_changed_is_done_again(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=50)
    extract_frames([path], tmp_path / "out", 1)
    write_video(path, frames=10)
    assert extract_frames([path], tmp_path / "out", 1)["frames"].tolist() == [1]
    assert json.loads((tmp_path / "out" / "a" / ".complete.json").read_text())["bytes"] == path.stat().st_size


def test_a_damaged_video_gives_what_it_has_and_says_so(tmp_path):
    path = write_video(tmp_path / "hurt.mp4", frames=30, codec="mpeg4", options={"g": "1"})
    with path.open("r+b") as file, av.open(str(path)) as container:
        place = [packet.pos for packet in container.demux(video=0) if packet.size][7]
        file.seek(place)
        file.write(bytes(16))  # not even the start of a picture
    row = extract_frames([path], tmp_path / "out", None).iloc[0]
    assert (row["status"], row["frames"], row["reason"]) == ("ok", 29, "header says 30 frames, 29 readable")


def test_nothing_that_can_be_decoded_leaves_no_folder(tmp_path):
    path = spoil_packets(
        write_video(tmp_path / "noise.mp4", frames=6, codec="mjpeg", pixel_format="yuvj420p"), range(6)
    )
    row = extract_frames([path], tmp_path / "out").iloc[0]
    if row["frames"] == 0:
        assert row["status"] == "unreadable" and list((tmp_path / "out").iterdir()) == []


def test_what_is_no_video_is_a_row(clip, tmp_path):
    videos = [write_audio(tmp_path / "sound.m4a"), make_cover(tmp_path), tmp_path / "folder.mp4", tmp_path / "fifo.mp4"]
    break_in("folder", videos[2])
    break_in("fifo", videos[3])
    rows = extract_frames([*videos, clip], tmp_path / "out")
    assert rows["status"].tolist() == ["no_video", "image", "unreadable", "unreadable", "ok"]
    assert (rows["reason"] != "").tolist() == [True, True, True, True, False]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip"]
    sounds = extract_audio([*videos[1:], clip], tmp_path / "sounds")
    assert sounds["status"].tolist() == ["no_audio", "unreadable", "unreadable", "ok"]


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(tmp_path, rate):
    with pytest.raises(ValueError, match="above 0"):
        extract_frames([], tmp_path, rate)


def test_one_place_for_two_videos_and_strange_endings_are_refused(tmp_path):
    for extract in (extract_frames, extract_audio):
        with pytest.raises(ValueError, match="one place"):
            extract([tmp_path / "a.mp4", tmp_path / "a.avi"], tmp_path)
        with pytest.raises(ValueError, match="not known here"):
            extract([], tmp_path, ending="bmp")


def sound_of(path):
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.concatenate(frames, axis=1)[0]


def packets_of(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def test_wav_is_the_decoded_sound(clip, tmp_path):
    row = extract_audio([clip], tmp_path).iloc[0]
    with wave.open(str(tmp_path / "clip.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    expected = sound_of(clip)
    assert len(samples) == len(expected) and np.abs(samples / 32768 - expected).max() < 1e-4
    assert (row["status"], row["codec"], row["file"]) == ("ok", "aac", str(tmp_path / "clip.wav"))
    assert row["bytes"] == (tmp_path / "clip.wav").stat().st_size


def test_aac_is_copied_packet_by_packet(clip, tmp_path):
    assert extract_audio([clip], tmp_path, "aac")["status"].tolist() == ["ok"]
    copied = packets_of(tmp_path / "clip.aac")
    assert [packet[7:] if packet[:1] == b"\xff" else packet for packet in copied] == packets_of(clip)
    copy, original = sound_of(tmp_path / "clip.aac"), sound_of(clip)  # the copy keeps what the encoder put before
    assert np.allclose(copy[-len(original) :], original, atol=1e-6)


def test_sound_is_found_behind_and_before_the_picture(clip, tmp_path):
    swapped = remux(
        tmp_path / "swapped.mp4", write_audio(tmp_path / "s.m4a"), write_video(tmp_path / "v.mp4", frames=5)
    )
    rows = extract_audio([clip, swapped], tmp_path / "out")
    assert rows["bytes"].nunique() == 1 and rows["status"].tolist() == ["ok", "ok"]


def test_sound_that_is_not_aac_is_not_copied(tmp_path):
    path = tmp_path / "tone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2), file.setsampwidth(2), file.setframerate(8000), file.writeframes(bytes(3200))
    row = extract_audio([path], tmp_path / "out", "aac").iloc[0]
    assert (row["status"], row["codec"]) == ("not_aac", "pcm_s16le") and "extract wav" in row["reason"]
    assert extract_audio([path], tmp_path / "out", "wav")["status"].tolist() == ["ok"]


def test_a_silent_video_has_no_sound_and_no_file(tmp_path):
    row = extract_audio([write_video(tmp_path / "silent.mp4", frames=5)], tmp_path / "out").iloc[0]
    assert row["status"] == "no_audio" and not (tmp_path / "out").exists()


def test_sound_that_is_there_is_passed_over(clip, tmp_path):
    first = extract_audio([clip], tmp_path)
    written = (tmp_path / "clip.wav").stat().st_ino
    assert extract_audio([clip], tmp_path).equals(first) and (tmp_path / "clip.wav").stat().st_ino == written
    (tmp_path / "clip.wav").write_bytes(b"half")  # its time is not that of the video
    assert extract_audio([clip], tmp_path).equals(first)
