"""The pictures of a report: frames made small, and the faces that a verdict is about."""

from __future__ import annotations

from collections.abc import Sequence
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
CLOSEUPS = 4  # of a video: what one row of a page holds


def thumbnails_of(frames: Frames, count: int) -> tuple[Thumbnail, ...]:
    """Up to `count` of the frames, evenly spread, as small JPEGs."""
    if not count:
        return ()
    chosen = sorted({round(i) for i in np.linspace(0, len(frames.images) - 1, count)})
    made = []
    for i in chosen:
        image = frames.images[i]
        scale = min(1.0, THUMBNAIL_WIDTH / image.shape[1])
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        small = _jpeg(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        made.append(Thumbnail(int(frames.indices[i]), float(frames.seconds[i]), small, scale))
    return tuple(made)


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
