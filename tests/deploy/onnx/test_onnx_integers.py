"""Integer ONNX files that were wrong or ended the process: units that gave zeros alone, loops beside integers."""

import keras
import numpy as np
import onnx
from filling import fill_weights
from lite import relative_rmse

from kerasdl.deploy import export_onnx, run_exported

L = keras.layers


def test_a_unit_that_gave_zeros_alone_still_takes_negative_numbers_for_zero(tmp_path):
    x = np.random.default_rng(0).uniform(0, 1, (40, 4)).astype("float32")
    entry = keras.Input((4,), name="x")
    dead = L.Dense(3, activation="relu", kernel_initializer=keras.initializers.Constant(-5.0), name="dead")
    model = keras.Model(entry, L.Concatenate(name="both")([dead(entry), entry]))
    export_onnx(model, tmp_path / "m.onnx", quantize="int8", representative=x)
    given = run_exported(tmp_path / "m.onnx", x)["both"]
    np.testing.assert_array_equal(given[:, :3], 0.0)  # they were -10
    assert relative_rmse(model(x), given) < 0.01


def test_a_loop_that_reads_what_is_dequantised_loads_and_runs(tmp_path):
    """onnxruntime ends the process where no barrier stands between them."""
    x = np.random.default_rng(0).normal(size=(40, 5, 6, 2)).astype("float32")
    entry = keras.Input((5, 6, 2), name="film")
    states = L.ConvLSTM1D(2, 3, padding="same", name="states")(entry)
    model = fill_weights(keras.Model(entry, [states, L.Multiply(name="beside")([entry, entry])]))
    export_onnx(model, tmp_path / "m.onnx", quantize="int8", representative=x)
    graph = onnx.load(str(tmp_path / "m.onnx")).graph
    barriers = {node.output[0] for node in graph.node if node.op_type == "Max" and len(node.input) == 1}
    (body,) = [node.attribute[0].g for node in graph.node if node.op_type == "Loop"]
    assert barriers & {name for node in body.node for name in node.input}
    given = run_exported(tmp_path / "m.onnx", x)
    for name, expected in zip(("states", "beside"), model(x), strict=True):
        assert relative_rmse(expected, given[name]) < 0.05
