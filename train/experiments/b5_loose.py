"""EfficientNet-B5 on a box x1.5 at 224: the third place's (NTech-Lab) crop and recipe, one size below their B7.

Theirs: aligned pairs augmented alike and mixed by Beta(0.5, 0.5), half of them re-encoded, the rate falling linearly,
100,000 steps of 64 pairs. That is 12.8 million crops, 33 such epochs at 10 frames a video; these are 12.
"""

from train.config import TrainConfig

CONFIG = TrainConfig(
    member="b5_loose",
    epochs=12,
    small_epochs=0,
    sampling="originals",
    batch=32,
    augment="strong",
    same_augment=True,
    mixup=0.5,
    degrade=0.5,
    optimizer="sgd",
    lr=0.005,  # for four processes: 128 crops a step; on one, accumulate=4
    weight_decay=1e-4,
    schedule="poly",
    poly_power=1.0,
    warmup=0.001,
    label_smoothing=0.0,  # the mixing is the smoothing
    sync_bn=True,
)
