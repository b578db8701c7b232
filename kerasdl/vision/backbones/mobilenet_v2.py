"""MobileNetV2: inverted residuals with linear bottlenecks (https://arxiv.org/abs/1801.04381).

Deviations: batch-norm momentum 0.9 in place of 0.999, so that short runs learn the statistics too.
"""

import keras
from keras import layers

from kerasdl.blocks import conv_norm_act, inverted_residual, prediction_head, round_channels
from kerasdl.core import checks, register

# Table 2: expansion, channels, repeats, stride of the first repeat.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2_features(x, *, width: float = 1.0, stages=STAGES, output_stride: int = 32, prefix: str = "") -> dict:
    """The stem and the stages of MobileNetV2, with the last tensor of each stride.

    Source: https://arxiv.org/abs/1801.04381, table 2, and section 6.3 for the dilation.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        width: multiplies every channel count.
        stages: rows of expansion, channels, repeats, stride.
        output_stride: greatest stride, 8, 16 or 32; later stages are dilated instead, and their maps keep their names.
            A kernel whose stride was left out has the dilation before it, so that trained weights compute the same.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": (B, H/2, W/2, c), ..., "stride32": (B, H/32, W/32, c)}`. With an output stride of 16 the map
        `stride32` has the sides of `stride16`.

    Raises:
        ArgumentError: an unknown output stride.

    Example:
        >>> list(mobilenet_v2_features(keras.Input((64, 64, 3))))
        ['stride2', 'stride4', 'stride8', 'stride16', 'stride32']
    """
    checks.one_of("output_stride", output_stride, (8, 16, 32))
    x = conv_norm_act(x, round_channels(32 * width), stride=2, act="relu6", name=f"{prefix}stem")
    features, total_stride = {"stride2": x}, 2
    for stage, (expansion, channels, repeats, stride) in enumerate(stages, start=1):
        total_stride *= stride
        rate = max(1, total_stride // output_stride)
        for block in range(1, repeats + 1):
            block_stride = stride if block == 1 else 1
            x = inverted_residual(
                x,
                round_channels(channels * width),
                expanded=expansion * x.shape[-1],
                stride=1 if rate > 1 else block_stride,
                dilation=max(1, rate // block_stride),
                shortcut=block_stride == 1,
                name=f"{prefix}stage{stage}_block{block}",
            )
        features[f"stride{total_stride}"] = x
    return features


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/1801.04381",
    variants={
        "mobilenet_v2_035": {"width": 0.35},
        "mobilenet_v2_050": {"width": 0.5},
        "mobilenet_v2_075": {"width": 0.75},
        "mobilenet_v2": {},
        "mobilenet_v2_130": {"width": 1.3},
        "mobilenet_v2_140": {"width": 1.4},
    },
    params={
        "mobilenet_v2_035": 1_691_208,
        "mobilenet_v2_050": 1_987_224,
        "mobilenet_v2_075": 2_663_064,
        "mobilenet_v2": 3_538_984,
        "mobilenet_v2_130": 5_431_048,
        "mobilenet_v2_140": 6_156_712,
    },
    reference="keras.applications 3.15.1, MobileNetV2(alpha=width)",
    tags=("cnn", "mobile"),
    weights={
        "keras-applications": {
            "mobilenet_v2_035": "MobileNetV2(alpha=0.35)",
            "mobilenet_v2_050": "MobileNetV2(alpha=0.5)",
            "mobilenet_v2_075": "MobileNetV2(alpha=0.75)",
            "mobilenet_v2": "MobileNetV2",
            "mobilenet_v2_130": "MobileNetV2(alpha=1.3)",
            "mobilenet_v2_140": "MobileNetV2(alpha=1.4)",
        },
        "hugging-face": "kerasdl.vision.peers:MOBILENET_V2",
    },
    free={"image_shape": (None, None, 3)},
    tiny=dict(image_shape=(32, 32, 3), width=0.25, stages=((1, 8, 1, 1), (6, 16, 2, 2)), last_channels=64, classes=4),
)
def mobilenet_v2(
    image_shape=(224, 224, 3),
    *,
    classes: int = 1000,
    width: float = 1.0,
    stages=STAGES,
    last_channels: int = 1280,
    dropout: float = 0.2,
) -> keras.Model:
    """MobileNetV2, the image classifier made of inverted residuals.

    Source: https://arxiv.org/abs/1801.04381, table 2.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        width: multiplies every channel count, from 0.1 to 2; the paper's are 0.35 to 1.4.
        stages: rows of expansion, channels, repeats, stride, for a net of one's own.
        last_channels: of the last 1x1 convolution; widened with the net where width is above 1.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> mobilenet_v2((96, 96, 3), classes=10, width=0.5).count_params()
        719034
    """
    checks.within("width", width, 0.1, 2.0, "Pass stages= for a custom net.")
    checks.at_least("last_channels", last_channels, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    x = list(mobilenet_v2_features(image, width=width, stages=stages).values())[-1]
    x = conv_norm_act(x, round_channels(last_channels * max(1.0, width)), 1, act="relu6", name="last")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    logits = prediction_head(x, classes, dropout=dropout)
    return keras.Model(image, logits, name="mobilenet_v2")
