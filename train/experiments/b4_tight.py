"""EfficientNet-B4 on the face and little else at 224: the ISPL team's network and size, trained as our small ones are.

A quarter of the fakes are originals blended into themselves, so that it learns seams and not identities.
"""

from train.config import TrainConfig

CONFIG = TrainConfig(
    member="b4_tight",
    epochs=8,
    small_epochs=0,
    sampling="originals",
    batch=64,
    self_blend=0.25,
    degrade=0.2,
    lr=3e-4,
)
