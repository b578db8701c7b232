"""Layers of StyleGAN2: a kernel for each example, the filter as a matrix, noise, the deviation of a batch."""

import keras
import numpy as np
import pytest
from scipy.signal import correlate2d

from kerasdl.core.errors import ArgumentError
from kerasdl.layers import BatchDeviation, FilteredResampling2D, ModulatedConv2D, NoisyBias

RNG = np.random.default_rng(0)
X, STYLE = RNG.normal(size=(2, 4, 5, 3)).astype("float32"), RNG.normal(size=(2, 3)).astype("float32") + 1


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("size", [1, 3])
def test_one_kernel_is_a_kernel_for_each_example(size, demodulate):
    layer = ModulatedConv2D(4, size, demodulate=demodulate, use_bias=True)
    found = np.asarray(layer([X, STYLE]))
    kernel = layer.kernel.numpy()
    for example in range(2):
        own = kernel * STYLE[example][None, None, :, None]
        own = own / np.sqrt((own**2).sum((0, 1, 2)) + 1e-8) if demodulate else own
        for channel in range(4):
            planes = [correlate2d(X[example, ..., c], own[..., c, channel], "same") for c in range(3)]
            np.testing.assert_allclose(found[example, ..., channel], sum(planes), atol=1e-5)


def test_a_style_of_nothing_stays_finite_in_half_precision():
    layer = ModulatedConv2D(4, 3, dtype="float16")
    found = np.asarray(layer([X.astype("float16"), np.zeros((2, 3), "float16")]))
    np.testing.assert_array_equal(found, 0)
    small = np.asarray(layer([X.astype("float16"), np.full((2, 3), 1e-3, "float16")]))
    large = np.asarray(layer([X.astype("float16"), np.ones((2, 3), "float16")]))
    np.testing.assert_allclose(small, large, rtol=0.1, atol=0.05)


def test_upsampling_puts_zeros_between_pixels():
    layer = ModulatedConv2D(4, upsample=True)
    found = np.asarray(layer([X, STYLE]))
    assert found.shape == (2, 9, 11, 4)
    kernel = layer.kernel.numpy()  # (3, 3, filters, C)
    for example in range(2):
        own = kernel * STYLE[example]
        own = own / np.sqrt((own**2).sum((0, 1, 3), keepdims=True) + 1e-8)
        expected = np.zeros((9, 11, 4))
        for row, column in np.ndindex(4, 5):
            expected[2 * row : 2 * row + 3, 2 * column : 2 * column + 3] += own @ X[example, row, column]
        np.testing.assert_allclose(found[example], expected, atol=1e-5)


@pytest.mark.parametrize(("up", "down", "padding"), [(1, 1, (1, 1)), (2, 1, (2, 1)), (1, 2, (1, 1)), (1, 1, (2, 2))])
def test_resampling_is_its_matrix(up, down, padding):
    one = np.array([1, 3, 3, 1]) / 8 * up

    def along(side):
        """The matrix from `side` places to the resampled ones."""
        spread = np.zeros((side * up, side))
        spread[::up] = np.eye(side)
        padded = np.pad(spread, (padding, (0, 0)))
        return np.stack([one @ padded[place : place + 4] for place in range(0, len(padded) - 3, down)])

    layer = FilteredResampling2D(up=up, down=down, padding=padding, gain=1.5)
    expected = 1.5 * np.einsum("ij,bjkc,lk->bilc", along(4), X, along(5))
    found = layer(X)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert layer.compute_output_shape(X.shape) == tuple(found.shape)


def test_noise_is_fixed_unless_it_trains():
    layer = NoisyBias(seed=3)
    np.testing.assert_array_equal(layer(X), X)
    layer.strength.assign(0.5)
    layer.bias.assign([1.0, 2.0, 3.0])
    rest = np.asarray(layer(X)) - X - [1, 2, 3]
    np.testing.assert_allclose(rest, np.broadcast_to(rest[:1, :, :, :1], rest.shape), atol=1e-5)
    np.testing.assert_array_equal(layer(X), layer(X))
    big = np.zeros((2, 60, 60, 3), "float32")
    wide = NoisyBias()
    wide.build(big.shape)
    wide.strength.assign(2.0)
    drawn = np.asarray(wide(big, training=True))
    assert drawn.std() == pytest.approx(2.0, rel=0.05)
    assert abs(np.corrcoef(drawn[0, ..., 0].ravel(), drawn[1, ..., 0].ravel())[0, 1]) < 0.1
    with pytest.raises(ArgumentError, match="known sides"):
        NoisyBias()(keras.Input((None, 4, 2)))


def test_deviation_of_a_batch():
    layer = BatchDeviation(momentum=0.75)
    found = np.asarray(layer(X, training=True))
    expected = X.std(0).mean()
    np.testing.assert_array_equal(found[..., :3], X)
    np.testing.assert_allclose(found[..., 3], expected, rtol=1e-5)
    np.testing.assert_allclose(layer(X[:1])[..., 3], 0.75 + 0.25 * expected, rtol=1e-5)  # of one example too


def test_styles_survive_a_save_and_refuse_what_does_not_fit(tmp_path):
    x, style = keras.Input((4, 4, 3)), keras.Input((3,))
    y = ModulatedConv2D(4, upsample=True, name="up")([x, style])
    y = FilteredResampling2D(padding=(1, 1), gain=4.0, name="filter")(y)
    y = BatchDeviation(name="deviation")(NoisyBias(seed=1, name="noise")(y))
    model = keras.Model([x, style], y)
    assert model.output_shape == (None, 8, 8, 5)
    model.get_layer("noise").strength.assign(1.0)
    inputs = [X[:, :, :4], STYLE]
    model.save(tmp_path / "styles.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "styles.keras")(inputs), model(inputs))
    with pytest.raises(ArgumentError, match=r"one number for each channel; got \(3, 2\)"):
        ModulatedConv2D(4)([keras.Input((4, 4, 3)), keras.Input((2,))])
    with pytest.raises(ArgumentError, match="upsample needs kernel_size 3"):
        ModulatedConv2D(4, 1, upsample=True)
