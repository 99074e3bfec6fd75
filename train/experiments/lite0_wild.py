"""lite0_tight, trained on for videos from anywhere: blends among the fakes, and pictures as they are published.

Start it from that member: dfdc train lite0_wild --init models/weights/lite0_tight.safetensors --mesh ...
"""

from train.config import TrainConfig

CONFIG = TrainConfig(
    member="lite0_wild",
    epochs=2,
    small_epochs=2,
    small_size=176,
    self_blend=0.25,
    degrade=0.4,
    publish=0.3,
    lr=3e-4,
    seed=61,
)
