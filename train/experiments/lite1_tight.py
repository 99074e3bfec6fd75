"""EfficientNet-Lite1 on the tight face, from the network that has learnt seams: it sees DFDC's fakes and made ones."""

from train.config import TrainConfig

CONFIG = TrainConfig(
    member="lite1_tight",
    start="blending",
    epochs=9,
    small_epochs=0,
    same_augment=True,
    self_blend=0.25,
    bands=0.35,
    publish=0.3,
    degrade=0.4,
    label_smoothing=0.05,
    weight_decay=0.05,
    batch=64,
    lr=6e-4,
    seed=61,
)
