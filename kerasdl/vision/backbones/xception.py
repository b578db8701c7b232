"""Xception: separable convolutions with shortcuts around them (https://arxiv.org/abs/1610.02357).

Deviations: batch-norm momentum 0.9 in place of Keras's 0.99, so that short runs learn the statistics too. A separable
convolution is two layers, depthwise and 1x1, so that both kernels are quantised and pruned by themselves. Dropout is
off until asked for with `dropout=0.5`, the paper's.
"""

import keras
from keras import layers

from kerasdl.blocks import conv_norm_act, prediction_head
from kerasdl.blocks.convolution import MOMENTUM
from kerasdl.core import checks, register

# Figure 5: channels of the separable convolutions of each module that halves the sides; repeats of the middle flow.
ENTRY, MIDDLE, EXIT = ((128, 128), (256, 256), (728, 728)), 8, ((728, 1024), (1536, 2048))


def separable_norm(x, filters: int, *, name: str):
    """Separable 3x3 convolution without activation between its two parts, and normalisation."""
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depthwise_conv")(x)
    x = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_pointwise_conv")(x)
    return layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_bn")(x)


def halving_module(x, channels, *, first_relu: bool = True, name: str):
    """Two separable convolutions and a max pooling beside a strided 1x1 convolution."""
    shortcut = conv_norm_act(x, channels[-1], 1, stride=2, act=None, name=f"{name}_shortcut")
    for number, filters in enumerate(channels, start=1):
        if number > 1 or first_relu:
            x = layers.ReLU(name=f"{name}_{number}_relu")(x)
        x = separable_norm(x, filters, name=f"{name}_{number}")
    x = layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}_pool")(x)
    return layers.Add(name=f"{name}_add")([shortcut, x])


def xception_features(x, *, entry=ENTRY, middle: int = MIDDLE, leave=EXIT, width: int = 32, prefix: str = "") -> dict:
    """Entry, middle and exit flow of Xception, with the last tensor of each stride.

    Source: https://arxiv.org/abs/1610.02357, figure 5.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        entry: channels of the modules of the entry flow.
        middle: modules of the middle flow.
        leave: channels of the last module that halves the sides, and of the last two convolutions.
        width: channels of the first convolution.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": (B, H/2 - 3, ...), ..., "stride32": (B, H/32, W/32, 2048)}`.

    Example:
        >>> list(xception_features(keras.Input((128, 128, 3))))
        ['stride2', 'stride4', 'stride8', 'stride16', 'stride32']
    """
    x = conv_norm_act(x, width, stride=2, padding="valid", name=f"{prefix}stem1")
    x = conv_norm_act(x, 2 * width, padding="valid", name=f"{prefix}stem2")
    features = {"stride2": x}
    for number, channels in enumerate(entry, start=1):
        x = halving_module(x, channels, first_relu=number > 1, name=f"{prefix}entry{number}")
        features[f"stride{2 ** (number + 1)}"] = x
    for block in range(1, middle + 1):
        shortcut = x
        for number in range(1, 4):
            name = f"{prefix}middle{block}_{number}"
            x = layers.ReLU(name=f"{name}_relu")(x)
            x = separable_norm(x, x.shape[-1], name=name)
        x = layers.Add(name=f"{prefix}middle{block}_add")([shortcut, x])
    features[f"stride{2 ** (len(entry) + 1)}"] = x
    x = halving_module(x, leave[0], name=f"{prefix}exit")
    for number, filters in enumerate(leave[1], start=1):
        x = separable_norm(x, filters, name=f"{prefix}last{number}")
        x = layers.ReLU(name=f"{prefix}last{number}_relu")(x)
    features[f"stride{2 ** (len(entry) + 2)}"] = x
    return features


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/1610.02357",
    params={"xception": 22_910_480},
    reference="keras.applications 3.15.1, Xception",
    tags=("cnn",),
    weights={"keras-applications": "Xception"},
    free={"image_shape": (None, None, 3)},
    tiny=dict(image_shape=(32, 32, 3), entry=((16, 16),), middle=1, leave=((16, 24), (24, 32)), width=8, classes=4),
)
def xception(
    image_shape=(299, 299, 3),
    *,
    classes: int = 1000,
    entry=ENTRY,
    middle: int = MIDDLE,
    leave=EXIT,
    width: int = 32,
    dropout: float = 0.0,
) -> keras.Model:
    """Xception, the image classifier whose convolutions are all separable.

    Source: https://arxiv.org/abs/1610.02357, figure 5.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        entry: channels of the modules of the entry flow.
        middle: modules of the middle flow.
        leave: channels of the last module that halves the sides, and of the last two convolutions.
        width: channels of the first convolution.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("xception", image_shape=(72, 72, 3), classes=10).output_shape
        (None, 10)
    """
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    features = xception_features(image, entry=entry, middle=middle, leave=leave, width=width)
    x = layers.GlobalAveragePooling2D(name="pool")(list(features.values())[-1])
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="xception")
