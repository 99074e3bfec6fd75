"""EfficientNet-Lite0 inside the face at 192, with parts cut out and some fakes made of reals: it must use all of it."""

from train.config import TrainConfig

CONFIG = TrainConfig(
    member="lite0_inner",
    epochs=4,
    small_epochs=2,
    small_size=128,
    cutout=0.2,
    self_blend=0.1,
    label_smoothing=0.05,
    weight_decay=0.05,
    seed=33,
)
