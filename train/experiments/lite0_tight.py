"""EfficientNet-Lite0 on the tight face, brow to chin: small enough to train on two CPU cores in about an hour."""

from train.config import TrainConfig

CONFIG = TrainConfig(member="lite0_tight")
