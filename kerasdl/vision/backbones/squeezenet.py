"""SqueezeNet: fire modules that squeeze channels before they convolve (https://arxiv.org/abs/1602.07360).

Deviations: the classifier is a 1x1 convolution in the paper, averaged over the image; averaging first and a dense layer
after it give the same logits but for the ReLU between them, which is left out, and save a tenth of the work.
"""

import keras
from keras import layers

from kerasdl.blocks import prediction_head
from kerasdl.core import checks, register

# Stem channels, kernel and stride; then squeezed and expanded channels of each fire module, None where pooling stands.
VERSION_1_0 = (
    (96, 7, 2),
    (None, (16, 64), (16, 64), (32, 128), None, (32, 128), (48, 192), (48, 192), (64, 256), None, (64, 256)),
)
VERSION_1_1 = (
    (64, 3, 2),
    (None, (16, 64), (16, 64), None, (32, 128), (32, 128), None, (48, 192), (48, 192), (64, 256), (64, 256)),
)


def fire(x, squeezed: int, expanded: int, *, name: str):
    """Fire module: 1x1 squeeze, then 1x1 and 3x3 expansion side by side, joined."""
    x = layers.Conv2D(squeezed, 1, activation="relu", name=f"{name}_squeeze")(x)
    branches = [
        layers.Conv2D(expanded, kernel, padding="same", activation="relu", name=f"{name}_expand{kernel}")(x)
        for kernel in (1, 3)
    ]
    return layers.Concatenate(name=f"{name}_concat")(branches)


def squeezenet_features(x, *, version=VERSION_1_1, prefix: str = "") -> dict:
    """The stem and the fire modules of SqueezeNet, with the last tensor of each stride.

    Source: https://arxiv.org/abs/1602.07360, table 1 and section 3.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        version: stem and fire modules.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": ..., "stride16": (B, H/16, W/16, 512)}`.

    Example:
        >>> list(squeezenet_features(keras.Input((64, 64, 3))))
        ['stride2', 'stride4', 'stride8', 'stride16']
    """
    (channels, kernel, stride), modules = version
    x = layers.Conv2D(channels, kernel, strides=stride, activation="relu", name=f"{prefix}stem_conv")(x)
    features, total_stride, number = {f"stride{stride}": x}, stride, 2  # the paper counts the stem as 1
    for module in modules:
        if module is None:
            # A row and a column of zeros: the last window may hang over, as in the authors' Caffe.
            x = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{prefix}pool{number}_pad")(x)
            x = layers.MaxPooling2D(3, strides=2, name=f"{prefix}pool{number}")(x)
            total_stride *= 2
        else:
            x = fire(x, *module, name=f"{prefix}fire{number}")
            number += 1
        features[f"stride{total_stride}"] = x
    return features


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/1602.07360",
    variants={"squeezenet_1_0": {"version": VERSION_1_0}, "squeezenet_1_1": {"version": VERSION_1_1}},
    params={"squeezenet_1_0": 1_248_424, "squeezenet_1_1": 1_235_496},
    reference="torchvision 0.28, squeezenet1_0 and squeezenet1_1",
    tags=("cnn", "mobile"),
    free={"image_shape": (None, None, 3)},
    tiny=dict(image_shape=(32, 32, 3), version=((16, 3, 2), (None, (8, 16), (8, 24))), classes=4),
)
def squeezenet(
    image_shape=(224, 224, 3), *, classes: int = 1000, version=VERSION_1_1, dropout: float = 0.5
) -> keras.Model:
    """SqueezeNet, the image classifier with fifty times fewer weights than AlexNet.

    Source: https://arxiv.org/abs/1602.07360, table 1.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        version: stem and fire modules.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("squeezenet_1_1").count_params()
        1235496
    """
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    x = list(squeezenet_features(image, version=version).values())[-1]
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="squeezenet")
