"""Convolutional autoencoder: strided convolutions to a code, nearest upsampling and convolutions back.

After Masci 2011, https://doi.org/10.1007/978-3-642-21735-7_7.

Deviations: strides replace max pooling, rectified units tanh, and all layers learn at once.
"""

import math

import keras
from keras import layers

from kerasdl.core import checks, register

from .code_parts import CODE, known_sides


def conv_encoder(x, filters, *, last: str | None = None):
    """Returns an image after strided convolutions, each of which halves its sides.

    Args:
        x: (B, H, W, C).
        filters: channels of each.
        last: name of the last convolution, which then stays linear; None makes it like the others.
    """
    for level, width in enumerate(filters, start=1):
        is_code = last is not None and level == len(filters)
        name, activation = (last, None) if is_code else (f"encoder{level}", "relu")
        x = layers.Conv2D(width, 3, 2, "same", activation=activation, kernel_initializer="he_normal", name=name)(x)
    return x


def conv_decoder(x, filters, channels: int, *, name: str = "reconstruction"):
    """Returns an image (B, H, W, channels) from a map, each level of which doubles its sides; float32 and linear.

    Args:
        x: (B, h, w, D).
        filters: channels of the encoder's levels.
        channels: channels of the image.
        name: name of the last convolution.
    """
    for level, width in reversed(list(enumerate(filters, start=1))):
        settings = {"padding": "same", "activation": "relu", "kernel_initializer": "he_normal"}
        x = layers.Conv2D(width, 3, **settings, name=f"decoder{level}")(x)
        x = layers.UpSampling2D(2, name=f"decoder{level}_up")(x)
    return layers.Conv2D(channels, 3, padding="same", dtype="float32", name=name)(x)


def halved_sides(shape: tuple[int, int, int], filters) -> tuple[int, int]:
    """Returns the sides of the last map of `conv_encoder`; refuses sides that do not halve at each level."""
    factor = 2 ** len(filters)
    if shape[0] % factor or shape[1] % factor:
        checks.refuse(f"image_shape must have sides of multiples of {factor}, 2 for each of filters", shape)
    return shape[0] // factor, shape[1] // factor


@register(
    task="image_reconstruction",
    paper="https://doi.org/10.1007/978-3-642-21735-7_7",
    variants={"conv_autoencoder": {}},
    params={"conv_autoencoder": 278_369},
    reference="kernel * in * out + out of each layer, summed in tests/generative/ae/test_autoencoders.py",
    tags=("autoencoder", "cnn"),
    tiny=dict(image_shape=(16, 16, 1), filters=(8, 12), code=6),
)
def conv_autoencoder(image_shape=(28, 28, 1), *, filters=(32, 64), code: int | None = 32) -> keras.Model:
    """Convolutional autoencoder of images, with a code of numbers or, for a denoiser, of a whole map.

    Source: https://doi.org/10.1007/978-3-642-21735-7_7, section 2.2.

    Args:
        image_shape: height, width and channels in pixels, sides multiples of 2 for each level.
        filters: channels of the levels, each of which halves the sides.
        code: numbers of the code; None keeps the last map as the code, which holds more detail.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to the same image, float32. `split_autoencoder` gives encoder
        and decoder.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("conv_autoencoder", code=None).get_layer("code").output.shape
        (None, 7, 7, 64)
    """
    shape, filters = known_sides(image_shape), checks.counts("filters", filters)
    height, width = halved_sides(shape, filters)
    image = keras.Input(shape, name="image")
    x = conv_encoder(image, filters, last=CODE if code is None else None)
    if code is not None:
        x = layers.Dense(checks.at_least("code", code, 1), name=CODE)(layers.Flatten(name="flatten")(x))
        x = spread_code(x, (height, width, filters[-1]))
    return keras.Model(image, conv_decoder(x, filters, shape[2]), name="conv_autoencoder")


def spread_code(code, shape: tuple[int, int, int]):
    """Returns a code (B, D) spread over a map (B, h, w, channels) by a dense layer."""
    x = layers.Dense(math.prod(shape), "relu", kernel_initializer="he_normal", name="spread")(code)
    return layers.Reshape(shape, name="map")(x)
