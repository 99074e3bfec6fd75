"""MobileNetV1 on the tight face, from a network that has learnt seams: another start than EfficientNet-Lite0's."""

from train.config import TrainConfig

CONFIG = TrainConfig(
    member="mnv1_tight",
    start="blending",
    epochs=7,
    small_epochs=5,
    small_size=128,
    same_augment=True,
    self_blend=0.25,
    publish=0.3,
    degrade=0.4,
    label_smoothing=0.05,
    weight_decay=0.05,
    seed=52,
)
