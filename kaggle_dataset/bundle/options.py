"""What a build packs, and under which address it goes to Kaggle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kaggle_dataset.bundle.checks import LICENSES, slug_problems

COMPETITION = "deepfake-detection-challenge"


@dataclass(frozen=True)
class Address:
    """Where it goes on Kaggle, and under which name."""

    owner: str
    slug: str = "dfdc-ensemble"
    title: str = ""  # default: the words of the slug
    license: str = "apache-2.0"
    competition: str = COMPETITION

    def __post_init__(self) -> None:
        # 43: the kernel's slug is longer by its ending, and has the same limit.
        if problems := slug_problems(self.owner, self.slug, self.words):
            raise ValueError("; ".join(problems))
        if len(self.slug) > 43:
            raise ValueError(f"the slug {self.slug!r} has {len(self.slug)} characters; 43 leave room for -kernel")
        if self.license not in LICENSES:
            raise ValueError(f"the license is {self.license!r}; it must be one of {', '.join(sorted(LICENSES))}")

    @property
    def words(self) -> str:
        """The title."""
        return self.title or self.slug.replace("-", " ")


@dataclass(frozen=True)
class BuildOptions:
    """What a build packs, and where it goes on Kaggle.

    Attributes:
        members: folder of the members.
        owner: name of the Kaggle account.
        slug: of the dataset; the kernel's is this with -kernel.
        title: of the dataset; "": the words of the slug.
        license: of the dataset, as Kaggle's client names it.
        competition: whose data the kernel is given, by its name in its address.
        blend: a blend.json; None: the one beside the members.
        videos: clips with faces, on which the drift of members that are not stored in fp16 yet is measured.
        openvino: bundle OpenVINO, for sessions without a GPU.
        others: other datasets that the kernel is given, owner/slug -> bytes; they count against the limit.
        cache: folder of downloaded wheels; None: `wheels` in the output folder.

    Raises:
        ValueError: for an address that Kaggle would not take.
    """

    members: Path
    owner: str
    slug: str = "dfdc-ensemble"
    title: str = ""
    license: str = "apache-2.0"
    competition: str = COMPETITION
    blend: Path | None = None
    videos: Sequence[Path] = ()
    openvino: bool = True
    others: Mapping[str, int] = field(default_factory=dict)
    cache: Path | None = None

    def __post_init__(self) -> None:
        _ = self.address  # which refuses what Kaggle would not take

    @property
    def address(self) -> Address:
        """Where it goes on Kaggle."""
        return Address(self.owner, self.slug, self.title, self.license, self.competition)
