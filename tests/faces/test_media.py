"""The one opener: what it refuses, how it turns pictures, and that it fetches nothing."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from explore.frames import extract_frames
from explore.pairs import frames_at
from faces.media import Orientation, VideoError, open_media, open_video, orientation_of, packets_of, upright
from faces.video import decode, probe
from tests.media import Image, all_frames, picture, set_display_matrix, write_video

# The picture that is stored, made from the upright one, and the matrix with which a player shows it upright again.
MATRICES = {
    "as it is": (lambda p: p, (1, 0, 0, 1), (0, False)),
    "turned left": (lambda p: np.rot90(p, 1), (0, 1, -1, 0), (90, False)),
    "turned around": (lambda p: np.rot90(p, 2), (-1, 0, 0, -1), (180, False)),
    "turned right": (lambda p: np.rot90(p, 3), (0, -1, 1, 0), (270, False)),
    "left is right": (lambda p: p[:, ::-1], (-1, 0, 0, 1), (0, True)),
    "top is bottom": (lambda p: p[::-1], (1, 0, 0, -1), (180, True)),
    "transposed": (lambda p: p.transpose(1, 0, 2), (0, 1, 1, 0), (270, True)),
    "transposed across": (lambda p: np.rot90(p.transpose(1, 0, 2), 2), (0, -1, -1, 0), (90, True)),
}
LOSSLESS = {"pixel_format": "yuv444p", "options": {"qp": "0"}}


@pytest.fixture(params=MATRICES)
def turned(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[Image], Orientation]:
    """A video whose pictures are stored turned, the pictures that a player shows, and what makes them upright."""
    store, matrix, (rotation, mirrored) = MATRICES[request.param]
    plain = write_video(tmp_path / "plain.mp4", frames=6, **LOSSLESS)

    def draw(number: int, *_: int) -> Image:
        return np.ascontiguousarray(store(picture(number, 96, 64)))

    height, width = draw(0).shape[:2]
    path = write_video(tmp_path / "stored.mp4", frames=6, size=(width, height), draw=draw, **LOSSLESS)
    return set_display_matrix(path, matrix), all_frames(plain), Orientation(rotation, mirrored)


def test_all_eight_display_matrices_come_out_upright(
    turned: tuple[Path, list[Image], Orientation], tmp_path: Path
) -> None:
    path, expected, _ = turned
    frames = decode(path, 6)
    assert frames.indices.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(frames.images, expected)
    np.testing.assert_array_equal(frames_at(path, (0, 5))[0], [expected[0], expected[5]])
    extract_frames([path], tmp_path / "out", None)
    assert len(list((tmp_path / "out" / "stored").glob("*.png"))) == 6


def test_the_header_says_the_upright_size_and_the_orientation(turned: tuple[Path, list[Image], Orientation]) -> None:
    path, _, orientation = turned
    info = probe(path)
    assert (info.width, info.height, info.rotation) == (96, 64, orientation.rotation)
    assert decode(path, 1).info == info


def test_the_matrix_is_read_as_rotation_behind_mirroring(turned: tuple[Path, list[Image], Orientation]) -> None:
    path, expected, orientation = turned
    with open_video(path) as (container, _):
        frame = next(container.decode(video=0))
        assert orientation_of(frame) == orientation
        np.testing.assert_array_equal(upright(frame), expected[0])


@pytest.mark.parametrize("matrix", [(0, 0, 0, 0), (1, 0, 1, 0)])
def test_a_matrix_that_shows_nothing_is_passed_over(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    path = set_display_matrix(write_video(tmp_path / "a.mp4", frames=2, **LOSSLESS), matrix)
    np.testing.assert_array_equal(decode(path, 2).images, all_frames(path))


@pytest.mark.parametrize("read", [decode, probe, lambda path: frames_at(path, (0,))])
def test_a_playlist_named_like_a_video_fetches_nothing(tmp_path: Path, read: object) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/clip.ts"
        path = tmp_path / "list.mp4"
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{address}\n#EXT-X-ENDLIST\n")
        with pytest.raises(VideoError, match=r"list\.mp4: "):
            read(path)  # type: ignore[operator]
        server.settimeout(0)
        with pytest.raises(BlockingIOError):  # nobody has knocked
            server.accept()


def test_an_error_while_the_file_is_open_names_the_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=2)
    with pytest.raises(VideoError, match=r"a\.mp4: is not a video .*damaged"), open_media(path):
        raise av.InvalidDataError(1094995529, "damaged")


def test_packets_are_those_of_the_streams_asked_for(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=5, audio=True)
    with open_media(path) as container:
        # Asked while the file is open: PyAV crashes on the stream of a packet whose container is closed.
        kinds = {packet.stream.type for packet in packets_of(container, container.streams.audio[0])}
    assert kinds == {"audio"}


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_side_data_of_a_kind_that_the_library_does_not_know_leaves_the_rotation(rotation: int) -> None:
    class Newer:
        """A frame as PyAV gives it where listing its side data fails; its rotation is known."""

        format = SimpleNamespace(name="yuv420p")

        @property
        def side_data(self) -> object:
            raise ValueError("31 is not a valid Type")

    Newer.rotation = rotation  # type: ignore[attr-defined]
    assert orientation_of(Newer()) == Orientation(-rotation % 360)  # type: ignore[arg-type]
