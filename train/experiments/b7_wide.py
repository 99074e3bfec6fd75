"""EfficientNet-B7 on the face with much around it, at 380: the winner's network (selimsef), crop and optimiser.

There 40 epochs of 2,500 steps on 4 x 12 crops, 4.8 million; 12 epochs over the originals are as many where
`dfdc extract` kept 10 frames of each video. Ours: the average of the weights is kept, and the epoch chosen by itself.
"""

from train.config import TrainConfig

CONFIG = TrainConfig(
    member="b7_wide",
    epochs=12,
    small_epochs=0,
    sampling="originals",
    batch=12,
    cutout=0.7,
    optimizer="sgd",
    lr=0.01,  # for four processes: 48 crops a step; on one, accumulate=4
    weight_decay=1e-4,
    schedule="poly",
    poly_power=0.9,
    warmup=0.0,
    label_smoothing=0.01,
    clip_norm=1.0,
    sync_bn=True,
)
