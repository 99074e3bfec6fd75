"""Fakes made of real faces in the loader: a face blended into itself, or another one's into it.

What all face swaps leave behind is a seam, and a mismatch of colour, sharpness, position and noise between its two
sides. A network that has seen only those marks does not learn the habits of one generator. After Shiohara and Yamasaki
(Detecting Deepfakes with Self-Blended Images, CVPR 2022) for self-blends and Li et al. (Face X-ray, CVPR 2020) for
swaps; the code is our own.

One way of compositing, HELD_OUT, is never trained on: it is what a network is validated with, to tell whether it has
learnt seams or memorised the compositors below. No compositor of training solves Poisson's equation.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from faces.crop import Image, similarity
from faces.store import CropStore
from train.augment.mesh import ANCHORS, LEFT_BROW, LEFT_EYE, LIPS, NOSE, OVAL, RIGHT_BROW, RIGHT_EYE, Floats, Meshes
from train.augment.photometric import jpeg

Mask = NDArray[np.float32]
Fake = tuple[Image, Mask]

# Of a face blended in: mostly all of it, sometimes partly, as in the paper.
RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)


def self_blend(image: Image, mesh: Floats, rng: Generator) -> Fake:
    """A fake of a real face: a changed copy of it blended into itself.

    Args:
        image: (H, W, 3) uint8 RGB.
        mesh: (468, 2) pixels of `image`.
        rng: the same state gives the same pixels.

    Returns:
        (H, W, 3) uint8 RGB, and the mask it was blended by, (H, W) float32 from 0 to 1.
    """
    inside, outside = image, image
    # Either side gets the change, so that neither side's look gives the label away.
    if rng.random() < 0.5:
        inside = change_look(image, rng)
    else:
        outside = change_look(image, rng)
    inside = _misplace(inside, mesh, rng)
    mask = blend_mask(image.shape[:2], mesh, rng)
    return blend(inside, outside, mask, float(rng.choice(RATIOS))), mask


def swap(image: Image, mesh: Floats, donor: Image, donor_mesh: Floats, rng: Generator) -> Fake:
    """A fake of a real face: a donor's face laid over it, by a similarity or piecewise affine, alpha-blended.

    Args:
        image: (H, W, 3) uint8 RGB, the face that is covered.
        mesh: (468, 2) pixels of `image`.
        donor: (H', W', 3) uint8 RGB.
        donor_mesh: (468, 2) pixels of `donor`.
        rng: the same state gives the same pixels.

    Returns:
        As `self_blend`.
    """
    warp = warp_similarity if rng.random() < 0.5 else warp_piecewise
    moved = warp(donor, donor_mesh, mesh, image.shape[:2])
    mask = blend_mask(image.shape[:2], mesh, rng)
    if rng.random() < 0.6:
        moved = match_colour(moved, image, mask)
    if rng.random() < 0.5:
        moved = _resample(moved, rng)
    return blend(moved, image, mask, float(rng.choice((0.75, 1.0, 1.0, 1.0)))), mask


def held_out(image: Image, mesh: Floats, donor: Image, donor_mesh: Floats, rng: Generator) -> Fake:
    """The compositor that no training sees: piecewise affine, then Poisson blending (Perez et al. 2003).

    Arguments and result are those of `swap`.
    """
    moved = warp_piecewise(donor, donor_mesh, mesh, image.shape[:2])
    mask = (blend_mask(image.shape[:2], mesh, rng) > 0.5).astype(np.uint8) * 255
    # Poisson blending reads the pixels around the mask.
    mask[:2] = mask[-2:] = 0
    mask[:, :2] = mask[:, -2:] = 0
    left, top, width, height = cv2.boundingRect(mask)
    if width < 8 or height < 8:
        return image.copy(), np.zeros(mask.shape, dtype=np.float32)
    middle = (left + width // 2, top + height // 2)
    cloned = cv2.seamlessClone(moved, image, mask, middle, cv2.NORMAL_CLONE)
    return np.asarray(cloned, dtype=np.uint8), np.asarray(mask / np.float32(255), dtype=np.float32)


def make_fake(store: CropStore, name: str, meshes: Meshes, rng: Generator, swaps: float, held: bool = False) -> Fake:
    """A fake made of the stored real face `name`: mostly a self-blend, or another face laid over it.

    Args:
        store: where the faces lie.
        name: a face with a mesh.
        meshes: of the faces that may be donors, and of `name`.
        rng: the same state gives the same pixels.
        swaps: the share of fakes that are swaps; the rest are self-blends.
        held: use the compositor that is kept out of training instead.

    Returns:
        (H, W, 3) uint8 RGB, of the stored crop's size, and the mask it was blended by, (H, W) float32 from 0 to 1.

    Raises:
        ValueError: `name` has no mesh.
    """
    mesh, image = meshes.of(name), store.read(name)
    if mesh is None:
        raise ValueError(f"face {name!r} has no mesh: nothing can be made of it; leave it out of the table")
    if not held and rng.random() >= swaps:
        return self_blend(image, mesh, rng)
    other = meshes.like(name, rng)
    donor_mesh = meshes.of(other)
    if donor_mesh is None:
        raise ValueError(f"face {other!r} has no mesh")
    return (held_out if held else swap)(image, mesh, store.read(other), donor_mesh, rng)


def blend(inside: Image, outside: Image, mask: Mask, ratio: float) -> Image:
    """Blend one image into another: outside + mask * ratio * (inside - outside), rounded.

    Args:
        inside: (H, W, 3) uint8 RGB.
        outside: (H, W, 3) uint8 RGB.
        mask: (H, W) float32 from 0 to 1.
        ratio: from 0 to 1, of the mask.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    base = outside.astype(np.float32)
    mixed = base + (mask * np.float32(ratio))[..., None] * (inside.astype(np.float32) - base)
    return np.asarray(np.clip(mixed + np.float32(0.5), 0, 255), dtype=np.uint8)


