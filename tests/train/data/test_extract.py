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

from common.errors import DfdcError
from faces.store import CropStore
from faces.video import decode
from tests.media import write_video
from tests.waiting import wait_until
from train.data.coverage import check_coverage
from train.data.extract import extract, member_specs, plan_shards
from train.data.extract_video import ExtractOptions, md5_of
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
        wait_until(lambda at=output: list(at.glob(".shard_*.now")), "a shard is begun")
        with contextlib.suppress(OSError):  # it may be over by now
            interrupt(run.pid)
        _, told = run.communicate(timeout=600)
        if run.returncode != 0:
            return output, run.returncode, told
    raise AssertionError("twenty runs were over before they could be interrupted")


def kill_workers(pid: int) -> None:
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
            os.kill(int(child), signal.SIGKILL)


def test_a_dead_worker_is_told_with_its_video(part, tmp_path):
    _, code, told = interrupted(part, tmp_path, kill_workers)
    assert code == 1, told
    assert b"a worker process died" in told and b".mp4" in told and b"Traceback" not in told


def test_ctrl_c_ends_in_one_line(part, tmp_path):
    output, code, told = interrupted(part, tmp_path, lambda pid: os.killpg(pid, signal.SIGINT))
    assert code == 1 and b"stopped; the same command goes on" in told and b"Traceback" not in told
    assert not list(output.glob(".*.tmp"))
