"""The members: a backbone from timm and the crop it looks at. Adding a member is adding one entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from faces.crop import CropSpec

# TensorFlow's EfficientNets were trained on (x - 127) / 128 with x in 0..255.
TF_MEAN = (127 / 255, 127 / 255, 127 / 255)
TF_STD = (128 / 255, 128 / 255, 128 / 255)

# The public DFDC face crops are squares from dlib's HOG detector, brow to chin. Against BlazeFace's box of the same
# face they are this much wider on each side, and lie this much lower: medians over 267 of them, measured by
# scripts/measure_crop_geometry.py (the way "crops", corrected by its control).
DLIB_MARGIN = 0.035
DLIB_SHIFT_Y = -0.047


# How a backbone's features become one logit. linear: timm's own pooling and classifier. mlp256: the feature map
# flattened, a dense layer of 256 with ReLU, and one output.
Head = Literal["linear", "mlp256"]


@dataclass(frozen=True)
class Member:
    """One network of the ensemble: what it is built from and what it looks at."""

    name: str  # also the name of its files in models/weights
    backbone: str  # a timm model name
    crop: CropSpec  # cut from the frame, and its mean and std
    dropout: float = 0.2  # before the classifier
    drop_path: float = 0.1  # stochastic depth over the blocks; backbones without it do without
    head: Head = "linear"


def _inside(name: str, size: int, margin: float, shift_y: float) -> CropSpec:
    """A crop that a public DFDC face crop holds whole, for the backbones with TensorFlow's weights."""
    return CropSpec(name, size=size, margin=margin, shift_y=shift_y, pad="edge", mean=TF_MEAN, std=TF_STD)


# What the shipped members look at: all lie within the public crops, so the CPU-sized data can teach them.
TIGHT = _inside("tight", 224, DLIB_MARGIN, DLIB_SHIFT_Y)
INNER = _inside("inner", 192, -0.1, -0.02)
MOUTH = _inside("mouth", 160, -0.17, 0.158)
EYES = _inside("eyes", 160, -0.1, -0.18)

# HSE_FaceRec's MobileNetV1 takes bytes less Caffe's ImageNet means.
CAFFE_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)
CAFFE_STD = (1 / 255,) * 3

# Seams lie at the hairline and the jaw, outside the tight crops: these have them. The centre lies higher, as in the
# crops that the blending family is trained on.
BLEND = CropSpec("blend", size=160, margin=0.15, shift_y=-0.03, pad="edge", mean=CAFFE_MEAN, std=CAFFE_STD)
# A second look for the same: closer, so that the jaw fills the picture, in the colours of TensorFlow's weights.
BLEND_CLOSE = CropSpec("blend_close", size=160, margin=0.075, shift_y=-0.03, pad="edge", mean=TF_MEAN, std=TF_STD)
# The tight crop again, small enough for EfficientNet-Lite1.
TIGHT_SMALL = _inside("tight_small", 192, DLIB_MARGIN, DLIB_SHIFT_Y)
TIGHT_FACE = CropSpec(
    "tight_face", size=160, margin=DLIB_MARGIN, shift_y=DLIB_SHIFT_Y, pad="edge", mean=CAFFE_MEAN, std=CAFFE_STD
)

SHIPPED = (
    Member("mnv1_blend", "mobilenetv1_100", BLEND, drop_path=0.0),
    Member("mnv1_tight", "mobilenetv1_100", TIGHT_FACE, dropout=0.3, drop_path=0.0),
    Member("lite1_tight", "tf_efficientnet_lite1", TIGHT_SMALL, dropout=0.3),
    Member("lite0_tight", "tf_efficientnet_lite0", TIGHT),
    Member("lite0_mouth", "tf_efficientnet_lite0", MOUTH, dropout=0.3),
    Member("lite0_eyes", "tf_efficientnet_lite0", EYES, dropout=0.3),
)

# Trained by the experiments of the same names and left out of the ensemble, which is as good without them: the first
# is what lite1_tight starts from.
LEFT_OUT = (
    Member("lite1_blend", "tf_efficientnet_lite1", BLEND_CLOSE),
    Member("lite0_inner", "tf_efficientnet_lite0", INNER, dropout=0.3),
)

# What the winners of the DFDC looked at, as their code has it, with one difference: they measured from another
# detector's boxes (MTCNN, RetinaFace, DSFD; ours are BlazeFace's), and cut rectangles where `cut` makes a square. These
# reach outside the public face crops: they want crops that `dfdc extract` has cut from the videos.
# selimsef (1st): a third of the box added on each side (x1.67), longer side to 380, black around.
WIDE = CropSpec("wide", size=380, margin=1 / 3)
# NTech-Lab (3rd): a box x1.5, at 224 high (and 192 wide there).
LOOSE = CropSpec("loose", size=224, margin=0.25)
# \WM/ (2nd): five points onto a template with the eyes 75 of 320 pixels apart, about 1.8 times the face's width. The
# eyes of ALIGNED_POINTS are 35.2377 of 112 apart: (35.2377 / 112 x 320 / 75 - 1) / 2 = 0.1712 on each side.
ALIGNED = CropSpec("aligned", size=320, margin=0.1712, align="5pt", mean=(0.5,) * 3, std=(0.5,) * 3)
# Xception's own input size, on the square that DeepfakeBench and FaceForensics++ made usual: a box x1.3.
SQUARE = CropSpec("square", size=299, margin=0.15, mean=(0.5,) * 3, std=(0.5,) * 3)
# The face and little else: a box x1.1, at the 224 pixels of the ISPL team's EfficientNet-B4.
CLOSE = CropSpec("close", size=224, margin=0.05)
# The tutorial members know no framing: the same tight box at their 150 pixels, scaled to 0..1 and nothing more.
UNIT = CropSpec("unit", size=150, margin=0.05, mean=(0.0,) * 3, std=(1.0,) * 3)

# Dropout and drop path as in the EfficientNet paper, but for b7_wide, where they are selimsef's.
WINNERS = (
    Member("b7_wide", "tf_efficientnet_b7.ns_jft_in1k", WIDE, dropout=0.0, drop_path=0.2),
    Member("b5_loose", "tf_efficientnet_b5.ns_jft_in1k", LOOSE, dropout=0.4, drop_path=0.2),
    Member("xception_aligned320", "legacy_xception.tf_in1k", ALIGNED, drop_path=0.0),
    Member("xception_square299", "legacy_xception.tf_in1k", SQUARE, drop_path=0.0),
    Member("b4_tight", "tf_efficientnet_b4.ns_jft_in1k", CLOSE, dropout=0.4, drop_path=0.2),
    Member("convnext_tight", "convnext_tiny.fb_in22k_ft_in1k", CLOSE),
)
# The network of the Keras tutorials: a floor that an ensemble must clear.
TUTORIAL = Member("vgg16_tutorial", "vgg16.tv_in1k", UNIT, dropout=0.0, drop_path=0.0, head="mlp256")

MEMBERS = {member.name: member for member in (*SHIPPED, *LEFT_OUT, *WINNERS, TUTORIAL)}


def member_specs() -> tuple[CropSpec, ...]:
    """Return the crops of all members, each once."""
    return tuple(dict.fromkeys(member.crop for member in MEMBERS.values()))


def get_member(name: str) -> Member:
    """Return the member called `name`; ValueError with the known names for an unknown one."""
    if name not in MEMBERS:
        raise ValueError(f"no member is called {name!r}; known: {', '.join(sorted(MEMBERS))}")
    return MEMBERS[name]
