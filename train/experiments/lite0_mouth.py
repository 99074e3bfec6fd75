"""EfficientNet-Lite0 on the mouth and what is below, at twice the scale: where lips and teeth are repainted."""

from train.config import TrainConfig

CONFIG = TrainConfig(
    member="lite0_mouth",
    epochs=5,
    small_epochs=2,
    small_size=128,
    label_smoothing=0.05,
    weight_decay=0.05,
    seed=11,
)
