"""The pictures of a report: frames made small, and the faces that a verdict is about."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import cv2
import numpy as np

from ensemble.blend import Blend
from ensemble.metrics import Floats
from faces.crop import Boxes, CropSpec, Image, cut
from faces.video import Frames
from inference.occlusion import occlusion_map, paint
from inference.result import Closeup, Thumbnail, VideoResult
from inference.verdict import telling_faces
from inference.work import VideoWork
from models.backend import LoadedMember

THUMBNAIL_WIDTH = 320  # pixels
CLOSEUP = CropSpec("closeup", size=192, margin=0.25, pad="edge")  # hair and jaw are seen as well
QUALITY = 80  # of JPEG
NEAR = 2  # frames: where every fourth face is scored, one of them is no further away
CLOSEUPS = 4  # of a video: what one row of a page holds


def thumbnails_of(frames: Frames) -> tuple[Thumbnail, ...]:
    """All frames as small JPEGs."""
    made = []
    for image, index, second in zip(frames.images, frames.indices, frames.seconds, strict=True):
        scale = min(1.0, THUMBNAIL_WIDTH / image.shape[1])
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        small = _jpeg(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8))
        made.append(Thumbnail(int(index), float(second), small, scale))
    return tuple(made)


def choose_thumbnails(thumbnails: Sequence[Thumbnail], count: int, scored: Collection[int]) -> tuple[Thumbnail, ...]:
    """Choose the frames that a report shows.

    Args:
        thumbnails: of all frames, in order.
        count: how many are wanted, evenly spread.
        scored: the frames with a scored face. One of them that is near goes before the frame itself, since its faces
            have a probability to show.

    Returns:
        Up to `count` of them.
    """
    if not count or not thumbnails:
        return ()
    telling = np.array([at for at, one in enumerate(thumbnails) if one.frame in scored], dtype=np.intp)
    chosen = set()
    for place in np.linspace(0, len(thumbnails) - 1, count):
        at = round(place)
        if len(telling):
            nearest = int(telling[np.abs(telling - at).argmin()])
            at = nearest if abs(nearest - at) <= NEAR else at
        chosen.add(at)
    return tuple(thumbnails[at] for at in sorted(chosen))


def face_picture(image: Image, box_xyxy: Boxes) -> bytes:
    """The face in a box of a frame as a JPEG."""
    return _jpeg(cut(image, box_xyxy, CLOSEUP))


def closeups_of(result: VideoResult, pictures: Sequence[bytes]) -> tuple[Closeup, ...]:
    """Choose the pictures of the faces that speak most for a fake.

    Args:
        result: of a video with scored faces.
        pictures: of each of its faces, in their order; empty where none were made.

    Returns:
        Up to CLOSEUPS of them, the most telling first.
    """
    if not pictures:
        return ()
    index_of = {id(face): index for index, face in enumerate(result.faces)}
    telling = sorted(telling_faces(result), key=lambda face: -face.prob_fake)[:CLOSEUPS]
    chosen = [(index_of[id(face)], face) for face in telling]
    return tuple(Closeup(i, face.second, face.person, face.prob_fake, pictures[i]) for i, face in chosen)


def with_heat(
    closeups: tuple[Closeup, ...],
    result: VideoResult,
    work: VideoWork,
    members: Sequence[LoadedMember],
    blend: Blend,
) -> tuple[Closeup, ...]:
    """Paint on the first close-up on which parts of the face the answer hangs.

    Args:
        closeups: of `closeups_of`, one at least.
        result: of their video.
        work: the crops and points of its faces.
        members: of the blend.
        blend: gave the probabilities.
    """
    first = closeups[0]
    crops = {spec: all_crops[first.face] for spec, all_crops in work.crops.items()}
    (points, mirrored), box = work.points[first.face], result.faces[first.face].box_xyxy
    falls = occlusion_map(members, blend, crops, box, points, CLOSEUP, mirrored)
    return (replace(first, heat=heat_picture(first.jpeg, falls)), *closeups[1:])


def heat_picture(picture: bytes, falls: Floats) -> bytes:
    """Paint on a face's picture where the answer falls when it is blurred.

    Args:
        picture: of `face_picture`.
        falls: of `occlusion_map`, cut by CLOSEUP.

    Returns:
        A JPEG.
    """
    image = np.asarray(cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR), dtype=np.uint8)
    return _jpeg(paint(image[..., ::-1], falls))


def _jpeg(image: Image) -> bytes:
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not ok:
        raise RuntimeError(f"OpenCV could not encode a picture of {image.shape}")
    return data.tobytes()
