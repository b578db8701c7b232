"""BilinearKernel against bilinear resizing, through a save, and its refusals."""

import keras
import numpy as np
import pytest

from kerasdl.core import ArgumentError
from kerasdl.layers import BilinearKernel


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_transposed_convolution_resizes_bilinearly_but_at_the_border(factor, tmp_path):
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype("float32")
    entry = keras.Input(x.shape[1:])
    layer = keras.layers.Conv2DTranspose(
        3, 2 * factor, strides=factor, padding="same", use_bias=False, kernel_initializer=BilinearKernel()
    )
    model = keras.Model(entry, layer(entry))
    large = keras.ops.image.resize(x, (5 * factor, 6 * factor), interpolation="bilinear")
    inside = slice(factor, -factor)
    np.testing.assert_allclose(model(x)[:, inside, inside], large[:, inside, inside], atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.layers[1].kernel_initializer, BilinearKernel)


def test_odd_kernels_have_their_greatest_weight_in_the_middle():
    np.testing.assert_allclose(np.asarray(BilinearKernel()((3, 3, 1, 1)))[:, 1, 0, 0], [0.5, 1.0, 0.5])


@pytest.mark.parametrize("shape", [(4, 2, 3, 3), (4, 4, 3, 2), (4, 3, 3)])
def test_shapes_of_no_such_kernel_are_refused(shape):
    with pytest.raises(ArgumentError, match=r"must have the shape \(side, side, channels, channels\)"):
        BilinearKernel()(shape)
