"""AlexNet: five convolutions and three dense layers, the net that began it (Krizhevsky et al. 2012).

`alexnet` is the single tower of "One weird trick" (https://arxiv.org/abs/1404.5997), as in torchvision; `alexnet_2012`
the paper's own, whose two towers, once on two GPUs, are two groups of channels.

Deviations: no local response normalisation, which later work found to do nothing; `alexnet_2012` sees 227 pixels,
which its stated sizes need. Where the last feature map is not 6x6, adaptive average pooling brings it there. Dropout
follows each hidden layer, as in the paper; torchvision has it before each.
"""

import keras
from keras import layers

from kerasdl.blocks import dense_head
from kerasdl.core import checks, register

# Channels, kernel, stride, groups, padding, and whether a 3x3 max pooling of stride 2 follows.
ONE_TOWER = (
    (64, 11, 4, 1, 2, True),
    (192, 5, 1, 1, 2, True),
    (384, 3, 1, 1, 1, False),
    (256, 3, 1, 1, 1, False),
    (256, 3, 1, 1, 1, True),
)
# Section 3.5 and figure 2.
TWO_TOWERS = (
    (96, 11, 4, 1, 0, True),
    (256, 5, 1, 2, 2, True),
    (384, 3, 1, 1, 1, False),
    (384, 3, 1, 2, 1, False),
    (256, 3, 1, 2, 1, True),
)


def alexnet_features(x, *, stages=ONE_TOWER, prefix: str = "") -> dict:
    """The convolutions of AlexNet, with the last tensor of each stride.

    Source: https://arxiv.org/abs/1404.5997, footnote 1; Krizhevsky et al. 2012, section 3.5.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        stages: rows of channels, kernel, stride, groups, padding, pooling.
        prefix: what every layer name begins with.

    Returns:
        `{"stride4": ..., "stride32": (B, H/32 - 1, W/32 - 1, 256)}`.

    Example:
        >>> list(alexnet_features(keras.Input((224, 224, 3))))
        ['stride4', 'stride8', 'stride16', 'stride32']
    """
    features, total_stride = {}, 1
    for number, (channels, kernel, stride, groups, margin, pooling) in enumerate(stages, start=1):
        name = f"{prefix}stage{number}"
        if margin:
            x = layers.ZeroPadding2D(margin, name=f"{name}_pad")(x)
        x = layers.Conv2D(channels, kernel, strides=stride, groups=groups, name=f"{name}_conv")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
        total_stride *= stride
        features[f"stride{total_stride}"] = x
        if pooling:
            x = layers.MaxPooling2D(3, strides=2, name=f"{name}_pool")(x)
            total_stride *= 2
            features[f"stride{total_stride}"] = x
    return features


@register(
    task="image_classification",
    paper="https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks",
    variants={
        "alexnet": {"stages": ONE_TOWER},
        "alexnet_2012": {"stages": TWO_TOWERS, "image_shape": (227, 227, 3)},
    },
    params={"alexnet": 61_100_840, "alexnet_2012": 60_965_224},
    reference="torchvision 0.28; alexnet_2012: summed from the paper's layers in tests/vision/test_zoo.py",
    tags=("cnn",),
    free={"image_shape": (None, None, 3)},
    tiny=dict(
        image_shape=(64, 64, 3),
        stages=((8, 11, 4, 1, 2, True), (16, 5, 1, 2, 2, False)),
        hidden=16,
        pooled=5,
        dropout=0.0,
        classes=4,
    ),
)
def alexnet(
    image_shape=(224, 224, 3),
    *,
    classes: int = 1000,
    stages=ONE_TOWER,
    hidden: int = 4096,
    pooled: int = 6,
    dropout: float = 0.5,
) -> keras.Model:
    """AlexNet, the image classifier that won in 2012.

    Source: https://arxiv.org/abs/1404.5997, footnote 1; Krizhevsky et al. 2012, section 3.5.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        stages: rows of channels, kernel, stride, groups, padding, pooling.
        hidden: units of each of the two hidden layers.
        pooled: side of the feature map that the hidden layers see.
        dropout: rate after each hidden layer, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("alexnet", classes=10, hidden=64).output_shape
        (None, 10)
    """
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    x = list(alexnet_features(image, stages=stages).values())[-1]
    logits = dense_head(x, classes, hidden=hidden, pooled=pooled, dropout=dropout)
    return keras.Model(image, logits, name="alexnet")
