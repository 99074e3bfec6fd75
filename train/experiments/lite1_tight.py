"""EfficientNet-Lite1 on the tight face: DFDC's fakes and made ones.

The shipped one started from a `lite1_blend`, which had learnt seams: train that first, then give it as --init.
"""

from train.config import TrainConfig

CONFIG = TrainConfig(
    member="lite1_tight",
    epochs=6,
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
