"""ResNeXt: residual blocks whose 3x3 convolution is split into groups (https://arxiv.org/abs/1611.05431)."""

import keras
from keras import layers

from kerasdl.blocks import bottleneck_residual, prediction_head
from kerasdl.core import checks, register

from .resnet import STAGES_50, STAGES_101, residual_stages


def resnext_features(
    x, *, stages=STAGES_50, groups: int = 32, group_width: int = 4, channels: int = 64, prefix: str = ""
) -> dict:
    """The stem and the stages of ResNeXt, with the last tensor of each stride.

    Source: https://arxiv.org/abs/1611.05431, table 1.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        stages: blocks in each stage.
        groups: the cardinality.
        group_width: channels of a group in the first stage; they double from stage to stage.
        channels: of the stem.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": (B, H/2, W/2, c), ..., "stride32": (B, H/32, W/32, c)}`.

    Example:
        >>> list(resnext_features(keras.Input((64, 64, 3))))
        ['stride2', 'stride4', 'stride8', 'stride16', 'stride32']
    """

    def block(x, filters, *, stride, name):
        width = groups * group_width * filters // channels
        return bottleneck_residual(x, filters, width=width, groups=groups, stride=stride, name=name)

    return residual_stages(x, stages, block, channels=channels, prefix=prefix, epsilon=1e-5)


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/1611.05431",
    variants={
        "resnext50_32x4d": {"stages": STAGES_50, "groups": 32, "group_width": 4},
        "resnext101_32x8d": {"stages": STAGES_101, "groups": 32, "group_width": 8},
        "resnext101_64x4d": {"stages": STAGES_101, "groups": 64, "group_width": 4},
    },
    params={
        "resnext50_32x4d": 25_028_904 + 68_224,
        "resnext101_32x8d": 88_791_336 + 202_880,
        "resnext101_64x4d": 83_455_272 + 202_880,
    },
    reference="torchvision 0.28 plus batch-norm statistics",
    tags=("cnn",),
    free={"image_shape": (None, None, 3)},
    tiny=dict(image_shape=(32, 32, 3), stages=(1, 1), groups=4, group_width=2, channels=8, classes=4),
)
def resnext(
    image_shape=(224, 224, 3),
    *,
    classes: int = 1000,
    stages=STAGES_50,
    groups: int = 32,
    group_width: int = 4,
    channels: int = 64,
    dropout: float = 0.0,
) -> keras.Model:
    """ResNeXt, the image classifier with cardinality beside depth and width.

    Source: https://arxiv.org/abs/1611.05431, table 1.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        stages: blocks in each stage.
        groups: the cardinality, 1 or more.
        group_width: channels of a group in the first stage, 1 or more.
        channels: of the stem.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("resnext50_32x4d", image_shape=(64, 64, 3), classes=10).output_shape
        (None, 10)
    """
    checks.at_least("groups", groups, 1)
    checks.at_least("group_width", group_width, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    features = resnext_features(image, stages=stages, groups=groups, group_width=group_width, channels=channels)
    x = layers.GlobalAveragePooling2D(name="pool")(list(features.values())[-1])
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="resnext")
