"""MobileNetV1 from face recognition, taught on made fakes alone: it looks for blending, not for a generator."""

from train.config import TrainConfig

CONFIG = TrainConfig(
    member="mnv1_blend",
    start="blending",
    epochs=5,
    small_epochs=2,
    small_size=128,
    made_fakes=True,
    same_augment=True,
    swaps=0.45,
    seams=1.0,
    publish=0.7,
    lr=5e-4,
    seed=53,
)
