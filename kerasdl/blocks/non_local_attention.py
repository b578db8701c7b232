"""Non-local block: self-attention between all places of an image (https://arxiv.org/abs/1711.07971)."""

from keras import layers

from kerasdl.layers import ReshapeLike

from .convolution import MOMENTUM


def non_local(x, *, epsilon: float = 1e-5, momentum: float = MOMENTUM, name: str):
    """Non-local block: adds to each place a weighted mean of all places, in the embedded Gaussian form.

    Its last normalisation starts with factors of zero, so that the block begins as the identity.

    Source: https://arxiv.org/abs/1711.07971, equations 4 and 6, figure 2, and section 4.1.

    Args:
        x: (B, H, W, C), C even.
        epsilon: epsilon of the normalisation.
        momentum: momentum of its moving statistics.
        name: prefix of the layer names.

    Returns:
        (B, H, W, C).

    Example:
        >>> non_local(keras.Input((8, 8, 16)), name="non_local").shape
        (None, 8, 8, 16)
    """
    channels = x.shape[-1]
    theta, phi, values = (
        layers.Reshape((-1, channels // 2), name=f"{name}_{part}_tokens")(
            layers.Conv2D(channels // 2, 1, name=f"{name}_{part}_conv")(x)
        )
        for part in ("theta", "phi", "g")
    )  # each (B, H * W, C / 2)
    y = layers.Attention(name=f"{name}_attention")([theta, values, phi])  # query, value, key
    y = ReshapeLike(name=f"{name}_image")([y, x])
    y = layers.Conv2D(channels, 1, name=f"{name}_out_conv")(y)
    norm = dict(epsilon=epsilon, momentum=momentum, gamma_initializer="zeros")
    y = layers.BatchNormalization(**norm, name=f"{name}_out_bn")(y)
    return layers.Add(name=f"{name}_add")([x, y])
