"""The formulas that stand in ONNX files for TensorFlow's operations, where rounding would show."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.deploy import export_onnx, run_exported
from kerasdl.deploy.formulas.op_formulas import FORMULAS

TINY = np.array([0, 1e-30, 1e-10, 1e-7, 1e-4, 0.01, 0.3, 0.5, 0.9], "float32")
SIGNED = np.concatenate([-TINY[::-1], TINY])
GRIDS = {
    "Expm1": (tf.math.expm1, np.concatenate([SIGNED, [1, 5, 80, -5, -80, 200, -np.inf, np.inf]])),
    "Log1p": (tf.math.log1p, np.concatenate([SIGNED, [1, 5, 1e7, 1e30, -0.9999, -1, np.inf]])),
    "Erfinv": (tf.math.erfinv, np.concatenate([SIGNED, [0.999, -0.999, 0.99999, 1, -1]])),
    "Erfc": (tf.math.erfc, np.concatenate([SIGNED, [3, -3, 10]])),
    "Lgamma": (tf.math.lgamma, np.array([1e-4, 0.1, 0.5, 1, 2, 3.5, 10, 100, 1e4, -0.3, -1.5, -7.25])),
    "Digamma": (tf.math.digamma, np.array([1e-2, 0.1, 0.5, 1, 2, 3.5, 10, 1e4, -0.3, -1.5])),
}
# What subtraction loses; TensorFlow's own Erfinv is 0 below 1e-8.
ROOM = {"Erfc": 1e-7, "Erfinv": 3e-8, "Lgamma": 3e-6}


@pytest.mark.parametrize("name", GRIDS)
def test_a_formula_equals_the_operation(name):
    operation, grid = GRIDS[name]
    x = tf.constant(grid, tf.float32)
    expected = operation(x).numpy()
    given = FORMULAS[name](None, x).numpy()
    assert np.isfinite(expected).sum() > 8
    np.testing.assert_allclose(given, expected, rtol=2e-5, atol=ROOM.get(name, 0))


@pytest.mark.parametrize("name", ["Xlogy", "Xlog1py", "Xdivy"])
def test_zero_times_infinity_is_zero(name):
    x, y = tf.constant([0.0, 0.0, 2.0, -1.5]), tf.constant([0.0, -1.0, 3.0, 0.25])
    np.testing.assert_allclose(FORMULAS[name](None, x, y), getattr(tf.raw_ops, name)(x=x, y=y), rtol=1e-6)


@pytest.mark.parametrize("length", [6, 7])
@pytest.mark.parametrize("size", [4, 6, 7, 9])
def test_fourier_transforms_cut_and_pad_as_tensorflow_does(size, length):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, size)).astype("float32")
    lengths = tf.constant([length])
    if size >= length:
        expected = np.fft.rfft(x[:, :length], length)
        pairs = FORMULAS["complex RFFT"](None, tf.constant(x), lengths).numpy()
        np.testing.assert_allclose(pairs[..., 0] + 1j * pairs[..., 1], expected, atol=1e-5)
    spectrum = rng.normal(size=(3, size, 2)).astype("float32")
    spectrum[:, 0, 1] = 0
    expected = np.fft.irfft(spectrum[..., 0] + 1j * spectrum[..., 1], length)
    np.testing.assert_allclose(FORMULAS["complex IRFFT"](None, tf.constant(spectrum), lengths), expected, atol=1e-5)


def test_a_branch_that_is_not_chosen_may_be_infinite(tmp_path):
    """tf2onnx multiplies both branches by 0 or 1, and infinity times 0 is NaN."""

    class SafeInverse(keras.layers.Layer):
        def call(self, x):
            return keras.ops.where(x > 1e-3, 1 / x, keras.ops.zeros_like(x))

    inputs = keras.Input((3,))
    model = keras.Model(inputs, SafeInverse()(inputs))
    export_onnx(model, tmp_path / "m.onnx")
    (found,) = run_exported(tmp_path / "m.onnx", np.array([[0, 2, -4]], "float32")).values()
    np.testing.assert_array_equal(found, [[0, 0.5, 0]])


def test_quotients_of_whole_numbers_are_rounded_down(tmp_path):
    """ONNX rounds them toward zero, so that -7 // 2 was -3."""

    class Quotients(keras.layers.Layer):
        def call(self, x):
            divisor = keras.ops.convert_to_tensor(np.array([2, -2, 3, 4, -3], "int32"))
            return keras.ops.concatenate([x // divisor, x % divisor], axis=-1)

    inputs = keras.Input((5,), dtype="int32")
    model = keras.Model(inputs, Quotients()(inputs))
    x = np.array([[-7, -7, -1, -8, 8], [7, 7, 1, 8, -9]], "int32")
    export_onnx(model, tmp_path / "m.onnx", samples=x)
    (found,) = run_exported(tmp_path / "m.onnx", x).values()
    divisor = np.array([2, -2, 3, 4, -3])
    np.testing.assert_array_equal(found, np.concatenate([x // divisor, x % divisor], -1))
