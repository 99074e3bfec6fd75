"""MobileNetV1 from face recognition, taught on made fakes alone: it looks for blending, not for a generator."""

from train.config import TrainConfig

CONFIG = TrainConfig(
    member="mnv1_blend",
    start="vggface2",
    size=128,
    epochs=4,
    small_epochs=4,
    small_size=128,
    made_fakes=True,
    same_augment=True,
    publish=0.7,
    lr=6e-4,
    seed=51,
)
