"""Dense autoencoder: images to a narrow code and back, by dense layers (https://doi.org/10.1126/science.1127647).

Deviations: rectified units with He's initial weights in place of logistic ones, so that no layer is pretrained; the
output is linear and learns squared errors.
"""

import math

import keras
from keras import layers

from kerasdl.core import checks, register

from .code_parts import CODE, known_sides


@register(
    task="image_reconstruction",
    paper="https://doi.org/10.1126/science.1127647",
    variants={"autoencoder": {}},
    params={"autoencoder": 2_837_314},
    reference="in * out + out of 784-1000-500-250-30 and back, summed in tests/generative/ae/test_autoencoders.py",
    tags=("autoencoder",),
    tiny=dict(image_shape=(16, 16, 1), widths=(24, 16), code=6),
)
def autoencoder(image_shape=(28, 28, 1), *, widths=(1000, 500, 250), code: int = 30) -> keras.Model:
    """Dense autoencoder of images: a narrow linear code between dense layers that mirror each other.

    Source: https://doi.org/10.1126/science.1127647, figures 1 and 3: 784-1000-500-250-30 on digits.

    Args:
        image_shape: height, width and channels in pixels, all known.
        widths: units of the encoder's layers; the decoder has the same in reverse.
        code: numbers of the code.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to the same image, float32. `split_autoencoder` gives encoder
        and decoder.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("autoencoder", code=10).get_layer("code").output.shape
        (None, 10)
    """
    shape, widths = known_sides(image_shape), checks.counts("widths", widths)
    checks.at_least("code", code, 1)
    image = keras.Input(shape, name="image")
    x = layers.Flatten(name="flatten")(image)
    for number, width in enumerate(widths, start=1):
        x = layers.Dense(width, "relu", kernel_initializer="he_normal", name=f"encoder{number}")(x)
    x = layers.Dense(code, name=CODE)(x)
    for number, width in reversed(list(enumerate(widths, start=1))):
        x = layers.Dense(width, "relu", kernel_initializer="he_normal", name=f"decoder{number}")(x)
    x = layers.Dense(math.prod(shape), dtype="float32", name="pixels")(x)
    x = layers.Reshape(shape, dtype="float32", name="reconstruction")(x)
    return keras.Model(image, x, name="autoencoder")
