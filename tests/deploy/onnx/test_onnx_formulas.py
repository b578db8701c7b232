"""Choices in ONNX files, whose branch that is not chosen may be infinite."""

import keras
import numpy as np

from kerasdl.deploy import export_onnx, run_exported


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
