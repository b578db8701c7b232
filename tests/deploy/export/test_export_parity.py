"""Every format computes what the model computes, on files run by the tests themselves."""

import json

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from filling import fill_weights

from kerasdl.deploy import export_onnx, export_saved_model, export_tflite

PLAIN = ("conv_bn", "squeeze", "attention", "grouped", "several", "augmented", "sequential", "subclassed")
RECURRENT = ("lstm", "gru", "simple", "bilstm", "bigru", "stacked", "bidirectional_stacked", "lstm_unmasked")
# Each recurrent layer in TFLite: test_export_recurrent.py.
NESTED = ("bigru", "bidirectional_stacked")
QUICK = ("conv_bn", "attention", "several", "subclassed", "bigru")
BOUNDS = {None: 1e-5, "float16": 1e-2, "dynamic": 0.05, "int8": 0.1, "int16x8": 0.05}


def outputs_of(model, inputs):
    """Outputs of the model in inference, by name, without the library under test."""
    values = model(inputs, training=False)
    if isinstance(values, dict):
        return {name: value.numpy() for name, value in values.items()}
    names = getattr(model, "output_names", [model.layers[-1].name])
    return {name: value.numpy() for name, value in zip(names, keras.tree.flatten(values), strict=True)}


def by_name(model, inputs):
    if not getattr(model, "inputs", None):
        return {"input_0": inputs}
    arrays = inputs if isinstance(inputs, list) else [inputs]
    return {tensor.name: array for tensor, array in zip(model.inputs, arrays, strict=True)}


def first(inputs, count):
    return [array[:count] for array in inputs] if isinstance(inputs, list) else inputs[:count]


def run_tflite(path, arrays):
    serve = Interpreter(model_path=str(path)).get_signature_runner("serve")
    rows = range(len(next(iter(arrays.values()))))
    parts = [serve(**{name: array[row : row + 1] for name, array in arrays.items()}) for row in rows]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def run_onnx(path, arrays):
    session = onnxruntime.InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, arrays), strict=True))


def largest_gap(expected, given):
    assert sorted(expected) == sorted(given)
    return max(np.abs(expected[name] - given[name]).max() / max(1, np.abs(expected[name]).max()) for name in expected)


def cases(names):
    return [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in names]


@pytest.mark.parametrize("quantize", [None, "float16", "dynamic", "int8"])
@pytest.mark.parametrize("name", cases(PLAIN + NESTED))
def test_tflite_computes_what_the_model_computes(name, quantize, make, real, tmp_path):
    model = make(name)
    inputs = real(model)
    report = export_tflite(model, tmp_path / "model.tflite", quantize=quantize, representative=inputs)
    inputs = first(inputs, 16)
    gap = largest_gap(outputs_of(model, inputs), run_tflite(tmp_path / "model.tflite", by_name(model, inputs)))
    assert gap < BOUNDS[quantize]
    assert report.worst_relative < BOUNDS[quantize]
    assert report.bytes == (tmp_path / "model.tflite").stat().st_size
    if quantize in ("int8", "dynamic") and name == "conv_bn":
        assert gap > 1e-4, "the file is not quantised"


@pytest.mark.parametrize("name", cases(PLAIN + RECURRENT))
def test_onnx_computes_what_the_model_computes_for_any_batch(name, make, real, tmp_path):
    model = make(name)
    export_onnx(model, tmp_path / "model.onnx", samples=first(real(model), 3))
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
    for batch in (1, 5):
        inputs = first(real(model), batch)
        assert largest_gap(outputs_of(model, inputs), run_onnx(tmp_path / "model.onnx", by_name(model, inputs))) < 1e-5


@pytest.mark.parametrize("name", cases(PLAIN + NESTED))
def test_saved_model_computes_what_the_model_computes(name, make, real, tmp_path):
    model = make(name)
    inputs = first(real(model), 5)
    export_saved_model(model, tmp_path / "saved", samples=inputs)
    serve = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    given = serve(**{name: tf.constant(array) for name, array in by_name(model, inputs).items()})
    assert largest_gap(outputs_of(model, inputs), {name: value.numpy() for name, value in given.items()}) < 1e-5


@pytest.mark.parametrize("name", ["conv_bn", "squeeze"])
def test_int16x8_keeps_what_lacks_a_kernel_in_float(name, make, real, tmp_path):
    model = make(name)
    report = export_tflite(model, tmp_path / "model.tflite", quantize="int16x8", representative=real(model))
    assert 1e-4 < report.worst_relative < 0.05
    assert report.notes == (("in float: HARD_SWISH",) if name == "squeeze" else ())


