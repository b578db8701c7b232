"""Patches of TensorFlow's functions for TFLite compute the same as the functions."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from kerasdl.deploy.tflite.op_patches import tflite_functions


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


GRID = np.linspace(-5, 5, 2001, dtype="float32")
IDS = np.random.default_rng(0).integers(0, 9, (4, 12)).astype("int32")
PAIR = (normal(3, 6, 8), normal(3, 6, 8, seed=1))
IMAGE = normal(2, 9, 11, 3)
CASES = {
    "erf": lambda: tf.math.erf(np.append(GRID, [np.inf, -np.inf]).astype("float32")),
    "erfinv": lambda: tf.math.erfinv(np.linspace(-1, 1, 2001, dtype="float32")),
    "erfinv_of_keras": lambda: ops.erfinv(np.linspace(-0.99, 0.99, 201, dtype="float32")),
    "cumprod": lambda: ops.cumprod(normal(3, 7, 4), axis=-2),
    "cumprod_exclusive": lambda: tf.math.cumprod(normal(3, 7), axis=1, exclusive=True),
    "cumprod_reverse": lambda: tf.math.cumprod(normal(3, 7), axis=1, reverse=True),
    "count": lambda: keras.layers.CategoryEncoding(9, output_mode="count")(IDS),
    "count_of_floats": lambda: keras.layers.CategoryEncoding(9, output_mode="count")(IDS.astype("float32")),
    "count_weights": lambda: keras.layers.CategoryEncoding(9, output_mode="count")(IDS, count_weights=normal(4, 12)),
    "multi_hot": lambda: keras.layers.CategoryEncoding(9, output_mode="multi_hot")(IDS),
    "bincount": lambda: ops.bincount(IDS[0]),
    "fewer_bins": lambda: tf.math.bincount(IDS, minlength=5, maxlength=5, axis=-1),
    "grouped_conv_3d": lambda: ops.conv(normal(2, 5, 6, 7, 4), normal(3, 3, 3, 2, 6), (2, 1, 1), "same"),
    "conv_3d": lambda: ops.conv(normal(2, 5, 6, 7, 4), normal(3, 3, 3, 4, 6)),
    "fft": lambda: ops.fft(PAIR),
    "fft2": lambda: ops.fft2(PAIR),
    "ifft2": lambda: ops.ifft2(PAIR),
    **{f"irfft_{size}": lambda size=size: ops.irfft(PAIR, fft_length=size) for size in (None, 9, 14, 21)},
    **{
        f"resize_{method}_{antialias}": lambda method=method, antialias=antialias: [
            tf.image.resize(IMAGE, size, method, antialias=antialias) for size in ((5, 11), (9, 4), (17, 20))
        ]
        for method in ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5", "area", "gaussian")
        for antialias in (False, True)
    },
    "resize_keeping_aspect": lambda: tf.image.resize(IMAGE, (5, 5), "bicubic", preserve_aspect_ratio=True),
    "resize_one": lambda: tf.image.resize(IMAGE[0], (5, 5), "bicubic"),
}


@pytest.mark.parametrize("name", CASES)
def test_formulas_give_what_tensorflow_gives(name):
    expected = CASES[name]()
    with tflite_functions():
        given = CASES[name]()
    for one, other in zip(tf.nest.flatten(expected), tf.nest.flatten(given), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(other, one, rtol=2e-5, atol=4e-6)


def test_functions_are_put_back():
    before = tf.math.erf, tf.image.resize, keras.src.backend.math.fft
    with pytest.raises(ZeroDivisionError), tflite_functions():
        assert tf.math.erf is not before[0]
        raise ZeroDivisionError
    assert (tf.math.erf, tf.image.resize, keras.src.backend.math.fft) == before
