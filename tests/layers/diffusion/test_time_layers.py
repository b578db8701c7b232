"""Time layers of diffusion networks at their formulas, in half precision and where refused."""

import keras
import numpy as np
import pytest

from kerasdl.core.errors import ArgumentError
from kerasdl.layers import ConstantTime, FixedPositions2D, SinusoidalTimes


def test_waves_are_those_of_ddpm_and_of_dit():
    times = np.array([0.0, 1.0, 37.5, 999.0])
    for end, cosines_first in ((True, False), (False, True)):
        angles = times[:, None] * np.exp(-np.log(10_000) * np.arange(8) / (7 if end else 8))
        waves = [np.sin(angles), np.cos(angles)]
        found = SinusoidalTimes(16, reaches_end=end, cosines_first=cosines_first)(times)
        np.testing.assert_allclose(found, np.concatenate(waves[::-1] if cosines_first else waves, -1), atol=1e-4)


def test_half_precision_keeps_steps_apart():
    layer = SinusoidalTimes(8, dtype="mixed_bfloat16")
    found = layer(np.array([998.0, 999.0], "float32"))
    assert found.dtype == "bfloat16"
    exact = SinusoidalTimes(8)(np.array([998.0, 999.0]))
    np.testing.assert_allclose(np.asarray(found, "float32"), exact, atol=0.01)


def test_a_constant_time_takes_only_the_batch_size():
    layer = ConstantTime(12.5, dtype="mixed_bfloat16")
    found = layer(np.full((3, 4, 2), np.nan, "float32"))
    assert found.dtype == "float32"
    np.testing.assert_array_equal(found, [12.5] * 3)
    assert layer(keras.Input((4, 2))).shape == (None,)
    assert ConstantTime.from_config(layer.get_config()).value == 12.5


def test_fixed_positions_know_row_and_column_and_are_not_trained():
    layer = FixedPositions2D()
    found = np.asarray(layer(np.zeros((1, 9, 16), "float32"))).reshape(3, 3, 16)
    assert not layer.trainable_weights
    assert len(layer.weights) == 1
    np.testing.assert_array_equal(found[0, :, :8], found[2, :, :8])  # columns first
    np.testing.assert_array_equal(found[:, 0, 8:], found[:, 2, 8:])
    np.testing.assert_allclose(
        found[0, 2, :8],
        [*np.sin(2 / 10_000 ** (np.arange(4) / 4)), *np.cos(2 / 10_000 ** (np.arange(4) / 4))],
        atol=1e-6,
    )


def test_wrong_shapes_and_widths_are_refused():
    for make in (
        lambda: SinusoidalTimes(5),
        lambda: SinusoidalTimes(2),
        lambda: SinusoidalTimes(8, period=0.5),
        lambda: SinusoidalTimes(8)(np.zeros((2, 1))),
        lambda: ConstantTime(np.nan),
        lambda: FixedPositions2D()(np.zeros((1, 8, 16))),
        lambda: FixedPositions2D()(np.zeros((1, 9, 6))),
        lambda: FixedPositions2D()(keras.Input((None, 16))),
    ):
        with pytest.raises(ArgumentError):
            make()
