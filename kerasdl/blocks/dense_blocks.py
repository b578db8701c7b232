"""Dense block of DenseNet: every layer reads the outputs of all layers before it (https://arxiv.org/abs/1608.06993)."""

from keras import layers

from .convolution import MOMENTUM


def dense_block(x, repeats: int, *, growth: int, epsilon: float = 1.001e-5, momentum: float = MOMENTUM, name: str):
    """Dense block: layers of normalisation, ReLU, 1x1, normalisation, ReLU and 3x3, each adding `growth` channels.

    Source: https://arxiv.org/abs/1608.06993, section 3, the bottleneck form (DenseNet-B).

    Args:
        x: (B, H, W, C).
        repeats: layers of the block.
        growth: channels that each layer adds.
        epsilon: epsilon of the normalisations.
        momentum: momentum of their moving statistics.
        name: prefix of the layer names.

    Returns:
        (B, H, W, C + repeats * growth).

    Example:
        >>> dense_block(keras.Input((8, 8, 64)), 6, growth=32, name="stage1").shape
        (None, 8, 8, 256)
    """
    for number in range(1, repeats + 1):
        inner = f"{name}_layer{number}"
        y = norm_relu(x, epsilon=epsilon, momentum=momentum, name=f"{inner}_1")
        y = layers.Conv2D(4 * growth, 1, use_bias=False, name=f"{inner}_1_conv")(y)
        y = norm_relu(y, epsilon=epsilon, momentum=momentum, name=f"{inner}_2")
        y = layers.Conv2D(growth, 3, padding="same", use_bias=False, name=f"{inner}_2_conv")(y)
        x = layers.Concatenate(name=f"{inner}_concat")([x, y])
    return x


def norm_relu(x, *, epsilon: float, momentum: float = MOMENTUM, name: str):
    """Batch normalisation and ReLU before a convolution, as in pre-activation nets.

    Source: https://arxiv.org/abs/1603.05027, section 4.

    Args:
        x: (B, H, W, C).
        epsilon: epsilon of the normalisation.
        momentum: momentum of its moving statistics.
        name: prefix of the layer names.

    Returns:
        (B, H, W, C).

    Example:
        >>> norm_relu(keras.Input((8, 8, 64)), epsilon=1e-5, name="pre").shape
        (None, 8, 8, 64)
    """
    x = layers.BatchNormalization(epsilon=epsilon, momentum=momentum, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
