"""Videos to shards: on small encoded videos, in this process and in ones that are killed."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from common.errors import DfdcError
from faces.cascade import Cascade
from faces.decode.watchdog import VideoLimits
from faces.decode.worker import Decoded, md5_of
from faces.store import CropStore
from faces.turned import turn_frames
from faces.video import decode
from models.registry import member_specs
from tests.media import write_video
from tests.waiting import wait_until
from train.data.coverage import check_coverage
from train.data.extract import extract, plan_shards
from train.data.extract_video import ExtractOptions, extract_video
from train.data.metadata import Video
from train.data.table import BOX_COLUMNS, POINT_COLUMNS

ROOT = Path(__file__).resolve().parents[3]
SIZE = (480, 270)


@pytest.fixture(scope="module")
def part(media, tmp_path_factory) -> Path:
    """A part of DFDC with every kind of video: `fake` shows no face any more, `short` has other frames."""
    folder = tmp_path_factory.mktemp("data") / "dfdc_train_part_07"
    folder.mkdir()
    pictures = [cv2.resize(image, SIZE) for image in decode(media / "single_face.mp4", 12).images]

    def face(number, width, height):
        return pictures[number % len(pictures)]

    def covered(number, width, height):
        return np.random.default_rng(number).integers(0, 90, (height, width, 3), dtype=np.uint8)

    write_video(folder / "real.mp4", 12, SIZE, draw=face)
    write_video(folder / "fake.mp4", 12, SIZE, draw=covered)
    write_video(folder / "short.mp4", 7, SIZE, draw=face)
    write_video(folder / "alone.mp4", 12, SIZE, draw=face)
    write_video(folder / "nobody.mp4", 12, (160, 90), draw=covered)
    (folder / "broken.mp4").write_bytes(b"no video at all")
    shutil.copy(folder / "real.mp4", folder / "unnamed.mp4")
    fakes = {"fake.mp4": "real.mp4", "short.mp4": "real.mp4", "alone.mp4": "elsewhere.mp4", "broken.mp4": "real.mp4"}
    entries = {name: {"label": "FAKE", "split": "train", "original": original} for name, original in fakes.items()}
    entries |= {name: {"label": "REAL", "split": "train"} for name in ("real.mp4", "nobody.mp4", "gone.mp4")}
    (folder / "metadata.json").write_text(json.dumps(entries))
    return folder


OPTIONS = ExtractOptions(frames=4, image_format="png", shard_videos=1, specs=member_specs())


@pytest.fixture(scope="module")
def done(part, tmp_path_factory):
    """The folder of an undisturbed run, its index and its videos."""
    folder = tmp_path_factory.mktemp("crops")
    extract([part], folder, OPTIONS, workers=0)
    read = {name: pd.read_csv(folder / f"{name}.csv", keep_default_na=False) for name in ("index", "videos")}
    return folder, read["index"], read["videos"].set_index("filename")


def test_every_video_has_a_row_and_a_reason(done):
    _, _, videos = done
    assert videos["status"].to_dict() == {
        "real.mp4": "ok", "fake.mp4": "ok", "short.mp4": "ok", "alone.mp4": "ok",
        "nobody.mp4": "no_face", "broken.mp4": "unreadable", "gone.mp4": "missing", "unnamed.mp4": "unlabelled",
    }  # fmt: skip
    assert (videos.loc[videos["status"] != "ok", "reason"] != "").all()
    assert videos.loc["broken.mp4", "md5"] and set(videos["part"]) == {7}


def test_a_fake_is_cut_where_its_original_shows_the_face(done):
    _, index, videos = done
    assert videos["boxes_from"].to_dict()["fake.mp4"] == "original"
    real, fake = (index[index["filename"] == name].reset_index(drop=True) for name in ("real.mp4", "fake.mp4"))
    columns = ["frame", "person", "crop_left", "crop_top", *BOX_COLUMNS, *POINT_COLUMNS]
    assert len(real) == 4
    pd.testing.assert_frame_equal(real[columns], fake[columns])


def test_a_fake_of_another_length_is_searched_for_itself(done):
    _, index, videos = done
    assert videos.loc["short.mp4", "boxes_from"] == "own"
    assert index[index["filename"] == "short.mp4"]["frame"].max() < 7


def test_a_fake_follows_its_original_and_keeps_its_name(done):
    _, index, _ = done
    groups = dict(zip(index["filename"], index["original_group"], strict=True))
    assert groups == {"real.mp4": "real.mp4", "fake.mp4": "real.mp4", "short.mp4": "real.mp4",
                      "alone.mp4": "elsewhere.mp4"}  # fmt: skip


def test_a_stored_crop_is_a_window_of_the_frame(done, part):
    folder, index, _ = done
    store, frames = CropStore([folder]), decode(part / "real.mp4", 4)
    for _, row in index[index["filename"] == "real.mp4"].iterrows():
        crop = store.read(row["face"])
        image = frames.images[frames.indices.tolist().index(row["frame"])]
        left, top = row["crop_left"], row["crop_top"]
        assert crop.shape[:2] == (row["crop_height"], row["crop_width"])
        assert (crop == image[top : top + crop.shape[0], left : left + crop.shape[1]]).all()


def test_index_agrees_with_the_shards_and_the_files(done, part):
    folder, index, _ = done
    assert index["face"].is_unique and set(index["face"]) == CropStore([folder]).index.keys()
    assert index["md5"].tolist() == [md5_of(part / name) for name in index["filename"]]
    with tarfile.open(sorted(folder.glob("*.tar"))[0]) as tar:
        entries = tar.getmembers()
    assert all((e.mtime, e.uid, e.gid, e.uname, e.gname) == (0, 0, 0, "", "") for e in entries)
    for path in folder.glob("*.tar"):
        with tarfile.open(path) as tar:
            spans = [(entry.name, entry.offset_data, entry.size) for entry in tar]
        rows = pd.read_csv(path.with_suffix(".csv"))
        assert list(zip(rows["face"], rows["tar_offset"], rows["tar_size"], strict=True)) == spans


def test_shards_of_an_earlier_version_count_and_their_new_columns_stay_empty(done, part, tmp_path):
    shutil.copytree(done[0], tmp_path / "out")
    old = tmp_path / "out/shard_00000.csv"
    old.write_text("".join(line.rsplit(",", 2)[0] + "\n" for line in old.read_text().splitlines()))
    extract([part], tmp_path / "out", OPTIONS, workers=0)
    index = pd.read_csv(tmp_path / "out/index.csv", keep_default_na=False)
    assert (index["tar_offset"] == "").sum() == len(old.read_text().splitlines()) - 1
    new = ["tar_offset", "tar_size"]
    assert index.drop(columns=new).equals(done[1].drop(columns=new))


def test_stored_crops_cover_every_member_and_a_wider_one_is_refused(done):
    _, index, _ = done
    for spec in member_specs():
        check_coverage(index, spec)
    tight = index.assign(crop_left=index["crop_left"] + 1, crop_width=index["crop_width"] - 1)
    with pytest.raises(ValueError, match="4 of 4 stored crops are too small for 'wide'"):
        check_coverage(tight[tight["filename"] == "real.mp4"], member_specs()[0].__class__("wide", 64, margin=0.75))


def test_a_finished_run_does_nothing_again(done, part):
    folder, _, _ = done
    before = {p.name: p.stat().st_mtime_ns for p in folder.glob("shard_*")}
    assert "no_face: 1 videos: nobody.mp4" in str(extract([part], folder, OPTIONS, workers=0))
    assert {p.name: p.stat().st_mtime_ns for p in folder.glob("shard_*")} == before


def test_other_options_or_videos_are_refused_by_name(done, part, tmp_path):
    folder, _, _ = done
    other = ExtractOptions(frames=5, image_format="png", shard_videos=1, specs=OPTIONS.specs)
    with pytest.raises(ValueError, match=r"frames was 4, is 5"):
        extract([part], folder, other, workers=0)
    labels = tmp_path / "labels.csv"
    labels.write_text("filename,label\nreal.mp4,REAL\nnew.mp4,FAKE\n")
    with pytest.raises(ValueError, match=r"videos are gone, the first is gone.mp4; 1 videos are new.*new.mp4"):
        extract([part], folder, OPTIONS, labels, workers=0)


def test_two_runs_in_one_folder_are_refused(done, part):
    folder, _, _ = done
    code = "import fcntl, sys; h = open(sys.argv[1], 'w'); fcntl.flock(h, 2); print('held', flush=True)"
    hold = [sys.executable, "-c", f"{code}; sys.stdin.read()", str(folder / ".lock")]
    holder = subprocess.Popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(DfdcError, match="another extraction is at work"):
            extract([part], folder, OPTIONS, workers=0)
    finally:
        holder.kill()
        holder.wait()


def test_a_video_can_be_set_aside(part, tmp_path):
    extract([part / "alone.mp4", part / "real.mp4"], tmp_path, OPTIONS, _labels(tmp_path), workers=0, skip=["real.mp4"])
    videos = pd.read_csv(tmp_path / "videos.csv", keep_default_na=False).set_index("filename")
    assert videos.loc["real.mp4", ["status", "reason"]].tolist() == ["unreadable", "set aside with --skip"]
    with pytest.raises(ValueError, match=r"--skip 'nope.mp4'"):
        extract([part / "real.mp4"], tmp_path / "b", OPTIONS, _labels(tmp_path), workers=0, skip=["nope.mp4"])


class InThisProcess:
    """A decoder without a process."""

    def decode(self, job):
        frames = decode(job.path, job.frames, threads=1)
        return Decoded(Path(job.path), frames, "ok", "", 0.0, md5=md5_of(Path(job.path)))


@pytest.fixture(scope="module")
def detector():
    return Cascade(torch.device("cpu"), threads=1)


@pytest.fixture
def loaded(detector, monkeypatch):
    """Every extraction finds the networks loaded, which takes longer than all the rest."""
    monkeypatch.setattr("train.data.extract.Cascade", lambda *_, **__: detector)


@pytest.mark.parametrize("name", ["real.mp4", "short.mp4"])
def test_a_process_that_decodes_changes_no_byte(done, part, name, detector):
    """What comes through it is what comes without it: rows, and encoded crops."""
    folder, index, videos = done
    facts = videos.loc[name]
    video = Video(name, part / name, facts["label"], facts["original"], facts["original_group"], "7", "train")
    out = extract_video(video, OPTIONS, InThisProcess(), detector, None)
    store = CropStore([folder])
    assert len(out.faces) == len(index[index["filename"] == name]) > 0
    for row, data in out.faces:
        assert (store.read(row["face"]) == cv2.imdecode(np.frombuffer(data, np.uint8), 1)[..., ::-1]).all()
    assert [str(out.row[key]) for key in videos.columns] == [str(value) for value in facts]


# Run by each process that decodes before anything else; {what} is done when it comes to alone.mp4.
HURT = """
import os, signal, time
import faces.video
real = faces.video.decode
def decode(path, *given, **how):
    if path.name == "alone.mp4":
        {what}
    return real(path, *given, **how)
