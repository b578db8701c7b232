"""DarkNet-53: the residual backbone of YOLOv3 (https://arxiv.org/abs/1804.02767).

Deviations: the paper's normalisation has no stated epsilon; here it is 1e-3, as in the later nets of its family.
"""

import keras
from keras import layers

from kerasdl.blocks import conv_norm_act, darknet_residual, prediction_head
from kerasdl.core import checks, register

# Table 1: residual blocks in each of the five stages.
STAGES_53 = (1, 2, 8, 8, 4)


def darknet_features(x, *, stages=STAGES_53, channels: int = 32, act: str = "leaky", prefix: str = "") -> dict:
    """The stem and the stages of DarkNet, with the last tensor of each stride.

    Source: https://arxiv.org/abs/1804.02767, table 1.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        stages: residual blocks in each stage; each begins with a 3x3 convolution of stride 2 to twice the channels.
        channels: of the stem, even.
        act: activation, as in `conv_norm_act`.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": (B, H/2, W/2, c), ..., "stride32": (B, H/32, W/32, c)}`.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> features = darknet_features(keras.Input((64, 64, 3)), stages=(1, 1, 1, 1, 1))
        >>> list(features), features["stride32"].shape
        (['stride2', 'stride4', 'stride8', 'stride16', 'stride32'], (None, 2, 2, 1024))
    """
    checks.counts("stages", stages)
    checks.at_least("channels", channels, 1)
    x = conv_norm_act(x, channels, 3, act=act, name=f"{prefix}stem")
    features = {}
    for stage, repeats in enumerate(stages, start=1):
        name = f"{prefix}stage{stage}"
        x = conv_norm_act(x, channels * 2**stage, 3, stride=2, padding="symmetric", act=act, name=f"{name}_downsample")
        for number in range(1, repeats + 1):
            x = darknet_residual(x, act=act, name=f"{name}_block{number}")
        features[f"stride{2**stage}"] = x
    return features


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/1804.02767",
    qat="full",
    variants={"darknet53": {"stages": STAGES_53}},
    # Convolutions have 40,549,216, the head 1,025,000, factors and offsets of normalisation 35,712, statistics as many.
    params={"darknet53": 41_609_928 + 35_712},
    reference="derived from table 1: 41,609,928 trainable, and the batch-norm statistics",
    tags=("cnn",),
    free={"image_shape": (None, None, 3)},
    tiny=dict(image_shape=(32, 32, 3), stages=(1, 2), channels=8, classes=4),
)
def darknet(
    image_shape=(256, 256, 3), *, classes: int = 1000, stages=STAGES_53, channels: int = 32, dropout: float = 0.0
) -> keras.Model:
    """DarkNet, the residual classifier of 3x3 and 1x1 convolutions that YOLOv3 stands on.

    Source: https://arxiv.org/abs/1804.02767, table 1.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        stages: residual blocks in each stage; channels double from stage to stage.
        channels: of the stem.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("darknet53", image_shape=(64, 64, 3), classes=10).output_shape
        (None, 10)
    """
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    x = list(darknet_features(image, stages=stages, channels=channels).values())[-1]
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="darknet")
