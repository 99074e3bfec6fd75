"""What the test set's organisers did to videos, done to a face: quarter size, strong compression, overlays.

The preview paper of the challenge (Dolhansky et al. 2019) names a quarter of the resolution, a lower frame rate and
lower quality; the final test set adds overlays. The frame rate means nothing to a single face.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence

import av
import cv2
import numpy as np
from numpy.random import Generator

from faces.crop import Image


def degrade(image: Image, rng: Generator) -> Image:
    """Apply one of DEGRADATIONS, each a third of the time.

    Args:
        image: (H, W, 3) uint8 RGB.
        rng: the same state gives the same pixels.

    Returns:
        The same shape.
    """
    return tuple(DEGRADATIONS.values())[rng.integers(len(DEGRADATIONS))](image, rng)


def quarter(image: Image, rng: Generator) -> Image:
    """Shrink to a quarter of the size and back: (H, W, 3) uint8 RGB to the same shape."""
    height, width = image.shape[:2]
    small = max(1, width // 4), max(1, height // 4)
    shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def publish(image: Image, rng: Generator) -> Image:
    """Change a picture as it changes on its way to a viewer: often made smaller, then through a video codec or JPEG.

    Args:
        image: (H, W, 3) uint8 RGB.
        rng: the same state gives the same pixels.

    Returns:
        The same shape. Half go through H.264 at CRF 20 to 40, the others through JPEG at 40 to 95; half of all are
        shrunk to between 0.4 and 1 of their size before and grown after.
    """
    height, width = image.shape[:2]
    factor = rng.uniform(0.4, 1.0) if rng.random() < 0.5 else 1.0
    small = max(16, round(width * factor)), max(16, round(height * factor))
    out = image if factor == 1.0 else np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    if rng.random() < 0.5:
        out = through_h264(out, int(rng.integers(20, 41)))
    else:
        out = through_jpeg(out, int(rng.integers(40, 96)))
    if factor == 1.0:
        return out
    return np.asarray(cv2.resize(out, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def through_jpeg(image: Image, quality: int) -> Image:
    """Compress (H, W, 3) uint8 RGB to JPEG of a quality from 1 to 100, and back."""
    ok, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise RuntimeError(f"OpenCV could not encode an image of shape {image.shape}")
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)[..., ::-1])


def recompress(image: Image, rng: Generator) -> Image:
    """Compress to H.264, one intra frame at CRF 17 to 40 (the range of the challenge's third place), and back."""
    return through_h264(image, int(rng.integers(17, 41)))


def through_h264(image: Image, crf: int) -> Image:
    """Compress (H, W, 3) uint8 RGB to H.264, one intra frame of a constant rate factor (0 to 51), and back."""
    height, width = image.shape[:2]
    # 4:2:0 wants even sides; the edge is repeated and cut off again.
    even = np.asarray(cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), dtype=np.uint8)
    file = io.BytesIO()
    with av.open(file, "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width = even.shape[:2]
        stream.pix_fmt = "yuv420p"
        # One thread: a loader worker has one core, and the same bytes must come out everywhere.
        stream.codec_context.thread_count = 1
        stream.options = {"crf": str(crf), "preset": "veryfast"}
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r", format="h264") as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="rgb24")
    return np.ascontiguousarray(decoded[:height, :width])


def overlay(image: Image, rng: Generator) -> Image:
    """Lay a word or a few circles over the picture, 40 to 100 % opaque: (H, W, 3) uint8 RGB to the same shape."""
    height, width = image.shape[:2]
    layer = image.copy()
    colour = tuple(int(v) for v in rng.integers(0, 256, 3))
    if rng.random() < 0.5:
        word = "".join(chr(c) for c in rng.integers(65, 91, rng.integers(3, 9)))
        origin = int(rng.integers(-width // 4, width // 2)), int(rng.integers(height // 6, height))
        cv2.putText(layer, word, origin, cv2.FONT_HERSHEY_SIMPLEX, height / 120 * rng.uniform(0.6, 1.6), colour, 2)
    else:
        for _ in range(rng.integers(1, 4)):
            centre = int(rng.integers(width)), int(rng.integers(height))
            cv2.circle(layer, centre, int(rng.integers(3, max(4, width // 6))), colour, int(rng.choice([-1, 2])))
    alpha = rng.uniform(0.4, 1.0)
    return np.asarray(cv2.addWeighted(layer, alpha, image, 1 - alpha, 0), dtype=np.uint8)


# In this order `degrade` draws from them: another order would change trainings that are under way.
DEGRADATIONS: dict[str, Callable[[Image, Generator], Image]] = {
    "quarter size": quarter,
    "recompressed": recompress,
    "overlay": overlay,
}
CLEAN = "clean"
# How wide a face is in a video that was degraded so, as a share of its width before; 1 for what is not named.
SHRUNK = {"quarter size": 1 / 4}


def assign_degradations(filenames: Sequence[str]) -> list[str]:
    """Name a degradation, or CLEAN, for each video by its filename: about a quarter of them each."""
    kinds = (CLEAN, *DEGRADATIONS)
    return [kinds[number_of(name) % len(kinds)] for name in filenames]


def degrade_as(image: Image, kind: str, face: str) -> Image:
    """Degrade a face, the same face always in the same way.

    Args:
        image: (H, W, 3) uint8 RGB.
        kind: CLEAN or a name in DEGRADATIONS.
        face: its name.

    Returns:
        The same shape.
    """
    return image if kind == CLEAN else DEGRADATIONS[kind](image, np.random.default_rng(number_of(face)))


def number_of(name: str) -> int:
    """Return a 64-bit number that stands for a name, the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
