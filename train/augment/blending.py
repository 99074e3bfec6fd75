"""Fakes made of real faces in the loader: a face blended into itself, or another one's into it.

What all face swaps leave behind is a seam, and a mismatch of colour, sharpness, position and noise between its two
sides. A network that has seen only those marks does not learn the habits of one generator. After Shiohara and Yamasaki
(Detecting Deepfakes with Self-Blended Images, CVPR 2022) for self-blends and Li et al. (Face X-ray, CVPR 2020) for
swaps; the code is our own.

One way of compositing, `held_out`, is never trained on: it is what a network is validated with, to tell whether it has
learnt seams or memorised the other compositors. No compositor of training solves Poisson's equation.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from faces.crop import Image
from faces.store import CropStore
from train.augment.looks import change_look, match_colour, resample
from train.augment.masks import Mask, blend_mask, inner_mask
from train.augment.mesh import Floats, Meshes
from train.augment.warps import warp_piecewise, warp_similarity

Fake = tuple[Image, Mask]

# Of a face blended in: mostly all of it, sometimes partly, as in the paper.
RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)


def self_blend(image: Image, mesh: Floats, rng: Generator, bands: float = 0.0) -> Fake:
    """A fake of a real face: a changed copy of it blended into itself.

    Args:
        image: (H, W, 3) uint8 RGB.
        mesh: (468, 2) pixels of `image`.
        rng: the same state gives the same pixels.
        bands: how often the two are blended band by band (`blend_bands`), a share from 0 to 1.

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
    return _blended(inside, outside, mask, RATIOS, rng, bands), mask


def swap(image: Image, mesh: Floats, donor: Image, donor_mesh: Floats, rng: Generator, bands: float = 0.0) -> Fake:
    """A fake of a real face: a donor's face laid over it, by a similarity or piecewise affine, alpha-blended.

    Args:
        image: (H, W, 3) uint8 RGB, the face that is covered.
        mesh: (468, 2) pixels of `image`.
        donor: (H', W', 3) uint8 RGB.
        donor_mesh: (468, 2) pixels of `donor`.
        rng: the same state gives the same pixels.
        bands: as in `self_blend`.

    Returns:
        As `self_blend`.
    """
    warp = warp_similarity if rng.random() < 0.5 else warp_piecewise
    moved = warp(donor, donor_mesh, mesh, image.shape[:2])
    mask = blend_mask(image.shape[:2], mesh, rng)
    moved = _matched(moved, image, mask, rng, colour=0.6, softer=0.5)
    return _blended(moved, image, mask, (0.75, 1.0, 1.0, 1.0), rng, bands), mask


def misfit(image: Image, mesh: Floats, donor: Image, donor_mesh: Floats, rng: Generator, bands: float = 0.0) -> Fake:
    """A swap that fits badly: laid on by a similarity and cut well within the face, so that features lie side by side.

    Two pairs of brows, a beard that ends at a line, a nose that throws two shadows: what is left to see where colours
    and sharpness were matched well. Arguments and result are those of `swap`; `bands` blend over wide pyramids.
    """
    moved = warp_similarity(donor, donor_mesh, mesh, image.shape[:2])
    mask = inner_mask(image.shape[:2], mesh, rng)
    moved = _matched(moved, image, mask, rng, colour=0.85, softer=0.3)
    return _blended(moved, image, mask, (0.85, 1.0, 1.0), rng, bands, most_levels=6), mask


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


