#!/usr/bin/env python3
"""How well members tell real faces from swaps by a compositor that none of them was trained on.

python benchmarks/unseen_swaps.py CROPS --labels LABELS.csv --mesh MESH.npz --members FOLDER [--picture PAIRS.jpg]

Each real face of the split "val" is covered with the face of somebody else in it, by the compositor of `make demo`
(scripts/demo_media.py): a similarity, matched colours, Poisson blending. One clip says little of a member, hundreds of
such pairs say more. MESH.npz is what scripts/find_mesh.py wrote for these faces. Prints for each member and for the
mean of their logits the AUC, the 10th, 50th and 90th percentile of the logits of either side, and the median of what a
swap adds to a face's logit.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from common.device import find_device
from common.errors import DfdcError
from ensemble.metrics import auc
from faces.crop import Image, box_inside_crop, cut
from models.backend import LoadedMember, load_members
from models.checkpoint import WEIGHTS_DIR
from models.registry import TIGHT
from scripts.demo_media import Points, swap_face
from train.augment.degrade import number_of
from train.augment.mesh import LEFT_EYE, RIGHT_EYE, Floats, Meshes
from train.scored_table import Source

NOSE_TIP, MOUTH_CORNERS = 1, (61, 291)  # numbers of the mesh
CANDIDATES = 20  # faces among which a donor of like pose is looked for: few, so that swaps fit as badly as in the demo
PERCENTILES = (10, 50, 90)

Pair = tuple[Image, Image]  # a real face, and it with another's


def five_points(mesh: Floats) -> Points:
    """Eyes, nose and corners of the mouth of a (468, 2) mesh, in the order of ALIGNED_POINTS: (5, 2) pixels."""
    eyes = [mesh[list(eye)].mean(axis=0) for eye in (RIGHT_EYE, LEFT_EYE)]
    return np.asarray([*eyes, mesh[NOSE_TIP], *mesh[list(MOUTH_CORNERS)]], dtype=np.float64)


def make_pairs(source: Source, mesh_file: Path) -> list[Pair]:
    """Cover every real validation face that has a mesh with one of another group.

    Raises:
        ValueError: no face has a mesh, or all are of one group.
    """
    rows = source.held_out(None)
    group = dict(zip(rows["face"], rows["group"], strict=True))
    reals = set(rows.loc[rows["target"] == 0, "face"])
    meshes = Meshes.read(mesh_file, only=reals)
    if len({group[name] for name in meshes.names}) < 2:
        raise ValueError(
            f"{mesh_file} has meshes of {len(meshes.names)} of the {len(reals)} real validation faces; it takes two "
            "groups and more: make it with scripts/find_mesh.py from a table of these faces"
        )
    print(f"{len(meshes.names)} of {len(reals)} real validation faces have a mesh", file=sys.stderr)
    pairs = []
    for name in tqdm(meshes.names, unit="face", desc="swapping"):
        rng = np.random.default_rng(number_of(name))
        donor = name
        while group[donor] == group[name]:
            donor = meshes.like(name, rng, CANDIDATES)
        points = [five_points(mesh) for each in (donor, name) if (mesh := meshes.of(each)) is not None]
        image = source.store.read(name)
        pairs.append((image, swap_face(source.store.read(donor), points[0], image, points[1])))
    return pairs


def score(loaded: LoadedMember, pairs: list[Pair]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The logits of the real faces and of the swaps, (N,) each; crops are cut as the stored ones are, TIGHT."""
    spec = loaded.card.crop
    sides = zip(*pairs, strict=True)
    real, swapped = (
        loaded.logits([cut(image, box_inside_crop(TIGHT, *image.shape[1::-1]), spec) for image in side])
        for side in sides
    )
    return real, swapped


def row(name: str, real: NDArray[np.float64], swapped: NDArray[np.float64]) -> str:
    """A line of the table."""
    target = np.repeat([0.0, 1.0], [len(real), len(swapped)])
    ours, theirs = (" ".join(f"{v:6.2f}" for v in np.percentile(side, PERCENTILES)) for side in (real, swapped))
    found = auc(target, np.concatenate([real, swapped]))
    return f"{name:<16} {found:.3f}  {ours}   {theirs}   {np.median(swapped - real):6.2f}"


def main() -> None:
    """Parse, make the pairs, score them, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crops", type=Path, nargs="+", help="folders or uncompressed tars of tight face crops")
    parser.add_argument("--labels", type=Path, required=True, help="CSV with face, label, split and a group")
    parser.add_argument("--mesh", type=Path, required=True, help="what scripts/find_mesh.py wrote for these faces")
    parser.add_argument("--members", type=Path, default=WEIGHTS_DIR)
    parser.add_argument("--picture", type=Path, help="also write some pairs here, real above swap")
    asked = parser.parse_args()
    try:
        pairs = make_pairs(Source.read(asked.crops, asked.labels), asked.mesh)
        members = load_members(find_device("cpu"), asked.members)
    except (DfdcError, ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from error
    if asked.picture:
        shown = np.hstack([np.vstack(pair) for pair in pairs[:: max(1, len(pairs) // 8)][:8]])
        cv2.imwrite(str(asked.picture), shown[..., ::-1])
    print(f"{'member':<16} AUC    {'real 10 % 50 % 90 %':<23}{'swap 10 % 50 % 90 %':<23}adds")
    scored = []
    for loaded in members:
        scored.append(score(loaded, pairs))
        print(row(loaded.card.name, *scored[-1]), flush=True)
    if len(scored) > 1:
        print(row("their mean", *np.mean(scored, axis=0)))


if __name__ == "__main__":
    main()