def test_in_graph_augmentation_is_off_in_every_format(make, real, tmp_path):
    model = make("augmented")
    inputs = real(model)[:8]
    export_saved_model(model, tmp_path / "saved")
    export_onnx(model, tmp_path / "model.onnx")
    export_tflite(model, tmp_path / "model.tflite")
    serve = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    runs = {
        "saved": lambda: serve(image=tf.constant(inputs))["head"].numpy(),
        "onnx": lambda: run_onnx(tmp_path / "model.onnx", {"image": inputs})["head"],
        "tflite": lambda: run_tflite(tmp_path / "model.tflite", {"image": inputs})["head"],
    }
    plain = keras.Model(model.inputs, model.layers[-1].output)
    kernel, bias = model.get_layer("head").get_weights()
    expected = inputs.reshape(8, -1) @ kernel + bias
    for run in runs.values():
        np.testing.assert_array_equal(run(), run())
        np.testing.assert_allclose(run(), expected, atol=1e-5)
    assert np.abs(plain([inputs], training=True).numpy() - expected).max() > 0.1, "the model does not augment"


def test_unrolled_layers_are_noted_and_brought_back(make, real, tmp_path):
    model = make("bilstm")
    layer = model.get_layer("rnn").forward_layer
    loop = layer.inner_loop
    report = export_tflite(model, tmp_path / "model.tflite", quantize="int8", representative=real(model))
    assert "WHILE" not in report.operations
    assert any("unrolled" in note for note in report.notes)
    assert (layer.inner_loop, layer.use_cudnn) == (loop, "auto")
    float_report = export_tflite(model, tmp_path / "model.tflite")
    assert "WHILE" in float_report.operations


def test_a_mixed_precision_model_computes_in_float32(real, tmp_path, make):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = make("conv_bn")
    keras.config.set_dtype_policy("float32")
    functional = make("conv_bn")
    inputs = real(functional)[:8]
    report = export_onnx(model, tmp_path / "model.onnx", samples=inputs)
    given = run_onnx(tmp_path / "model.onnx", {"image": inputs})
    np.testing.assert_allclose(given["head"], functional(inputs, training=False), atol=1e-5)
    assert any("float32" in note for note in report.notes)
    assert model.get_layer("conv0").compute_dtype == "bfloat16"


def test_outputs_of_one_shape_keep_their_names(make, real, tmp_path):
    model = make("several")
    inputs = first(real(model), 4)
    expected = outputs_of(model, inputs)
    assert min(np.abs(expected["zeta"] - expected[other]).max() for other in ("alpha", "middle")) > 0.1
    report = export_tflite(model, tmp_path / "model.tflite", samples=inputs)
    assert {drift.output for drift in report.drifts} == {"zeta", "alpha", "middle"}
    given = run_tflite(tmp_path / "model.tflite", by_name(model, inputs))
    for name, value in expected.items():
        np.testing.assert_allclose(given[name], value, atol=1e-5)


def test_an_output_that_is_an_input_gets_a_name_of_its_own(tmp_path):
    values, dense = keras.Input((3,), name="values"), keras.layers.Dense(3, name="dense")
    model = keras.Model(values, [dense(values), values, dense(dense(values))])
    report = export_onnx(model, tmp_path / "model.onnx")
    assert [drift.output for drift in report.drifts] == ["dense", "values_1", "dense_1"]


def test_free_dimensions_stay_free_in_tflite(tmp_path, real):
    image = keras.Input((None, None, 3), name="image")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, padding="same")(image))
    model = keras.Model(image, keras.layers.Dense(3, name="head")(x))
    export_tflite(model, tmp_path / "model.tflite")
    inputs = np.random.default_rng(0).normal(size=(2, 9, 13, 3)).astype("float32")
    given = run_tflite(tmp_path / "model.tflite", {"image": inputs})
    np.testing.assert_allclose(given["head"], model(inputs), atol=1e-5)


def test_the_report_tells_what_was_measured_and_survives_json(make, real, tmp_path):
    model = make("conv_bn")
    report = export_tflite(model, tmp_path / "model.tflite", samples=real(model))
    assert report.operations["CONV_2D"] == 2
    assert report.operations["FULLY_CONNECTED"] == 1
    assert {drift.inputs for drift in report.drifts} == {"real", "random"}
    assert report.worst_absolute == max(drift.absolute for drift in report.drifts)
    assert report.top1_agreement == 1.0
    record = json.loads(report.to_json())
    assert record["path"] == str(tmp_path / "model.tflite")
    assert record["worst_relative"] == report.worst_relative
    assert len(record["drifts"]) == len(report.drifts)


@pytest.mark.slow
@pytest.mark.parametrize("quantize", [None, "float16", "dynamic", "int8", "int16x8"])
def test_mobilenet_v2_of_keras_applications(quantize, tmp_path):
    model = keras.applications.MobileNetV2((96, 96, 3), weights=None, classes=10, classifier_activation=None)
    fill_weights(model)
    for weight in model.weights:
        if "kernel" in weight.path:  # the bottlenecks are linear: without it their sums grow until everything saturates
            weight.assign(weight / np.sqrt(2))
    inputs = np.random.default_rng(0).uniform(-1, 1, (32, 96, 96, 3)).astype("float32")
    report = export_tflite(model, tmp_path / "model.tflite", quantize=quantize, representative=inputs)
    assert report.worst_relative < BOUNDS[quantize]
    if quantize == "int8":
        assert report.bytes < 0.35 * sum(weight.numpy().nbytes for weight in model.weights)
