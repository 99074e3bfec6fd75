"""What the process that decodes does with memory."""

import mmap
import os
import weakref

import numpy as np

from faces.decode.worker import Decoded, PictureFile, unnamed_file
from faces.video import decode
from faces.wanted import InMemory


class Counting(InMemory):
    """Keeps copies, and counts how many of the pictures that it was given are alive."""

    def __init__(self):
        self.given, self.most, self.dropped = [], 0, 0

    def keep(self, image):
        self.given.append(weakref.ref(image))
        self.most = max(self.most, sum(reference() is not None for reference in self.given))
        return image.copy()

    def drop(self):
        self.dropped += 1


def test_pictures_are_let_go_of_as_they_are_decoded(clip):
    counting = Counting()
    frames = decode(clip, 8, threads=1, keeper=counting)
    assert len(frames.images) == len(counting.given) == 8
    assert counting.most == 1
    for ours, theirs in zip(frames.images, decode(clip, 8).images, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_decode_from_start_to_end_forgets_what_came_before(clip, monkeypatch):
    monkeypatch.setattr("faces.video.decode_needed", lambda *_: None)
    counting = Counting()
    assert len(decode(clip, 4, threads=1, keeper=counting).images) == 4
    assert counting.dropped == 1


def picture(value, height=40, width=70):
    return np.full((height, width, 3), value, np.uint8)


def test_pictures_lie_in_the_file_each_from_the_start_of_a_page():
    with unnamed_file() as file:
        pictures = PictureFile(file)
        kept = [pictures.keep(picture(value)) for value in (1, 2, 3)]
        assert [int(image[0, 0, 0]) for image in kept] == [1, 2, 3]
        assert not any(image.flags.writeable for image in kept)
        offsets = [pictures.offset_of(image) for image in kept]
        assert offsets == sorted(offsets)
        assert {offset % mmap.ALLOCATIONGRANULARITY for offset in offsets} == {0}
        pictures.finish(b"tail")
        whole = os.pread(file.fileno(), 1 << 20, 0)
    assert whole.endswith(b"tail")
    assert whole[offsets[1] : offsets[1] + 40 * 70 * 3] == b"\2" * (40 * 70 * 3)


def test_a_file_that_is_used_again_holds_nothing_of_the_video_before(tmp_path):
    with unnamed_file() as file:
        for count in (5, 1):
            pictures = PictureFile(file)
            for value in range(count):
                pictures.keep(picture(value))
            pictures.drop()
            Decoded(tmp_path / "a.mp4", None, "unreadable", "damaged", 1.5).pack(pictures)
            size = os.fstat(file.fileno()).st_size
            assert size < mmap.ALLOCATIONGRANULARITY
            back = Decoded.unpack(np.frombuffer(os.pread(file.fileno(), size, 0), np.uint8), tmp_path / "a.mp4")
            assert (back.outcome, back.reason, back.frames) == ("unreadable", "damaged", None)
