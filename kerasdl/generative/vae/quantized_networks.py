"""Vector-quantized autoencoder: a codebook between convolutions (https://arxiv.org/abs/1711.00937).

Deviations: plain convolutions in place of residual blocks.
"""

import keras
from keras import layers

from kerasdl.core import checks, register
from kerasdl.layers import VectorQuantizer

from ..ae.code_parts import CODE, known_sides
from ..ae.conv_autoencoder import conv_decoder, conv_encoder, halved_sides

ENCODING = "encoding"
"""Name of the layer whose vectors are quantized."""


def quantized_autoencoder(image_shape, quantizer: keras.Layer, width: int, filters, name: str) -> keras.Model:
    """Returns an autoencoder of convolutions around a layer that quantizes vectors of a width.

    Args:
        image_shape: height, width and channels in pixels, sides multiples of 2 for each level.
        quantizer: the layer, named `code`.
        width: numbers of a vector.
        filters: channels of the levels.
        name: name of the model.

    Raises:
        ArgumentError: an argument breaks its range.
    """
    shape, filters = known_sides(image_shape), checks.counts("filters", filters)
    halved_sides(shape, filters)
    image = keras.Input(shape, name="image")
    x = layers.Conv2D(width, 1, name=ENCODING)(conv_encoder(image, filters))
    return keras.Model(image, conv_decoder(quantizer(x), filters, shape[2]), name=name)


@register(
    task="image_reconstruction",
    paper="https://arxiv.org/abs/1711.00937",
    variants={"vqvae": {}},
    params={"vqvae": 52_241},
    reference="kernel * in * out + out of each layer, and the codebook: tests/generative/vae/test_quantized.py",
    exports={"int16x8": "TFLite has no 16-bit kernel for LESS, by which entries are compared"},
    tags=("autoencoder", "cnn"),
    tiny=dict(image_shape=(16, 16, 1), filters=(8, 12), codes=8),
)
def vqvae(
    image_shape=(28, 28, 1),
    *,
    filters=(32, 64),
    width: int = 16,
    codes: int = 256,
    decay: float = 0.99,
    restart: float = 0.1,
    seed: int | None = None,
) -> keras.Model:
    """Autoencoder of images whose code is a map of entries of a codebook.

    Source: https://arxiv.org/abs/1711.00937, section 3.

    Args:
        image_shape: height, width and channels in pixels, sides multiples of 2 for each level.
        filters: channels of the levels, each of which halves the sides.
        width: D, numbers of an entry.
        codes: K, entries of the codebook.
        decay: as of `layers.VectorQuantizer`.
        restart: as there.
        seed: as there.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to the same image, float32. `split_autoencoder` gives encoder
        and decoder, between them entries (B, H / 2^levels, W / 2^levels, D).

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("vqvae", width=8).get_layer("code").output.shape
        (None, 7, 7, 8)
    """
    quantizer = VectorQuantizer(codes, decay, restart, seed, name=CODE)
    return quantized_autoencoder(image_shape, quantizer, checks.at_least("width", width, 1), filters, "vqvae")
