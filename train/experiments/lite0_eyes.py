"""EfficientNet-Lite0 on the eyes and above, each fake augmented as its original is: only the fake's marks differ."""

from train.config import TrainConfig

CONFIG = TrainConfig(
    member="lite0_eyes",
    epochs=4,
    small_epochs=2,
    small_size=112,
    same_augment=True,
    label_smoothing=0.05,
    weight_decay=0.05,
    seed=22,
)
