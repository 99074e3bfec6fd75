"""One folder with every kind of bad and odd video that a test set may hold, and what is to be said of each."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from faces.video import decode
from tests.media import Image, claim_frames, spoil_packets, truncate, write_audio, write_video

FAST = {"movflags": "faststart"}  # the index stands before the pictures, so a cut file still has it


def make_bad_videos(folder: Path, face_clip: Path) -> dict[str, str]:
    """Fill `folder` with videos of a face from `face_clip`, damaged or odd; returns the expected status by name."""
    folder.mkdir(parents=True, exist_ok=True)
    faces = decode(face_clip, 12).images

    def face(number: int, width: int, height: int) -> Image:
        return np.asarray(cv2.resize(faces[number % len(faces)], (width, height)), dtype=np.uint8)

    def lying(number: int, width: int, height: int) -> Image:
        return np.ascontiguousarray(np.rot90(face(number, height, width)))

    size = (480, 270)
    write_video(folder / "rotated.mp4", 24, (270, 480), draw=lying, rotation=-90)
    jitter = np.cumsum(np.random.default_rng(0).integers(10, 90, 24)).tolist()
    write_video(folder / "variable_rate.mp4", 24, size, draw=face, times=jitter)
    write_video(folder / "no_audio.mp4", 24, size, draw=face)
    write_video(folder / "with_audio.mp4", 24, size, draw=face, audio=True)
    write_video(folder / "odd_size.mp4", 24, (481, 271), pixel_format="yuv444p", draw=face)
    write_video(folder / "one_frame.mp4", 1, size, draw=face)
    write_video(folder / "few_frames.mp4", 5, size, draw=face)
    claim_frames(write_video(folder / "wrong_count.avi", 24, size, "mjpeg", "yuvj420p", draw=face), 900)
    truncate(write_video(folder / "truncated.mp4", 48, size, container_options=FAST, draw=face), 0.6)
    truncate(write_video(folder / "no_index.mp4", 24, size, draw=face), 0.5)
    spoil_packets(write_video(folder / "damaged.mp4", 24, size, draw=face), [5, 6, 7])
    write_video(folder / "nobody.mp4", 12, (320, 180))
    write_audio(folder / "only_sound.mp4")
    (folder / "zero_bytes.mp4").touch()
    (folder / "text.mp4").write_text("this is not a video\n" * 50)
    (folder / "folder.mp4").mkdir()
    (folder / "dangling.mp4").symlink_to(folder / "gone.mp4")
    unreadable = ("no_index.mp4", "only_sound.mp4", "zero_bytes.mp4", "text.mp4", "folder.mp4", "dangling.mp4")
    expected = dict.fromkeys((path.name for path in folder.iterdir()), "ok")
    return expected | dict.fromkeys(unreadable, "unreadable") | {"nobody.mp4": "no_face"}