def make_fake(
    store: CropStore,
    name: str,
    meshes: Meshes,
    rng: Generator,
    swaps: float,
    held: bool = False,
    bands: float = 0.0,
    misfits: float = 0.0,
) -> Fake:
    """A fake made of the stored real face `name`: mostly a self-blend, or another face laid over it.

    Args:
        store: where the faces lie.
        name: a face with a mesh.
        meshes: of the faces that may be donors, and of `name`.
        rng: the same state gives the same pixels.
        swaps: the share of fakes that are swaps; the rest are self-blends.
        held: use the compositor that is kept out of training instead.
        bands: the share that is blended band by band (`blend_bands`).
        misfits: of the swaps, the share that fits badly (`misfit`), from a face of less like pose.

    Returns:
        (H, W, 3) uint8 RGB, of the stored crop's size, and the mask it was blended by, (H, W) float32 from 0 to 1.

    Raises:
        ValueError: `name` has no mesh.
    """
    mesh, image = meshes.of(name), store.read(name)
    if mesh is None:
        raise ValueError(f"face {name!r} has no mesh: nothing can be made of it; leave it out of the table")
    if not held and rng.random() >= swaps:
        return self_blend(image, mesh, rng, bands)
    # Without misfits nothing is drawn for them, so that runs that know none keep their fakes.
    fits = held or not misfits or rng.random() >= misfits
    other = meshes.like(name, rng) if fits else meshes.like(name, rng, candidates=int(rng.integers(2, 40)))
    donor_mesh = meshes.of(other)
    if donor_mesh is None:
        raise ValueError(f"face {other!r} has no mesh")
    donor = store.read(other)
    if held:
        return held_out(image, mesh, donor, donor_mesh, rng)
    return (swap if fits else misfit)(image, mesh, donor, donor_mesh, rng, bands)


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


def blend_bands(inside: Image, outside: Image, mask: Mask, ratio: float, levels: int) -> Image:
    """Blend two images band by band, so that colours run into each other widely and details narrowly.

    Burt and Adelson, A Multiresolution Spline With Application to Image Mosaics (1983). It leaves no edge of colour, as
    good compositors do not: what remains is that the two sides differ in sharpness and fit.

    Args:
        inside: (H, W, 3) uint8 RGB.
        outside: (H, W, 3) uint8 RGB.
        mask: (H, W) float32 from 0 to 1.
        ratio: from 0 to 1, of the mask.
        levels: of the pyramid, 1 and more; each doubles the width over which its band is blended.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    ours, theirs = inside.astype(np.float32), outside.astype(np.float32)
    share: NDArray[np.float32] = mask * np.float32(ratio)
    bands = []
    for _ in range(levels):
        size = ours.shape[1::-1]
        halves = [np.asarray(cv2.pyrDown(image), dtype=np.float32) for image in (ours, theirs, share)]
        details = [image - cv2.pyrUp(half, dstsize=size) for image, half in zip((ours, theirs), halves, strict=False)]
        bands.append(details[1] + share[..., None] * (details[0] - details[1]))
        ours, theirs, share = halves
    out = theirs + share[..., None] * (ours - theirs)
    for band in reversed(bands):
        out = np.asarray(cv2.pyrUp(out, dstsize=band.shape[1::-1]), dtype=np.float32) + band
    return np.asarray(np.clip(out + np.float32(0.5), 0, 255), dtype=np.uint8)


def _blended(
    inside: Image,
    outside: Image,
    mask: Mask,
    ratios: tuple[float, ...],
    rng: Generator,
    bands: float,
    most_levels: int = 5,
) -> Image:
    """The two blended by one of the ratios: mostly at once, `bands` of the time band by band."""
    ratio = float(rng.choice(ratios))
    # Without bands nothing is drawn, so that runs that know none keep their fakes.
    if bands and rng.random() < bands:
        return blend_bands(inside, outside, mask, ratio, int(rng.integers(2, most_levels + 1)))
    return blend(inside, outside, mask, ratio)


def _matched(moved: Image, image: Image, mask: Mask, rng: Generator, colour: float, softer: float) -> Image:
    """The laid-on face in the colours of the covered one, and softer: each so often, shares from 0 to 1."""
    if rng.random() < colour:
        moved = match_colour(moved, image, mask)
    return resample(moved, rng) if rng.random() < softer else moved


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
