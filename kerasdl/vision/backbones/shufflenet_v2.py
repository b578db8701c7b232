"""ShuffleNet v2: half of the channels are convolved, the other half is not, then all are shuffled.

Source: https://arxiv.org/abs/1807.11164. Deviations: batch-norm momentum 0.9, as in all our nets.
"""

import keras
from keras import layers

from kerasdl.blocks import conv_norm_act, depthwise_norm_act, prediction_head
from kerasdl.core import checks, register
from kerasdl.layers import ChannelShuffle, ChannelSlice

# Table 5: units of each stage, their first included; and channels of stem, stages and last convolution by width.
STAGES = (4, 8, 4)
CHANNELS = {
    0.5: (24, 48, 96, 192, 1024),
    1.0: (24, 116, 232, 464, 1024),
    1.5: (24, 176, 352, 704, 1024),
    2.0: (24, 244, 488, 976, 2048),
}
NORM = dict(padding="symmetric", epsilon=1e-5)


def shuffle_unit(x, filters: int, *, stride: int = 1, name: str):
    """A unit of ShuffleNet v2: figure 3c at stride 1, figure 3d at stride 2, where both halves are convolved."""
    half = filters // 2
    if stride == 1:
        left = ChannelSlice(0, name=f"{name}_left")(x)
        right = ChannelSlice(1, name=f"{name}_right")(x)
    else:
        left = depthwise_norm_act(x, 3, stride=stride, act=None, name=f"{name}_left_depthwise", **NORM)
        left = conv_norm_act(left, half, 1, name=f"{name}_left_pointwise", **NORM)
        right = x
    right = conv_norm_act(right, half, 1, name=f"{name}_1", **NORM)
    right = depthwise_norm_act(right, 3, stride=stride, act=None, name=f"{name}_depthwise", **NORM)
    right = conv_norm_act(right, half, 1, name=f"{name}_2", **NORM)
    x = layers.Concatenate(name=f"{name}_concat")([left, right])
    return ChannelShuffle(2, name=f"{name}_shuffle")(x)


def shufflenet_v2_features(x, *, stages=STAGES, channels=CHANNELS[1.0], prefix: str = "") -> dict:
    """The stem, the stages and the last convolution of ShuffleNet v2, with the last tensor of each stride.

    Source: https://arxiv.org/abs/1807.11164, table 5.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        stages: units of each stage.
        channels: of the stem, of each stage, and of the last convolution.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": (B, H/2, W/2, c), ..., "stride32": (B, H/32, W/32, c)}`; the last one is the last convolution's.

    Example:
        >>> list(shufflenet_v2_features(keras.Input((64, 64, 3))))
        ['stride2', 'stride4', 'stride8', 'stride16', 'stride32']
    """
    checks.counts("stages", stages)
    stem, *widths, last = channels
    x = conv_norm_act(x, stem, 3, stride=2, name=f"{prefix}stem", **NORM)
    features = {"stride2": x}
    x = layers.ZeroPadding2D(1, name=f"{prefix}stem_pool_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name=f"{prefix}stem_pool")(x)
    features["stride4"] = x
    for stage, (repeats, filters) in enumerate(zip(stages, widths, strict=True), start=1):
        for unit in range(1, repeats + 1):
            x = shuffle_unit(x, filters, stride=2 if unit == 1 else 1, name=f"{prefix}stage{stage}_unit{unit}")
        features[f"stride{4 * 2**stage}"] = x
    features[f"stride{4 * 2 ** len(stages)}"] = conv_norm_act(x, last, 1, name=f"{prefix}last", **NORM)
    return features


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/1807.11164",
    variants={
        "shufflenet_v2_050": {"channels": CHANNELS[0.5]},
        "shufflenet_v2": {"channels": CHANNELS[1.0]},
        "shufflenet_v2_150": {"channels": CHANNELS[1.5]},
        "shufflenet_v2_200": {"channels": CHANNELS[2.0]},
    },
    params={
        "shufflenet_v2_050": 1_366_792 + 7_952,
        "shufflenet_v2": 2_278_604 + 16_180,
        "shufflenet_v2_150": 3_503_624 + 23_440,
        "shufflenet_v2_200": 7_393_996 + 33_716,
    },
    reference="torchvision 0.28, shufflenet_v2_x0_5 to x2_0 plus batch-norm statistics",
    tags=("cnn", "mobile"),
    free={"image_shape": (None, None, 3)},
    tiny=dict(image_shape=(32, 32, 3), stages=(2,), channels=(8, 16, 32), classes=4),
)
def shufflenet_v2(
    image_shape=(224, 224, 3),
    *,
    classes: int = 1000,
    stages=STAGES,
    channels=CHANNELS[1.0],
    dropout: float = 0.0,
) -> keras.Model:
    """ShuffleNet v2, the image classifier made for measured speed on phones.

    Source: https://arxiv.org/abs/1807.11164, table 5.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        stages: units of each stage.
        channels: of the stem, of each stage, and of the last convolution.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("shufflenet_v2_050", image_shape=(64, 64, 3), classes=10).output_shape
        (None, 10)
    """
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    x = list(shufflenet_v2_features(image, stages=stages, channels=channels).values())[-1]
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="shufflenet_v2")
