"""MobileNetV3: searched inverted residuals with squeeze-and-excitation and hard-swish (https://arxiv.org/abs/1905.02244).

Deviations: batch-norm momentum 0.9 in place of 0.999, so that short runs learn the statistics too.
"""

import keras
from keras import layers

from kerasdl.blocks import conv_norm_act, inverted_residual, prediction_head, round_channels
from kerasdl.core import checks, register

HARD_SWISH = "hard_silu"  # Keras's name of it

# Tables 1 and 2: kernel, expanded channels, channels, squeeze-and-excitation, activation, stride.
LARGE = (
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, HARD_SWISH, 2),
    (3, 200, 80, False, HARD_SWISH, 1),
    (3, 184, 80, False, HARD_SWISH, 1),
    (3, 184, 80, False, HARD_SWISH, 1),
    (3, 480, 112, True, HARD_SWISH, 1),
    (3, 672, 112, True, HARD_SWISH, 1),
    (5, 672, 160, True, HARD_SWISH, 2),
    (5, 960, 160, True, HARD_SWISH, 1),
    (5, 960, 160, True, HARD_SWISH, 1),
)
SMALL = (
    (3, 16, 16, True, "relu", 2),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, HARD_SWISH, 2),
    (5, 240, 40, True, HARD_SWISH, 1),
    (5, 240, 40, True, HARD_SWISH, 1),
    (5, 120, 48, True, HARD_SWISH, 1),
    (5, 144, 48, True, HARD_SWISH, 1),
    (5, 288, 96, True, HARD_SWISH, 2),
    (5, 576, 96, True, HARD_SWISH, 1),
    (5, 576, 96, True, HARD_SWISH, 1),
)


def mobilenet_v3_features(
    x,
    *,
    stages=LARGE,
    width: float = 1.0,
    expanded: bool = False,
    first: bool = False,
    output_stride: int = 32,
    padding: str = "same",
    prefix: str = "",
) -> dict:
    """The stem and the blocks of MobileNetV3, with the last tensor of each stride.

    Source: https://arxiv.org/abs/1905.02244, tables 1 and 2, and section 6.4 for the dilation.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        stages: rows of kernel, expanded channels, channels, squeeze-and-excitation, activation, stride.
        width: multiplies every channel count.
        expanded: whether the map of a stride is the expansion in the block that halves it next, as SSDLite takes it
            (section 6.3); the last map stays as it is.
        first: whether the map of a stride is the first tensor with it and not the last, as torchvision's segmenters
            take it; the last map stays as it is.
        output_stride: greatest stride, 8, 16 or 32; later blocks are dilated instead, the one that had the stride too,
            as in torchvision, and their maps keep their names.
        padding: of convolutions with a stride, as in `conv_norm_act`.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": (B, H/2, W/2, c), ..., "stride32": (B, H/32, W/32, c)}`. With an output stride of 16 the map
        `stride32` has the sides of `stride16`.

    Raises:
        ArgumentError: an unknown output stride, or both `expanded` and `first`.

    Example:
        >>> list(mobilenet_v3_features(keras.Input((64, 64, 3))))
        ['stride2', 'stride4', 'stride8', 'stride16', 'stride32']
    """
    checks.one_of("output_stride", output_stride, (8, 16, 32))
    if expanded and first:
        checks.refuse("a map is either expanded or the first of its stride", {"expanded": True, "first": True})
    stem = dict(stride=2, act=HARD_SWISH, padding=padding)
    x = conv_norm_act(x, round_channels(16 * width), name=f"{prefix}stem", **stem)
    features, total_stride = {"stride2": x}, 2
    for block, (kernel, hidden, channels, squeeze, act, stride) in enumerate(stages, start=1):
        hidden, name = round_channels(hidden * width), f"{prefix}block{block}"
        if expanded and stride > 1 and hidden != x.shape[-1]:
            x = conv_norm_act(x, hidden, 1, act=act, name=f"{name}_expand")
            features[f"stride{total_stride}"] = x
        total_stride *= stride
        rate = max(1, total_stride // output_stride)
        x = inverted_residual(
            x,
            round_channels(channels * width),
            expanded=hidden,
            kernel=kernel,
            stride=stride if rate == 1 else 1,
            dilation=rate,
            act=act,
            squeezed=round_channels(hidden / 4) if squeeze else None,
            padding=padding,
            shortcut=stride == 1,
            name=name,
        )
        if not first or stride > 1 or block == len(stages):
            features[f"stride{total_stride}"] = x
    return features


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/1905.02244",
    variants={
        "mobilenet_v3_large": {"stages": LARGE, "last_channels": 960, "hidden": 1280},
        "mobilenet_v3_small": {"stages": SMALL, "last_channels": 576, "hidden": 1024},
    },
    params={"mobilenet_v3_large": 5_507_432, "mobilenet_v3_small": 2_554_968},
    reference="keras.applications 3.15.1, MobileNetV3Large and MobileNetV3Small",
    tags=("cnn", "mobile"),
    weights={
        "keras-applications": {
            "mobilenet_v3_large": "MobileNetV3Large",
            "mobilenet_v3_small": "MobileNetV3Small",
        }
    },
    free={"image_shape": (None, None, 3)},
    tiny=dict(
        image_shape=(35, 33, 3),  # odd: SAME pads the two ends unlike where the stride is 2
        stages=((3, 16, 8, True, "relu", 2), (5, 24, 16, True, HARD_SWISH, 1), (3, 32, 16, False, HARD_SWISH, 1)),
        last_channels=32,
        hidden=48,
        classes=4,
    ),
)
def mobilenet_v3(
    image_shape=(224, 224, 3),
    *,
    classes: int = 1000,
    stages=LARGE,
    width: float = 1.0,
    last_channels: int = 960,
    hidden: int = 1280,
    dropout: float = 0.2,
) -> keras.Model:
    """MobileNetV3, the image classifier found by search for phones.

    Source: https://arxiv.org/abs/1905.02244, tables 1 (large) and 2 (small), section 5.1 for the head.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        stages: rows of kernel, expanded channels, channels, squeeze-and-excitation, activation, stride.
        width: multiplies every channel count of the blocks, from 0.1 to 2.
        last_channels: of the last 1x1 convolution, before pooling.
        hidden: units of the layer between pooling and logits.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("mobilenet_v3_small", classes=10).output_shape
        (None, 10)
    """
    checks.within("width", width, 0.1, 2.0, "Pass stages= for a custom net.")
    checks.at_least("last_channels", last_channels, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    x = list(mobilenet_v3_features(image, stages=stages, width=width).values())[-1]
    x = conv_norm_act(x, round_channels(last_channels * width), 1, act=HARD_SWISH, name="last")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(hidden, name="hidden")(x)
    x = layers.Activation(HARD_SWISH, name="hidden_hard_silu")(x)
    logits = prediction_head(x, classes, dropout=dropout)
    return keras.Model(image, logits, name="mobilenet_v3")
