"""DenseNet: every layer reads all layers before it in its stage (https://arxiv.org/abs/1608.06993).

Deviations: batch-norm momentum 0.9 in place of Keras's 0.99, so that short runs learn the statistics too.
"""

import keras
from keras import layers

from kerasdl.blocks import conv_norm_act, dense_block, norm_relu, prediction_head
from kerasdl.core import checks, register

# Table 1: layers of each of the four dense blocks.
STAGES = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}
EPSILON = 1.001e-5  # keras.applications' own, so that its weights compute the same here


def densenet_features(x, *, stages=STAGES[121], growth: int = 32, prefix: str = "") -> dict:
    """The stem, the dense blocks and the transitions of DenseNet, with the last tensor of each stride.

    Source: https://arxiv.org/abs/1608.06993, table 1.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        stages: layers of each dense block.
        growth: channels that each layer adds; the stem has twice as many.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": (B, H/2, W/2, c), ..., "stride32": (B, H/32, W/32, c)}`; the last one is normalised.

    Example:
        >>> list(densenet_features(keras.Input((64, 64, 3))))
        ['stride2', 'stride4', 'stride8', 'stride16', 'stride32']
    """
    x = conv_norm_act(x, 2 * growth, 7, stride=2, padding="symmetric", epsilon=EPSILON, name=f"{prefix}stem")
    features, total_stride = {"stride2": x}, 4
    x = layers.ZeroPadding2D(1, name=f"{prefix}stem_pool_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name=f"{prefix}stem_pool")(x)
    for stage, repeats in enumerate(checks.counts("stages", stages), start=1):
        if stage > 1:  # a transition: half of the channels, half of the sides
            name = f"{prefix}transition{stage - 1}"
            x = norm_relu(x, epsilon=EPSILON, name=name)
            x = layers.Conv2D(x.shape[-1] // 2, 1, use_bias=False, name=f"{name}_conv")(x)
            x = layers.AveragePooling2D(2, name=f"{name}_pool")(x)
        x = dense_block(x, repeats, growth=growth, epsilon=EPSILON, name=f"{prefix}stage{stage}")
        features[f"stride{total_stride}"] = x
        total_stride *= 2
    features[f"stride{total_stride // 2}"] = norm_relu(x, epsilon=EPSILON, name=f"{prefix}last")
    return features


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/1608.06993",
    variants={f"densenet{depth}": {"stages": stages} for depth, stages in STAGES.items()},
    params={"densenet121": 8_062_504, "densenet169": 14_307_880, "densenet201": 20_242_984},
    reference="keras.applications 3.15.1; also torchvision 0.28 plus batch-norm statistics",
    tags=("cnn",),
    weights={"keras-applications": {f"densenet{depth}": f"DenseNet{depth}" for depth in STAGES}},
    free={"image_shape": (None, None, 3)},
    tiny=dict(image_shape=(32, 32, 3), stages=(2, 1), growth=8, classes=4),
)
def densenet(
    image_shape=(224, 224, 3), *, classes: int = 1000, stages=STAGES[121], growth: int = 32, dropout: float = 0.0
) -> keras.Model:
    """DenseNet, the image classifier in which features are used again and again.

    Source: https://arxiv.org/abs/1608.06993, table 1.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        stages: layers of each dense block.
        growth: channels that each layer adds, 1 or more.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("densenet121", image_shape=(64, 64, 3), classes=10).output_shape
        (None, 10)
    """
    checks.at_least("growth", growth, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    x = list(densenet_features(image, stages=stages, growth=growth).values())[-1]
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="densenet")
