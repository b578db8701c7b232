"""Autoencoder of finite scalars: rounded channels in place of a codebook (https://arxiv.org/abs/2309.15505).

Deviations: plain convolutions in place of residual blocks.
"""

import keras

from kerasdl.core import register
from kerasdl.layers import FiniteScalarQuantizer

from ..ae.code_parts import CODE
from .quantized_networks import quantized_autoencoder


@register(
    task="image_reconstruction",
    paper="https://arxiv.org/abs/2309.15505",
    variants={"fsq_autoencoder": {}},
    params={"fsq_autoencoder": 40_197},
    reference="kernel * in * out + out of each layer: tests/generative/vae/test_quantized.py",
    tags=("autoencoder", "cnn"),
    tiny=dict(image_shape=(16, 16, 1), filters=(8, 12), levels=(16, 16, 16)),
)
def fsq_autoencoder(image_shape=(28, 28, 1), *, filters=(32, 64), levels=(8, 5, 5, 5)) -> keras.Model:
    """Autoencoder of images whose code is a map of numbers rounded to a few levels, without a codebook.

    Source: https://arxiv.org/abs/2309.15505, section 3; (8, 5, 5, 5) are its 2^10 codes, table 1.

    Args:
        image_shape: height, width and channels in pixels, sides multiples of 2 for each level.
        filters: channels of the levels, each of which halves the sides.
        levels: levels of each number of a code, 2 or more.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to the same image, float32. `split_autoencoder` gives encoder
        and decoder, between them codes (B, H / 2^levels, W / 2^levels, D) from -1 to 1.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("fsq_autoencoder", levels=(5, 5)).get_layer("code").output.shape
        (None, 7, 7, 2)
    """
    quantizer = FiniteScalarQuantizer(levels, name=CODE)
    return quantized_autoencoder(image_shape, quantizer, len(quantizer.levels), filters, "fsq_autoencoder")
