import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.errors import DfdcError
from faces.store import CropStore

RED, BLUE = (250, 10, 20), (5, 30, 240)  # RGB


def png(colour: tuple[int, int, int] = RED, width: int = 6, height: int = 4) -> bytes:
    image = np.full((height, width, 3), colour[::-1], np.uint8)  # OpenCV writes BGR
    return cv2.imencode(".png", image)[1].tobytes()


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


TWO = {"a.png": png(RED), "deep/b.png": png(BLUE)}


def folder_of_images(tmp_path: Path) -> list[Path]:
    return [write_files(tmp_path / "faces", {**TWO, "notes.txt": b"not an image"})]


def tar_of_images(tmp_path: Path) -> list[Path]:
    return [write_tar(tmp_path / "faces.tar", {**TWO, "notes.txt": b"not an image"})]


def tar_inside_a_folder(tmp_path: Path) -> list[Path]:
    folder = write_files(tmp_path / "faces", {"a.png": TWO["a.png"]})
    write_tar(folder / "more.tar", {"deep/b.png": TWO["deep/b.png"]})
    return [folder]


def folder_and_tar(tmp_path: Path) -> list[Path]:
    folder = write_files(tmp_path / "faces", {"a.png": TWO["a.png"]})
    return [folder, write_tar(tmp_path / "more.tar", {"deep/b.png": TWO["deep/b.png"]})]


@pytest.mark.parametrize("make", [folder_of_images, tar_of_images, tar_inside_a_folder, folder_and_tar])
def test_images_are_found_and_read_as_rgb(tmp_path: Path, make) -> None:
    store = CropStore(make(tmp_path))
    assert sorted(store.index) == ["a.png", "b.png"]
    for name, colour in (("a.png", RED), ("b.png", BLUE)):
        image = store.read(name)
        assert image.shape == (4, 6, 3) and image.dtype == np.uint8
        assert (image == colour).all()


def test_endings_of_any_case(tmp_path: Path) -> None:
    jpg = cv2.imencode(".jpg", np.full((8, 8, 3), 128, np.uint8))[1].tobytes()
    store = CropStore([write_files(tmp_path / "f", {"A.PNG": png(), "b.JPG": jpg, "c.jpeg": jpg})])
    assert sorted(store.index) == ["A.PNG", "b.JPG", "c.jpeg"]


def test_a_grey_image_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = cv2.imencode(".png", np.arange(32, dtype=np.uint8).reshape(4, 8))[1].tobytes()
    image = CropStore([write_files(tmp_path / "f", {"a.png": grey})]).read("a.png")
    assert (image == np.arange(32).reshape(4, 8, 1)).all()
    assert image.shape == (4, 8, 3)


def test_duplicate_names_over_two_sources_are_refused(tmp_path: Path) -> None:
    one, two = write_files(tmp_path / "1", {"a.png": png()}), write_tar(tmp_path / "2.tar", {"x/a.png": png()})
    with pytest.raises(ValueError, match=r"2\.tar.*'a\.png'"):
        CropStore([one, two])


@pytest.mark.parametrize("where", ["folder", "tar", "tar in a folder"])
def test_duplicate_names_inside_one_source_are_refused(tmp_path: Path, where: str) -> None:
    """Otherwise one person's crop would silently stand for another's."""
    twice = {"x/a.png": png(RED), "y/a.png": png(BLUE)}
    if where == "folder":
        source = write_files(tmp_path / "f", twice)
    elif where == "tar":
        source = write_tar(tmp_path / "f.tar", twice)
    else:
        source = write_files(tmp_path / "f", {"a.png": png(RED)})
        write_tar(source / "more.tar", {"a.png": png(BLUE)})
    with pytest.raises(ValueError, match=r"'a\.png'"):
        CropStore([source])


def test_what_is_no_tar_is_refused(tmp_path: Path) -> None:
    for name in ("notes.txt", "empty.tar", "face.png"):
        data = {"notes.txt": b"hello " * 200, "empty.tar": b"", "face.png": png()}[name]
        with pytest.raises(ValueError, match=name):
            CropStore([write_files(tmp_path, {name: data}) / name])


def test_a_compressed_tar_is_refused(tmp_path: Path) -> None:
    """Its members cannot be reached without unpacking all before them."""
    with pytest.raises(ValueError, match="uncompressed"):
        CropStore([write_tar(tmp_path / "faces.tar.gz", TWO, "w:gz")])


@pytest.mark.parametrize(
    "make", [lambda p: p / "missing", lambda p: write_tar(p / "a.tar", {"a.txt": b"x"}), lambda p: p]
)
def test_a_source_without_images_is_refused_by_name(tmp_path: Path, make) -> None:
    source = make(tmp_path)
    with pytest.raises(ValueError, match=source.name):
        CropStore([source])


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"not an image at all"], ids=["empty", "header", "text"])
@pytest.mark.parametrize("tarred", [False, True], ids=["file", "tar"])
def test_a_corrupt_image_is_named(tmp_path: Path, data: bytes, tarred: bool) -> None:
    files = {"broken.png": data, "good.png": png()}
    source = write_tar(tmp_path / "f.tar", files) if tarred else write_files(tmp_path / "f", files)
    store = CropStore([source])
    with pytest.raises(DfdcError, match=r"'broken\.png'"):
        store.read("broken.png")
    assert (store.read("good.png") == RED).all()