faces.video.decode = decode
"""


@pytest.mark.parametrize(
    ("what", "status", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed", "killed by signal 11"),
        ("time.sleep(10**6)", "timed_out", "did nothing within the limit of 6 s"),
        ("taken = b'x' * (1 << 30); time.sleep(10**6)", "crashed", "more memory than the limit of 900 MiB"),
    ],
)
@pytest.mark.usefixtures("loaded")
@pytest.mark.slow
def test_a_video_that_its_decoder_does_not_survive_is_a_row(part, tmp_path, monkeypatch, what, status, reason):
    (tmp_path / "sitecustomize.py").write_text(HURT.format(what=what))
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(ROOT), *sys.path])
    limits = VideoLimits(seconds=6.0, memory=900 << 20)
    inputs, labels = [part / "alone.mp4", part / "real.mp4"], _labels(tmp_path)
    extract(inputs, tmp_path / "out", OPTIONS, labels, workers=0, limits=limits)
    videos = pd.read_csv(tmp_path / "out/videos.csv", keep_default_na=False).set_index("filename")
    assert videos["status"].to_dict() == {"alone.mp4": status, "real.mp4": "ok"}
    assert reason in videos.loc["alone.mp4", "reason"] and str(part) not in videos.loc["alone.mp4", "reason"]


@pytest.mark.usefixtures("loaded")
def test_a_decoder_that_was_killed_once_is_asked_again(part, tmp_path, monkeypatch):
    """As the system does where memory runs out."""
    what = f"mark = '{tmp_path}/died'; os.path.exists(mark) or (open(mark, 'w').close(), os.kill(os.getpid(), 9))"
    (tmp_path / "sitecustomize.py").write_text(HURT.format(what=what))
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(ROOT), *sys.path])
    summary = extract([part / "alone.mp4"], tmp_path / "out", OPTIONS, _labels(tmp_path), workers=0)
    assert (tmp_path / "died").exists() and summary.names == {"missing": ["real.mp4"], "ok": ["alone.mp4"]}


def _labels(folder: Path) -> Path:
    (folder / "given.csv").write_text("filename,label\nreal.mp4,REAL\nalone.mp4,FAKE\n")
    return folder / "given.csv"


@pytest.mark.parametrize(("options", "count"), [({"fps": 5.0}, 2), ({"every_frame": True}, 12)])
def test_frames_by_rate_and_all_of_them(part, tmp_path, options, count):
    extract([part / "alone.mp4"], tmp_path, ExtractOptions(**options), _labels(tmp_path), workers=0)
    index = pd.read_csv(tmp_path / "index.csv")
    assert len(index) == count and index["face"].str.endswith(".jpg").all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fps": 2.0, "every_frame": True}, "exclude each other"),
        ({"image_format": "gif"}, "gif"),
        ({"margin": -0.1}, "margin -0.1"),
        ({"fps": 0.0}, "fps 0"),
        ({"frames": 0}, "frames 0"),
    ],
)
def test_wrong_options_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        ExtractOptions(**wrong)


def test_families_stay_whole_and_originals_come_first():
    def video(name, original=""):
        return Video(name, None, "FAKE", original)

    videos = [video("a", "z"), video("b"), video("c", "z"), video("d", "e"), video("e", "d"), video("z")]
    shards = plan_shards(videos, 2)
    assert [[v.filename for v in shard.videos] for shard in shards] == [["z", "a", "c"], ["b", "d", "e"]]


# --- processes


def command(part: Path, folder: Path, workers: int) -> list[str]:
    return [sys.executable, str(ROOT / "dfdc.py"), "extract", str(part), "-o", str(folder), "--frames", "4",
            "--format", "png", "--shard-videos", "1", "--workers", str(workers), "--device", "cpu"]  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"}


# `dfdc extract`, which stops before its last step and waits there to be killed.
HELD = """
import threading
import train.data.extract
train.data.extract._merge = lambda *_: threading.Event().wait()
from dfdc import main
main()
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(done, part, tmp_path):
    """kill -9 while shards are made; the run that is compared with did without other processes."""
    undisturbed, _, _ = done
    held = [sys.executable, "-c", HELD, *command(part, tmp_path, 1)[2:]]
    run = subprocess.Popen(held, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
    wait_until(lambda: list(tmp_path.glob("shard_00000.csv")), "the first shard is there")
    run.kill()
    run.wait()
    assert not (tmp_path / "index.csv").exists()
    wait_until(lambda: not _group_lives(run.pid), "the orphaned worker is gone too")
    again = subprocess.run(command(part, tmp_path, 1), check=False, capture_output=True, text=True, timeout=600)
    assert again.returncode == 0, again.stderr
    assert "no_face: 1 videos: nobody.mp4" in again.stderr
    assert contents(tmp_path) == contents(undisturbed)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def interrupted(part: Path, folder: Path, interrupt: Callable[[int], None]) -> tuple[Path, int, bytes]:
    """Interrupt a run in the middle of a shard; one that was over sooner is begun again in a fresh folder.

    Returns its folder, exit code and stderr.
    """
    for attempt in range(20):
        output = folder / str(attempt)
        run = subprocess.Popen(command(part, output, 1), stderr=subprocess.PIPE, start_new_session=True)
        wait_until(lambda at=output, run=run: list(at.glob(".shard_*.now")) or run.poll() is not None, "it is begun")
        with contextlib.suppress(OSError):  # it may be over by now
            interrupt(run.pid)
        _, told = run.communicate(timeout=600)
        if run.returncode not in (0, -signal.SIGINT):  # by the signal: it came when the command was over
            return output, run.returncode, told
    raise AssertionError("twenty runs were over before they could be interrupted")


def kill_workers(pid: int) -> None:
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
            os.kill(int(child), signal.SIGKILL)


@pytest.mark.slow
def test_a_video_on_which_workers_die_is_given_up_and_no_other(done, part, tmp_path, monkeypatch):
    """Decoding survives; what finds faces does not, each time it comes to this video."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.abc, os, signal, sys\n"
        "class Watch(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, *_):\n"
        "        module = sys.modules.get('train.data.extract_video')\n"
        "        if hasattr(module, '_cut_all') and not hasattr(module, 'real'):\n"
        "            module.real = module._cut_all\n"
        "            module._cut_all = self.cut\n"
        "    def cut(self, out, *given):\n"
        "        if out.row['filename'] == 'short.mp4':\n"
        "            os.kill(os.getpid(), signal.SIGSEGV)\n"
        "        return sys.modules['train.data.extract_video'].real(out, *given)\n"
        "sys.meta_path.insert(0, Watch())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    again = subprocess.run(command(part, tmp_path / "out", 2), check=False, capture_output=True, text=True, timeout=600)
    assert again.returncode == 0, again.stderr
    videos = pd.read_csv(tmp_path / "out/videos.csv", keep_default_na=False).set_index("filename")
    expected = done[2]["status"].to_dict() | {"short.mp4": "crashed"}
    assert videos["status"].to_dict() == expected
    assert videos.loc["short.mp4", "reason"] == "the process that worked on it died 2 times"
    assert (tmp_path / "out/shard_00000.tar").read_bytes() == (done[0] / "shard_00000.tar").read_bytes()


@pytest.mark.slow
def test_a_worker_that_dies_costs_nothing(done, part, tmp_path):
    """It is killed in the middle of a shard, and the run goes on to the same bytes."""
    output = tmp_path / "out"
    run = subprocess.Popen(command(part, output, 1), stderr=subprocess.PIPE, start_new_session=True)
    wait_until(lambda: list(output.glob(".shard_*.now")) or run.poll() is not None, "a shard is begun")
    with contextlib.suppress(OSError):
        kill_workers(run.pid)
    _, told = run.communicate(timeout=600)
    assert run.returncode == 0, told
    assert contents(output) == contents(done[0])


@pytest.mark.slow
def test_ctrl_c_ends_in_one_line(part, tmp_path):
    output, code, told = interrupted(part, tmp_path, lambda pid: os.killpg(pid, signal.SIGINT))
    assert code == 130 and b"Traceback" not in told
    assert b"dfdc: stopped; the shards that are whole are in" in told.splitlines()[-1]
    assert not list(output.glob(".*.tmp"))


def test_a_fake_takes_the_turn_of_its_original_with_its_boxes(detector, media, tmp_path):
    clip = turn_frames(decode(media / "single_face.mp4", 4), 1)
    height, width = clip.images[0].shape[:2]
    path = write_video(tmp_path / "lying.mp4", 4, (width, height), draw=lambda number, *_: clip.images[number])
    video = Video("lying.mp4", path, "REAL")
    original = extract_video(video, OPTIONS, InThisProcess(), detector, None)
    assert "lay on its side" in original.row["reason"]
    fake = extract_video(video, OPTIONS, InThisProcess(), detector, original.seen)
    assert (original.row["boxes_from"], fake.row["boxes_from"]) == ("own", "original")
    assert [crop for _, crop in fake.faces] == [crop for _, crop in original.faces] != []