def blend_mask(shape: tuple[int, int], mesh: Floats, rng: Generator) -> Mask:
    """Draw the region that is blended.

    A region of the mesh (whole face, lower half, inner face, eyes, mouth, nose), grown or shrunk, deformed elastically,
    its edge softened by up to a tenth of the face's width.

    Args:
        shape: height and width of the mask in pixels.
        mesh: (468, 2) pixels.
        rng: the same state gives the same mask.

    Returns:
        (H, W) float32 from 0 to 1.
    """
    width = float(np.linalg.norm(mesh[454] - mesh[234])) + 1.0
    mask: Mask = np.zeros(shape, dtype=np.float32)
    for outline in _regions(mesh, rng):
        cv2.fillConvexPoly(mask, np.round(cv2.convexHull(outline)).astype(np.int32), 1.0)
    mask = _elastic(mask, width * rng.uniform(0.0, 0.06), rng)
    sigma = width * float(np.exp(rng.uniform(np.log(0.004), np.log(0.08))))
    if rng.random() < 0.5:
        # Inwards only: the seam stays on the face.
        reach = 2 * max(1, round(sigma)) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
        mask = np.asarray(cv2.erode(mask, kernel), dtype=np.float32)
    return np.clip(np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.5, sigma)), dtype=np.float32), 0, 1)


def _regions(mesh: Floats, rng: Generator) -> list[Floats]:
    """The points whose convex hulls are blended."""
    oval, kind = mesh[list(OVAL)], rng.random()
    if kind < 0.45:
        whole = oval
        if rng.random() < 0.4:  # the mesh ends below the hairline, many swaps at the brows
            brows = mesh[[*RIGHT_BROW, *LEFT_BROW]]
            below = oval[oval[:, 1] > brows[:, 1].min()]
            whole = np.concatenate([below, brows])
        return [_grown(whole, rng.uniform(0.85, 1.08))]
    if kind < 0.6:  # from between eyes and nose down
        cut = mesh[[6, 195]][:, 1]
        below = oval[oval[:, 1] > rng.uniform(cut.min(), cut.max() + 1)]
        return [_grown(np.concatenate([below, mesh[list(NOSE[2:])]]), rng.uniform(0.85, 1.05))]
    if kind < 0.8:  # brows to lips
        inner = mesh[[*RIGHT_BROW, *LEFT_BROW, *LIPS, *RIGHT_EYE, *LEFT_EYE, 205, 425]]
        return [_grown(inner, rng.uniform(0.9, 1.25))]
    parts = ((RIGHT_EYE, RIGHT_BROW), (LEFT_EYE, LEFT_BROW)), ((LIPS,),), ((NOSE,),)
    chosen = parts[rng.choice(3, p=(0.4, 0.45, 0.15))]
    return [_grown(mesh[[i for group in part for i in group]], rng.uniform(1.1, 1.6)) for part in chosen]


