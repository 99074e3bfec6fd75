"""Which blend predicts: the competition's, or the one for videos from anywhere."""

from __future__ import annotations

from pathlib import Path

from common.errors import DfdcError
from ensemble.blend import ANY_FILE, FILE, Blend
from models.checkpoint import WEIGHTS_DIR, find_cards


def load_blend(members: Path = WEIGHTS_DIR, file: Path | None = None, competition: bool = True) -> Blend:
    """Read the blend of a folder of members and check that it fits them.

    Args:
        members: the folder.
        file: a blend.json; without one it is the folder's.
        competition: of the folder's two, take blend.json, tuned on DFDC alone; else blend_any.json, tuned on several
            data sets alike, as far as it is there.

    Returns:
        The blend with the members that have a weight; equal weights of all where the folder has no blend.json.

    Raises:
        DfdcError: there is no member, the blend names one that is not there, or one whose weights are others than those
            that it was tuned with.
    """
    hashes = {card.name: card.sha256 for card in find_cards(members)}
    found = file or blend_file(members, competition)
    if found is None:
        if not hashes:
            raise DfdcError(f"{members} holds no member (a .safetensors with its .json); train one with: dfdc train")
        return Blend.equal(sorted(hashes))
    blend = Blend.read(found).needed()
    blend.check(hashes)
    return blend


def blend_file(members: Path, competition: bool) -> Path | None:
    """The blend of a folder, as `load_blend` chooses it; None where there is none."""
    names = (FILE,) if competition else (ANY_FILE, FILE)
    return next((members / name for name in names if (members / name).exists()), None)
