"""Inception v3: modules with factorised kernels (https://arxiv.org/abs/1512.00567).

Deviations: no auxiliary classifier; batch-norm momentum 0.9 in place of Keras's 0.99, so that short runs learn the
statistics too.
"""

import keras
from keras import layers

from kerasdl.blocks import conv_norm_act, inception, prediction_head
from kerasdl.core import checks, register

AVERAGE, MAX = ("average", 3, 1), ("max", 3, 2)


def grid35(pooled: int) -> tuple:
    """Branches of the module at 35x35, figure 5, with the channels of its pooling branch."""
    return ((64, 1),), ((48, 1), (64, 5)), ((64, 1), (96, 3), (96, 3)), (AVERAGE, (pooled, 1))


def grid17(width: int) -> tuple:
    """Branches of the module at 17x17, figure 6 with n = 7, with the channels of its inner convolutions."""
    across, down = (1, 7), (7, 1)
    double = ((width, 1), (width, down), (width, across), (width, down), (192, across))
    return ((192, 1),), ((width, 1), (width, across), (192, down)), double, (AVERAGE, (192, 1))


# Figure 7: the module at 8x8.
GRID8 = (
    ((320, 1),),
    ((384, 1), ((384, (1, 3)), (384, (3, 1)))),
    ((448, 1), (384, 3), ((384, (1, 3)), (384, (3, 1)))),
    (AVERAGE, (192, 1)),
)
# Figure 10: what halves the grid.
TO17 = (((384, 3, 2),), ((64, 1), (96, 3), (96, 3, 2)), (MAX,))
TO8 = (((192, 1), (320, 3, 2)), ((192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)), (MAX,))
# Table 1.
STAGES = (
    (grid35(32), grid35(64), grid35(64)),
    (TO17, grid17(128), grid17(160), grid17(160), grid17(192)),
    (TO8, GRID8, GRID8),
)


def inception_v3_features(x, *, stages=STAGES, width: int = 32, prefix: str = "") -> dict:
    """The stem and the modules of Inception v3, with the last tensor of each stride.

    Source: https://arxiv.org/abs/1512.00567, table 1.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        stages: the modules of each stage.
        width: channels of the first convolution.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": ..., "stride32": (B, H/32 - 2, W/32 - 2, 2048)}`; borders are not padded, so sides are smaller.

    Example:
        >>> list(inception_v3_features(keras.Input((139, 139, 3))))
        ['stride2', 'stride4', 'stride8', 'stride16', 'stride32']
    """
    x = conv_norm_act(x, width, stride=2, padding="valid", scale=False, name=f"{prefix}stem1")
    x = conv_norm_act(x, width, padding="valid", scale=False, name=f"{prefix}stem2")
    x = conv_norm_act(x, 2 * width, scale=False, name=f"{prefix}stem3")
    features = {"stride2": x}
    x = layers.MaxPooling2D(3, strides=2, name=f"{prefix}stem3_pool")(x)
    x = conv_norm_act(x, 5 * width // 2, 1, scale=False, name=f"{prefix}stem4")
    x = conv_norm_act(x, 6 * width, padding="valid", scale=False, name=f"{prefix}stem5")
    features["stride4"] = x
    x = layers.MaxPooling2D(3, strides=2, name=f"{prefix}stem5_pool")(x)
    for stage, modules in enumerate(stages, start=1):
        for block, branches in enumerate(modules, start=1):
            x = inception(x, branches, scale=False, name=f"{prefix}stage{stage}_block{block}")
        features[f"stride{4 * 2**stage}"] = x
    return features


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/1512.00567",
    params={"inception_v3": 23_851_784},
    reference="keras.applications 3.15.1, InceptionV3",
    tags=("cnn",),
    weights={"keras-applications": "InceptionV3"},
    free={"image_shape": (None, None, 3)},
    tiny=dict(
        image_shape=(51, 51, 3),
        stages=(
            ((((6, 1),), ((4, 1), (6, (1, 7)), (6, (7, 1))), (AVERAGE, (4, 1))),),
            ((((8, 3, 2),), ((4, 1), (6, 3, 2)), (MAX,)), (((8, 1),), ((4, 1), ((6, (1, 3)), (6, (3, 1)))))),
        ),
        width=8,
        classes=4,
    ),
)
def inception_v3(
    image_shape=(299, 299, 3), *, classes: int = 1000, stages=STAGES, width: int = 32, dropout: float = 0.0
) -> keras.Model:
    """Inception v3, the image classifier with factorised convolutions.

    Source: https://arxiv.org/abs/1512.00567, table 1.

    Args:
        image_shape: height, width and channels in pixels, 75 or more in the full net; height and width may be None.
        classes: outputs.
        stages: the modules of each stage.
        width: channels of the first convolution.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("inception_v3", image_shape=(75, 75, 3), classes=10).output_shape
        (None, 10)
    """
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    x = list(inception_v3_features(image, stages=stages, width=width).values())[-1]
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="inception_v3")
