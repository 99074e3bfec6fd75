"""MobileNetV1 from face recognition on the tight face: another start and another family than EfficientNet-Lite0."""

from train.config import TrainConfig

CONFIG = TrainConfig(
    member="mnv1_tight",
    start="vggface2",
    epochs=5,
    small_epochs=4,
    small_size=128,
    self_blend=0.15,
    degrade=0.4,
    label_smoothing=0.05,
    weight_decay=0.05,
    seed=52,
)
