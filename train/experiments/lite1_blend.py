"""EfficientNet-Lite1 on made fakes alone, closer than mnv1_blend: another backbone for the same question."""

from train.config import TrainConfig

CONFIG = TrainConfig(
    member="lite1_blend",
    epochs=5,
    small_epochs=4,
    small_size=128,
    made_fakes=True,
    same_augment=True,
    swaps=0.6,
    seams=1.0,
    publish=0.7,
    seed=54,
)
