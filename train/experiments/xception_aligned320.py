r"""Xception on the face turned upright by five points, at 320: the second place's (\WM/) network and crop.

Theirs started from random weights at SGD 0.01, on 4 to 6 GPUs with 10 crops each; ours starts from ImageNet. The table
needs the five points, which `dfdc extract` writes.
"""

from train.config import TrainConfig

CONFIG = TrainConfig(
    member="xception_aligned320",
    epochs=12,
    small_epochs=0,
    sampling="originals",
    batch=12,
    augment="strong",
    optimizer="sgd",
    lr=0.01,  # for four processes: 48 crops a step; on one, accumulate=4
    weight_decay=1e-5,
    warmup=0.01,
    label_smoothing=0.0,
    sync_bn=True,
)
