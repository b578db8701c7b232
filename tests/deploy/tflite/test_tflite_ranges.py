"""Calibrated ranges that ended the process once: each int8 file runs and gives what the model gives."""

import keras
import numpy as np
import pytest
from lite import relative_rmse

from kerasdl.core import ExportError
from kerasdl.deploy import export_tflite, run_exported

L = keras.layers


def _int8_rmse(folder, output_of, x, probe=None):
    """Exports int8, runs the file on `probe` and compares it with the model there."""
    entry = keras.Input(x.shape[1:])
    model = keras.Model(entry, output_of(entry))
    export_tflite(model, folder / "model.tflite", quantize="int8", representative=x, samples=x[:8])
    probe = x if probe is None else probe
    (given,) = run_exported(folder / "model.tflite", probe).values()
    return relative_rmse(model(probe), given)


@pytest.mark.parametrize("size", [1, 30, 100])
def test_selu_of_large_values_has_no_infinite_range(tmp_path, size):
    x = size * np.abs(np.random.default_rng(0).normal(size=(40, 6, 4))).astype("float32")
    assert _int8_rmse(tmp_path, L.Activation("selu"), x) < 0.02


def _least_beside(activation):
    return lambda y: L.Add()([L.Minimum()([y, L.Activation(activation)(y)]), L.Activation("relu")(y)])


def _most_of_reshaped(y):
    flat = L.Reshape((24,))(y)
    return L.Concatenate()([L.Maximum()([flat, L.Activation("relu6")(flat)]), L.Activation("tanh")(L.Flatten()(y))])


@pytest.mark.parametrize(
    "layers",
    [L.Activation("selu"), _least_beside("relu6"), _most_of_reshaped, lambda y: L.Add()([L.ReLU(threshold=1.0)(y), y])],
    ids=["selu", "minimum", "maximum of reshaped", "selection"],
)
def test_a_selection_cuts_nothing_off_for_others_that_read_the_same(tmp_path, layers):
    x = 2 * np.random.default_rng(0).normal(size=(60, 6, 4)).astype("float32")
    assert _int8_rmse(tmp_path, layers, x) < 0.02  # selu was off by 0.6


def test_rows_of_a_table_that_calibration_did_not_look_up_are_not_cut_off(tmp_path):
    rng = np.random.default_rng(0)
    table = rng.uniform(-1, 1, (50, 2)).astype("float32")
    table[40:] = np.stack([rng.uniform(-8, 8, 10), np.zeros(10)], axis=1)  # answers stay within what calibration sees
    word = keras.Input((1,), dtype="int32", name="word")
    x = L.Flatten()(L.Embedding(50, 2, name="table")(word))
    model = keras.Model(word, L.Dense(2, name="head")(x))
    model.get_layer("table").set_weights([table])
    model.get_layer("head").set_weights([np.array([[0.125, -0.125], [1, 1]], "float32"), np.zeros(2, "float32")])
    export_tflite(model, tmp_path / "model.tflite", quantize="int8", representative=np.arange(40)[:, None])
    rare = np.arange(40, 50)[:, None]
    (given,) = run_exported(tmp_path / "model.tflite", rare).values()
    assert relative_rmse(model(rare), given) < 0.05  # off by 0.85


def test_exponentials_that_overflow_inside_stay_in_float(tmp_path):
    x = np.random.default_rng(0).uniform(60, 100, (40, 8)).astype("float32")
    x[::2] *= -1

    def bounded(y):
        return L.Add()([L.Activation("tanh")(L.Activation("exponential")(y)), L.Activation("sigmoid")(y)])

    assert _int8_rmse(tmp_path, bounded, x) < 0.02


def test_units_that_gave_zeros_alone_in_calibration_stay_zero(tmp_path):
    x = np.random.default_rng(0).uniform(0, 0.4, (40, 6, 4)).astype("float32")

    def dead(y):  # hard_shrink gives zero below 0.5, and the step after it reads zeros
        return L.Add()([L.Dense(3, bias_initializer="ones")(L.Activation("hard_shrink")(y)), L.Dense(3)(y)])

    assert _int8_rmse(tmp_path, dead, x) < 0.02


def test_recurrent_steps_over_dead_states_run(tmp_path):
    x = np.random.default_rng(0).uniform(0, 1, (40, 6, 4)).astype("float32")
    kernel = keras.initializers.Constant(0.05)

    def dead(y):
        states = L.GRU(3, activation="hard_shrink", reset_after=False, unroll=True, kernel_initializer=kernel)(y)
        return L.Concatenate()([states, L.Dense(2)(L.Flatten()(y))])

    assert _int8_rmse(tmp_path, dead, x) < 0.02


def _images():
    return np.random.default_rng(0).normal(size=(40, 8, 8, 4)).astype("float32")


@pytest.mark.parametrize(
    "branch",
    [
        lambda y: keras.ops.minimum(y, 0.0),
        lambda y: keras.ops.maximum(y, 0.5),
        lambda y: keras.ops.where(y > 0, y, 0.0),
        lambda y: L.Concatenate()([L.MaxPooling2D(4)(y), L.MaxPooling2D(4)(y)]),
        lambda y: L.Concatenate()([L.AveragePooling2D(4)(y), L.AveragePooling2D(4)(y)]),
    ],
    ids=["minimum", "maximum", "selection", "joined_maxima", "joined_means"],
)
def test_what_one_branch_cuts_off_another_still_reads(branch, tmp_path):
    """The quantiser gave the convolution the grid of the branch's end; its other reader was off by up to 0.74."""
    entry = keras.Input((8, 8, 4))
    features = L.Conv2D(4, 1, use_bias=False)(entry)
    model = keras.Model(entry, {"cut": branch(features), "whole": L.Activation("tanh", name="tanh")(features)})
    export_tflite(model, tmp_path / "model.tflite", quantize="int8", representative=_images())
    given = run_exported(tmp_path / "model.tflite", _images())
    expected = model(_images())
    for name, value in given.items():
        assert relative_rmse(expected[name], value) < 0.06


def test_adaptive_means_read_the_whole_of_their_input(tmp_path):
    assert _int8_rmse(tmp_path, L.AdaptiveAveragePooling2D(3), _images()) < 0.06


def test_norms_of_groups_of_one_value_are_refused_by_name(tmp_path):
    """They take the difference of two numbers a thousand times their own, which no grid of 256 steps holds."""
    x = np.random.default_rng(0).normal(size=(40, 8)).astype("float32")
    with pytest.raises(ExportError, match="'group_norm"):
        _int8_rmse(tmp_path, L.GroupNormalization(-1, epsilon=1e-6, name="group_norm"), x)


def test_integer_ends_are_refused_where_an_input_is_read_in_float(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 6, 4)).astype("float32")
    entry = keras.Input((6, 4), name="signal")
    model = keras.Model(entry, [L.Dense(3)(entry), L.RMSNormalization()(entry)])
    with pytest.raises(ExportError, match=r"integer_io .* 'signal' is read by"):
        export_tflite(model, tmp_path / "model.tflite", quantize="int8", representative=x, integer_io=True)
