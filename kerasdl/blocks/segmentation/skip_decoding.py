"""Decoder block of U-Net: a map made finer, joined with the encoder's map of that size (https://arxiv.org/abs/1505.04597).

Deviations: a coarse map whose doubled side does not meet that of the finer map is brought to it by nearest neighbours,
so that images need no multiple of a size; from a map that was rounded up this cuts the last row and column.
"""

from collections.abc import Sequence
from typing import Any

from keras import layers

from kerasdl.core import checks

from ..convolution import conv_norm_act
from ..detection.levels import upsample_like

UPS = ("transpose", "resize")


def double_conv(x, filters: int, *, padding: str = "same", norm: bool = True, name: str):
    """Two 3x3 convolutions of U-Net, each with a ReLU.

    Source: https://arxiv.org/abs/1505.04597, section 2; without normalisation the weights start as in section 3, by
    the variance 2 / inputs.

    Args:
        x: (B, H, W, C).
        filters: channels of the output.
        padding: `same`, or `valid` as in the paper, which loses two pixels at each side.
        norm: a batch normalisation after each convolution, which then has no bias.
        name: prefix of the layer names.

    Returns:
        (B, H, W, filters), or (B, H - 4, W - 4, filters) without padding.

    Example:
        >>> double_conv(keras.Input((32, 32, 8)), 16, padding="valid", name="block").shape
        (None, 28, 28, 16)
    """
    for number in (1, 2):
        step = f"{name}_{number}"
        if norm:
            x = conv_norm_act(x, filters, 3, padding=padding, epsilon=1e-5, name=step)
        else:
            conv = layers.Conv2D(filters, 3, padding=padding, kernel_initializer="he_normal", name=f"{step}_conv")
            x = layers.ReLU(name=f"{step}_relu")(conv(x))
    return x


def upsampled(x, like, filters: int, *, up: str = "transpose", factor: int = 2, name: str):
    """A map brought to the sides of a finer one, by a transposed convolution or by nearest neighbours.

    Source: the up-convolution of https://arxiv.org/abs/1505.04597, section 2. Resizing before an ordinary convolution
    leaves no checkerboards: https://doi.org/10.23915/distill.00003.

    Args:
        x: (B, h, w, C).
        like: (B, H, W, D), of which only the sides are used.
        filters: channels of the transposed convolution; resizing keeps C.
        up: `transpose` or `resize`.
        factor: kernel and step of the transposed convolution, H / h rounded up.
        name: prefix of the layer names.

    Returns:
        (B, H, W, filters), or (B, H, W, C) by `resize`.

    Raises:
        ArgumentError: `up` is neither.

    Example:
        >>> upsampled(keras.Input((4, 4, 32)), keras.Input((7, 7, 8)), 16, name="up").shape
        (None, 7, 7, 16)
    """
    if checks.one_of("up", up, UPS) == "transpose":
        x = layers.Conv2DTranspose(filters, factor, strides=factor, name=f"{name}_up_conv")(x)
    return upsample_like(x, like, name=f"{name}_resize")


def skip_decoder(
    x,
    like,
    filters: int,
    *,
    skips: Sequence[Any] = (),
    up: str = "resize",
    factor: int = 2,
    norm: bool = True,
    name: str,
):
    """Decoder block of U-Net: the map made finer, concatenated with maps of the encoder, and two convolutions.

    Source: https://arxiv.org/abs/1505.04597, figure 1.

    Args:
        x: (B, h, w, C), the coarser map.
        like: (B, H, W, D), of which only the sides are used.
        filters: channels of the output.
        skips: maps of the encoder, each (B, H, W, c); none shows what they bring.
        up: `resize` or `transpose`, as in `upsampled`.
        factor: H / h rounded up.
        norm: as in `double_conv`.
        name: prefix of the layer names.

    Returns:
        (B, H, W, filters).

    Raises:
        ArgumentError: `up` is neither.

    Example:
        >>> fine, coarse = keras.Input((7, 7, 16)), keras.Input((4, 4, 32))
        >>> skip_decoder(coarse, fine, 8, skips=[fine], name="decoder1").shape
        (None, 7, 7, 8)
    """
    x = upsampled(x, like, filters, up=up, factor=factor, name=name)
    if skips:
        x = layers.Concatenate(name=f"{name}_concat")([x, *skips])
    return double_conv(x, filters, norm=norm, name=name)
