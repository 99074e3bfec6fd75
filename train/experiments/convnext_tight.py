"""ConvNeXt-Tiny on the face and little else at 224: of 2022, so no winner had it; another kind of network to blend."""

from train.config import TrainConfig

CONFIG = TrainConfig(
    member="convnext_tight",
    epochs=8,
    small_epochs=0,
    sampling="originals",
    batch=64,
    cutout=0.3,
    degrade=0.2,
    lr=1e-4,
    weight_decay=0.05,
)
