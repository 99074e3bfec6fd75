"""MobileNetV1 from face recognition, taught on made fakes alone: it looks for blending, not for a generator."""

from train.config import TrainConfig

CONFIG = TrainConfig(
    member="mnv1_blend",
    start="blending",
    epochs=5,
    small_epochs=0,
    made_fakes=True,
    same_augment=True,
    swaps=0.5,
    bands=0.35,
    seams=1.0,
    publish=0.7,
    lr=4e-4,
    seed=154,
)
