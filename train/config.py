"""The options of a training run; one frozen instance per member lives in train/experiments."""

from __future__ import annotations

import importlib
import importlib.util
import math
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from train.augment.photometric import MOVED_BY_GEOMETRY

# The fields that are shares, from 0 to 1.
SHARES = (
    "cutout", "self_blend", "swaps", "bands", "misfits", "publish", "degrade", "warmup", "label_smoothing", "val_share",
    "ema_decay",
)  # fmt: skip
# Other numbers, and the least that each may be.
LEAST = {
    "size": 0, "small_size": 1, "batch": 2, "accumulate": 1, "mixup": 0, "seams": 0, "momentum": 0, "weight_decay": 0,
    "poly_power": 0, "clip_norm": 0, "seed": 0,
}  # fmt: skip


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the weights, besides the data and the number of processes."""

    member: str  # a name in models.registry
    start: Literal["imagenet", "vggface2", "blending", "scratch"] = "imagenet"
    size: int = 0  # pixels, the side of the input; 0: the member's own
    epochs: int = 7  # `sampling` says what an epoch shows
    small_epochs: int = 4  # the first epochs run at small_size: twice as fast, and they transfer
    small_size: int = 160  # pixels
    # pairs: every fake once, beside its original. originals: every original once, each epoch beside another of its
    # fakes. independent: every fake once, and as many reals drawn at random.
    sampling: Literal["pairs", "originals", "independent"] = "pairs"
    batch: int = 32  # per process; half fakes, half reals
    accumulate: int = 1  # batches per optimiser step

    augment: Literal["standard", "strong", "keras", "none"] = "standard"  # a set in train.augment.photometric
    same_augment: bool = False  # a fake and its original are augmented alike
    mixup: float = 0.0  # a of Beta(a, a), the share of the fake in a fake mixed with its original; 0: no mixing
    cutout: float = 0.0  # share of the faces that lose their eyes, nose, mouth or a half
    self_blend: float = 0.0  # share of the fakes that are replaced by one made of their original (train.blending)
    # Every fake is made of a real face (train.blending): the table holds reals only, validation fakes come from the
    # compositor that is kept out of training.
    made_fakes: bool = False
    swaps: float = 0.35  # of the fakes that are made of meshes, the share with another face; the rest are self-blends
    bands: float = 0.0  # of those fakes, the share that is blended band by band (train.augment.blending.blend_bands)
    misfits: float = 0.0  # of those swaps, the share that fits badly (train.augment.blending.misfit)
    # Weight of a second loss beside the label's: where in the face was it blended (train.seams)? 0: it is not asked.
    seams: float = 0.0
    publish: float = 0.0  # share of the faces that are shrunk and go through H.264 or JPEG before they are cut
    degrade: float = 0.0  # share of the faces that go through a video codec, a quarter of the size, or get an overlay

    optimizer: Literal["adamw", "sgd", "rmsprop"] = "adamw"
    lr: float = 5e-4  # peak of the schedule
    momentum: float = 0.9  # of sgd (Nesterov)
    weight_decay: float = 0.02  # not on vectors (norms, biases)
    schedule: Literal["cosine", "poly", "constant"] = "cosine"  # after the warm-up
    poly_power: float = 0.9
    warmup: float = 0.05  # share of all steps over which the rate climbs from 0
    label_smoothing: float = 0.03  # the target of a fake is 1 - this / 2
    clip_norm: float = 2.0  # of the gradient
    ema_decay: float = 0.998  # of the weights that are validated and kept; 0: the last weights themselves
    amp: Literal["auto", "bf16", "fp16", "off"] = "auto"  # auto on CUDA: bf16 from sm_80 on, else fp16; off on CPU
    sync_bn: bool = False  # batch statistics over all processes (CUDA)
    init: str = ""  # the .safetensors of a member to start from, instead of `start`
    val_share: float = 0.0  # of the groups, validated on where the table has neither a split nor a fold
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or not 0 <= self.small_epochs <= self.epochs:
            raise ValueError(
                f"epochs {self.epochs} and small_epochs {self.small_epochs}: need 0 <= small <= epochs, 1 <= epochs"
            )
        for name, allowed in _choices().items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, not one of {allowed}")
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share, from 0 to 1")
        if self.seams and (not self.made_fakes or self.mixup or self.augment not in MOVED_BY_GEOMETRY):
            raise ValueError(
                f"seams {self.seams} needs made_fakes, no mixup ({self.mixup}) and one of the augmentations "
                f"{', '.join(MOVED_BY_GEOMETRY)} (is {self.augment}): else nobody knows where the seams lie"
            )
        for name, least in LEAST.items():
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= least):
                raise ValueError(f"{name} is {getattr(self, name)}; it starts at {least}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr is {self.lr}; it must be above 0")

    def changed(self, changes: Sequence[str]) -> TrainConfig:
        """Return a config with some options changed.

        Args:
            changes: `key=value`, as a user types them.

        Raises:
            ValueError: there is no such option, or the value is none of its kind.
        """
        hints, new = get_type_hints(TrainConfig), {}
        for change in changes:
            key, equals, text = change.partition("=")
            if key not in hints or not equals:
                raise ValueError(f"--set {change!r}: needs key=value with one of {', '.join(hints)}")
            new[key] = _parse(key, text, hints[key])
        return replace(self, **new)


def _parse(key: str, text: str, kind: Any) -> Any:
    """The value that a text stands for."""
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0"):
            raise ValueError(f"--set {key}={text}: true or false is needed")
        return text.lower() in ("true", "1")
    if kind not in (int, float):
        return text  # a word; the config checks which
    try:
        return kind(text)
    except ValueError as error:
        raise ValueError(f"--set {key}={text}: a number ({kind.__name__}) is needed") from error


def _choices() -> dict[str, tuple[Any, ...]]:
    """The fields that take one of a few words, and the words."""
    hints = get_type_hints(TrainConfig)
    return {f.name: get_args(hints[f.name]) for f in fields(TrainConfig) if get_origin(hints[f.name]) is Literal}


def experiment_names() -> list[str]:
    """Return the names of the experiments, sorted."""
    from train import experiments

    return sorted(module.name for module in pkgutil.iter_modules(experiments.__path__))


def load_experiment(name: str) -> TrainConfig:
    """Return the config of one experiment.

    Args:
        name: of a file in train/experiments, or the path of a file like those, ending in .py. It has a `CONFIG` and may
            have a `MEMBER` (models.registry.Member), which is then known under its name.

    Raises:
        ValueError: there is no such experiment, or the file lacks a CONFIG.
    """
    if name.endswith(".py"):
        return _load_file(Path(name))
    if name not in experiment_names():
        raise ValueError(
            f"no experiment is called {name!r}; known: {', '.join(experiment_names())}, or the path of a .py file"
        )
    config: TrainConfig = importlib.import_module(f"train.experiments.{name}").CONFIG
    return config


def _load_file(path: Path) -> TrainConfig:
    """The CONFIG of a file anywhere; its MEMBER is added to those that are known."""
    from models import registry

    spec = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ValueError(f"{path} is no file with an experiment; it holds a CONFIG, and a MEMBER where that is new")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config, member = getattr(module, "CONFIG", None), getattr(module, "MEMBER", None)
    if not isinstance(config, TrainConfig):
        raise ValueError(f"{path} has no CONFIG = TrainConfig(...); train/experiments has examples")
    if isinstance(member, registry.Member):
        if registry.MEMBERS.get(member.name, member) != member:
            raise ValueError(f"{path}: a member called {member.name!r} exists already; give MEMBER another name")
        registry.MEMBERS[member.name] = member
    return config