def _grown(points: Floats, factor: float) -> Floats:
    middle = points.mean(axis=0)
    return np.asarray(middle + (points - middle) * factor, dtype=np.float32)


def _elastic(mask: Mask, most: float, rng: Generator) -> Mask:
    """The mask with every place moved by a smooth random field of up to some `most` pixels."""
    height, width = mask.shape
    field = rng.uniform(-most, most, (int(rng.integers(3, 7)),) * 2 + (2,)).astype(np.float32)
    shift = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.asarray(cv2.remap(mask, x + shift[..., 0], y + shift[..., 1], cv2.INTER_LINEAR), dtype=np.float32)


def change_look(image: Image, rng: Generator) -> Image:
    """Change colour and sharpness of (H, W, 3) uint8 RGB, as a generator does: each sometimes, one of them always."""
    colour, out = rng.random() < 0.75, image
    if colour:
        out = _recolour(out, rng)
    if not colour or rng.random() < 0.75:
        out = _sharpen(out, rng) if rng.random() < 0.35 else _resample(out, rng)
    if rng.random() < 0.15:
        out = jpeg(out, rng)
    return out


def _recolour(image: Image, rng: Generator) -> Image:
    """Shift channels by up to 20 of 255, hue by up to 5 of 180, saturation and contrast by a quarter."""
    out = image.astype(np.float32)
    if rng.random() < 0.6:
        most = 20.0 if rng.random() < 0.3 else 8.0
        out = out + rng.uniform(-most, most, 3).astype(np.float32)
    if rng.random() < 0.5:
        mean = out.mean(axis=(0, 1), keepdims=True)
        out = (out - mean) * np.float32(rng.uniform(0.8, 1.2)) + mean + np.float32(rng.uniform(-8, 8))
    rounded = np.clip(out, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        hsv = cv2.cvtColor(rounded, cv2.COLOR_RGB2HSV).astype(np.int16)
        hsv[..., 0] = (hsv[..., 0] + rng.integers(-5, 6)) % 180
        hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.75, 1.25), 0, 255)
        rounded = np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB), dtype=np.uint8)
    return rounded


def _sharpen(image: Image, rng: Generator) -> Image:
    amount = float(rng.uniform(0.3, 1.0))
    soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 2.0))
    return np.asarray(cv2.addWeighted(image, 1 + amount, soft, -amount, 0), dtype=np.uint8)


def _resample(image: Image, rng: Generator) -> Image:
    """Softer: down and up again, or blurred."""
    height, width = image.shape[:2]
    if rng.random() < 0.3:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.0)), dtype=np.uint8)
    factor = rng.uniform(0.25, 0.8)
    small = max(8, round(width * factor)), max(8, round(height * factor))
    methods = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
    shrunk = cv2.resize(image, small, interpolation=methods[rng.integers(3)])
    return np.asarray(cv2.resize(shrunk, (width, height), interpolation=methods[1 + rng.integers(2)]), dtype=np.uint8)


