"""Xception on a box x1.3 at 299, its own input size: the usual baseline of the benchmarks, at their rate (2e-4)."""

from train.config import TrainConfig

CONFIG = TrainConfig(
    member="xception_square299",
    epochs=10,
    small_epochs=0,
    sampling="originals",
    batch=32,
    lr=2e-4,
)
