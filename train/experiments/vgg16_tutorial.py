"""The Keras tutorials' VGG16 at 150, as they train it: what a beginner's kernel scores, for comparison.

Their validation is 20 % of the videos at random; here it is 20 % of the groups, so that no original stands on both
sides. They stop after the last epoch and average nothing.
"""

from train.config import TrainConfig

CONFIG = TrainConfig(
    member="vgg16_tutorial",
    epochs=10,
    small_epochs=0,  # its dense layer is bound to 150 pixels
    sampling="independent",
    batch=10,
    augment="keras",
    optimizer="rmsprop",
    lr=2e-5,
    weight_decay=0.0,
    schedule="constant",
    warmup=0.0,
    label_smoothing=0.0,
    clip_norm=1e9,  # as good as none
    ema_decay=0.0,
    amp="off",
    val_share=0.2,
)