def _misplace(image: Image, mesh: Floats, rng: Generator) -> Image:
    """The copy never fits exactly: shifted by up to 3 % of the face, scaled by up to 5 %, turned a little."""
    height, width = image.shape[:2]
    middle = mesh.mean(axis=0)
    turn = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), rng.uniform(-2, 2), 1.0)
    matrix = np.array(turn, dtype=np.float64)
    matrix[:, :2] *= rng.uniform(0.95, 1.05, (2, 1))
    matrix[:, 2] = middle - matrix[:, :2] @ middle
    matrix[:, 2] += rng.uniform(-0.03, 0.03, 2) * float(np.linalg.norm(mesh[454] - mesh[234]))
    moved = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, dtype=np.uint8)


def warp_similarity(donor: Image, donor_mesh: Floats, mesh: Floats, shape: tuple[int, int]) -> Image:
    """Move, turn and scale the donor until its anchors lie best on the mesh; as `warp_piecewise`."""
    rows = list(ANCHORS)
    matrix = similarity(donor_mesh[rows].astype(np.float64), mesh[rows].astype(np.float64))
    size = shape[1], shape[0]
    moved = cv2.warpAffine(donor, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, dtype=np.uint8)


def warp_piecewise(donor: Image, donor_mesh: Floats, mesh: Floats, shape: tuple[int, int]) -> Image:
    """Bend the donor until its anchors lie on those of the mesh: each triangle has an affine map of its own.

    Outside the hull of the anchors the similarity of `warp_similarity` holds.

    Args:
        donor: (H', W', 3) uint8 RGB.
        donor_mesh: (468, 2) pixels of `donor`.
        mesh: (468, 2) pixels of the result.
        shape: height and width of the result in pixels.

    Returns:
        (*shape, 3) uint8 RGB.
    """
    rows = list(ANCHORS)
    target, source = mesh[rows].astype(np.float64), donor_mesh[rows].astype(np.float64)
    back = similarity(target, source)
    x, y = np.meshgrid(np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32))
    triangles = _triangles(target)
    corners, ends = target[triangles], source[triangles]
    homogeneous = np.concatenate([corners, np.ones((*corners.shape[:2], 1))], axis=2)
    flat = np.abs(np.linalg.det(homogeneous)) < 1e-3
    homogeneous[flat] = np.eye(3)
    maps = np.linalg.solve(homogeneous, ends)  # (T, 3, 2): [x y 1] @ map = place in the donor
    maps[flat] = back.T
    maps = np.concatenate([back.T[None], maps]).astype(np.float32)
    number = np.zeros(shape, dtype=np.int32)
    for index, triangle in enumerate(corners, start=1):
        cv2.fillConvexPoly(number, np.round(triangle).astype(np.int32), index)
    chosen = maps[number]
    place = chosen[..., 0, :] * x[..., None] + chosen[..., 1, :] * y[..., None] + chosen[..., 2, :]
    moved = cv2.remap(donor, place[..., 0], place[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, dtype=np.uint8)


def _triangles(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """Delaunay's triangles between (N, 2) points: (T, 3) rows."""
    from scipy.spatial import Delaunay

    return np.asarray(Delaunay(points).simplices, dtype=np.intp)


def match_colour(source: Image, target: Image, mask: Mask) -> Image:
    """Give an image the mean and the spread of another's Lab colours inside a mask (Reinhard et al. 2001).

    Args:
        source: (H, W, 3) uint8 RGB, which changes.
        target: (H, W, 3) uint8 RGB, whose colours it gets.
        mask: (H, W) float32; the colours are measured where it is above 0.5.

    Returns:
        (H, W, 3) uint8 RGB; `source` itself where the mask has fewer than 16 pixels.
    """
    inside = mask > 0.5
    if int(inside.sum()) < 16:
        return source
    ours = cv2.cvtColor(source, cv2.COLOR_RGB2LAB).astype(np.float32)
    theirs = cv2.cvtColor(target, cv2.COLOR_RGB2LAB).astype(np.float32)[inside]
    spread = np.clip(theirs.std(axis=0) / np.maximum(ours[inside].std(axis=0), 1e-3), 0.6, 1.7)
    matched = (ours - ours[inside].mean(axis=0)) * spread + theirs.mean(axis=0)
    return np.asarray(cv2.cvtColor(np.clip(matched, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB), dtype=np.uint8)
