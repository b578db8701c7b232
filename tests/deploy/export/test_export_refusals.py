"""Refusals of exports: they name layer and remedy, and leave no file behind."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from filling import fill_weights

from kerasdl.core.errors import ArgumentError, ExportError
from kerasdl.deploy import export_onnx, export_saved_model, export_tflite
from kerasdl.deploy.export import pipeline
from kerasdl.deploy.export.tracing import silenced
from kerasdl.deploy.tflite import exporter

EXPORTS = {".tflite": export_tflite, ".onnx": export_onnx, "": export_saved_model}


class Odd(keras.layers.Layer):
    """A layer around a bare TensorFlow function."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def call(self, x):
        return self.function(x)

    def compute_output_shape(self, shape):
        return shape


def model_with(function):
    x = keras.Input((4,), name="x")
    y = Odd(function, name="odd")(keras.layers.Dense(4, name="before")(x))
    return fill_weights(keras.Model(x, keras.layers.Dense(3, name="head")(y)))


def in_64_bits():
    x = keras.Input((4,), name="x")
    y = keras.layers.Dense(4, dtype="float64", name="double")(keras.layers.Dense(4, name="single")(x))
    return keras.Model(x, keras.layers.Dense(3, name="head")(y))


def of_volumes(layer):
    x = keras.Input((4, 4, 4, 2), name="x")
    return keras.Model(x, layer(x))


def bare(function):
    x = keras.Input((3, 3), name="x")
    return keras.Model(x, function(x))


def real_inputs():
    return np.random.default_rng(0).normal(size=(32, 4)).astype("float32")


def bessel(x):
    return tf.math.bessel_i0e(x)


def svd(x):
    return tf.linalg.svd(tf.reshape(x, (-1, 2, 2)), compute_uv=False)[:, :1] * tf.ones((1, 4))


def loop(x):
    return tf.while_loop(lambda step, _: step < 3, lambda step, y: (step + 1, tf.tanh(y)), (0, x))[1]


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
@pytest.mark.parametrize("function", [bessel, svd])
def test_an_unknown_operation_is_named_with_its_layer(suffix, function, tmp_path, capfd):
    with pytest.raises(ExportError, match=r"(BesselI0e|Svd) of layer 'odd' is not one of them\. Write that layer"):
        EXPORTS[suffix](model_with(function), tmp_path / f"model{suffix}")
    assert not list(tmp_path.iterdir())
    lines = [line for line in capfd.readouterr().err.splitlines() if "cuInit" not in line]  # TensorFlow's own start
    assert "error" not in "".join(lines), "the converter's noise reached the user"


@pytest.mark.parametrize(
    ("make_model", "reason"),
    [
        (in_64_bits, "MatMul in float64 of layer 'double'"),
        (lambda: of_volumes(keras.layers.MaxPooling3D(2, name="pool")), "MaxPool3D of layer 'pool'"),
        (lambda: model_with(lambda x: tf.cast(tf.cast(x, "uint8") + 1, "float32")), "AddV2 in uint8 of layer 'odd'"),
        (lambda: bare(keras.ops.inv), "MatrixInverse of a function outside any layer"),
    ],
    ids=["dtype", "operation", "dtype_of_a_part", "bare"],
)
def test_a_refusal_gives_reason_and_layer_first_and_whole(make_model, reason, tmp_path):
    with pytest.raises(ExportError) as caught:
        export_tflite(make_model(), tmp_path / "model.tflite")
    rest = " is not one of them. Write that layer with operations that TFLite has, or export to ONNX or SavedModel."
    assert str(caught.value) == f"TFLite's built-in operations must cover the model; {reason}{rest}"


def test_another_error_of_the_compiler_comes_with_its_layer(tmp_path, monkeypatch):
    place = 'loc(callsite(fused["Tanh:", "functional/odd_1/Tanh@__inference_serve_9"] at fused["Call:", "Call"]))'
    text = f"Could not translate.<unknown>:0: error: {place}: 'tfl.tanh' op operand #0 must be {'a tensor ' * 60}\n"

    def fail(*_):
        raise ValueError(text + f"<unknown>:0: note: {place}: called from")

    model = model_with(tf.tanh)
    monkeypatch.setattr(exporter.converter, "convert", fail)
    with pytest.raises(ExportError) as caught:
        export_tflite(model, tmp_path / "model.tflite")
    said = f"'tfl.tanh' op operand #0 must be {'a tensor ' * 60}".strip()
    assert str(caught.value) == f"the model does not convert to TFLite (float32) at layer 'odd': {said}"


def test_a_reason_that_the_compiler_only_prints_comes_with_its_layer(tmp_path, monkeypatch):
    def fail(*_, **__):
        with silenced():
            os.write(2, b"loc(\"net_1/odd_1/ExpandDims\"): error: 'tfl.reshape' op violates the same scale\n")
            raise RuntimeError

    monkeypatch.setattr(exporter.converter.Calibrated, "quantized", fail)
    with pytest.raises(ExportError, match=r"layer 'odd': 'tfl.reshape' op violates .* Export with quantize='dynamic'"):
        export_tflite(model_with(tf.tanh), tmp_path / "model.tflite", quantize="int8", representative=real_inputs())


def test_a_refusal_by_litert_that_names_its_delegate_lists_the_operations(make, real, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("failed to create XNNPACK runtimeNode number 7 (TfLiteXNNPackDelegate) failed to prepare.")

    model = make("conv_bn")
    monkeypatch.setattr(exporter.runtime, "run_file", fail)
    rule = r"LiteRT refuses the int8 file and does not name the operation; the file holds .*CONV_2D.*quantize='dynamic'"
    with pytest.raises(ExportError, match=rule):
        export_tflite(model, tmp_path / "model.tflite", quantize="int8", representative=real(model))


@pytest.mark.parametrize("suffix", [".tflite", ".onnx", ""])
def test_a_file_that_drifts_is_refused_by_its_first_layer_and_the_old_one_stays(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    EXPORTS[suffix](model_with(tf.tanh), path)
    held = path / "saved_model.pb" if path.is_dir() else path
    before = held.read_bytes()
    random = model_with(lambda x: x + tf.random.normal(tf.shape(x)))
    with pytest.raises(ExportError, match=r"'head' differs by .* the first layer that drifts is 'odd'"):
        EXPORTS[suffix](random, path)
    assert held.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_first_layer_that_drifts_is_sought_on_few_examples(tmp_path, monkeypatch):
    usual, counts = exporter.runtime.run_file, []

    def counted(path, arrays, *args, **options):
        counts.append(len(arrays["x"]))
        return usual(path, arrays, *args, **options)

    monkeypatch.setattr(exporter.runtime, "run_file", counted)
    monkeypatch.setattr(pipeline, "MOST_PROBED", 3 * 11)  # the three layers give 4, 4 and 3 values
    random = model_with(lambda x: x + tf.random.normal(tf.shape(x)))
    with pytest.raises(ExportError, match="the first layer that drifts is 'odd'"):
        export_tflite(random, tmp_path / "model.tflite")
    assert counts[-1] == 3 < max(counts)


def test_the_model_is_called_on_few_examples_at_once(tmp_path):
    sizes = []
    model = model_with(lambda x: [x, sizes.append(x.shape[0] if tf.executing_eagerly() else 0)][0])
    export_tflite(model, tmp_path / "model.tflite", samples=np.ones((20, 4), "float32"))
    assert max(sizes) == 8


def test_the_tolerance_is_held(make, real, tmp_path):
    model = make("conv_bn")
    with pytest.raises(ExportError, match=r"within 1e-12 .* first layer that drifts is '\w+'.*quantize='dynamic'"):
        export_tflite(model, tmp_path / "m.tflite", quantize="int8", representative=real(model), tolerance=1e-12)
    assert not list(tmp_path.iterdir())


def test_a_loop_never_reaches_the_integer_calibrator(tmp_path):
    with pytest.raises(ExportError, match=r"cannot hold a loop; got one in layer 'odd'.*quantize='dynamic'"):
        export_tflite(model_with(loop), tmp_path / "m.tflite", quantize="int8", representative=real_inputs())
    assert export_tflite(model_with(loop), tmp_path / "m.tflite").operations["WHILE"] == 1


def test_integers_need_a_fixed_number_of_steps(tmp_path):
    x = keras.Input((None, 4), name="x")
    model = fill_weights(keras.Model(x, keras.layers.LSTM(3, name="rnn")(x)))
    inputs = np.random.default_rng(0).normal(size=(8, 5, 4)).astype("float32")
    with pytest.raises(ExportError, match=r"fixed number of time steps.*Input\(\(steps"):
        export_tflite(model, tmp_path / "m.tflite", quantize="int8", representative=inputs)
    assert export_tflite(model, tmp_path / "m.tflite", samples=inputs).worst_relative < 1e-5


def test_nan_weights_are_refused(make, tmp_path):
    model = make("conv_bn")
    model.get_layer("head").bias.assign(np.full(5, np.nan))
    with pytest.raises(ExportError, match="'head' holds NaN, and so do the weights of 'head'"):
        export_onnx(model, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"quantize": "int8"}, "needs representative data"),
        ({"quantize": "int4"}, "quantize must be one of"),
        ({"samples": np.zeros((2, 16, 16, 1), "float32")}, r"must have the shape \(None, 16, 16, 3\)"),
        ({"samples": np.full((2, 16, 16, 3), np.nan, "float32")}, "must be finite"),
        ({"samples": np.zeros((2, 16, 16, 3), "complex64")}, "must be float32"),
        ({"samples": np.zeros((0, 16, 16, 3), "float32")}, "one or more"),
        ({"samples": {"other": np.zeros((2, 16, 16, 3), "float32")}}, r"\['image'\] lack one"),
        ({"tolerance": -1}, "tolerance must be"),
    ],
)
def test_arguments_are_checked(given, message, make, tmp_path):
    with pytest.raises(ArgumentError, match=message):
        export_tflite(make("conv_bn"), tmp_path / "m.tflite", **given)
    assert not list(tmp_path.iterdir())


def test_paths_and_models_are_checked(make, tmp_path):
    model = make("sequential")
    with pytest.raises(ArgumentError, match=r"must end in '\.tflite'"):
        export_tflite(model, tmp_path / "model.onnx")
    with pytest.raises(ArgumentError, match="opset must be one of"):
        export_onnx(model, tmp_path / "model.onnx", opset=23)
    with pytest.raises(ArgumentError, match="must be built"):
        export_onnx(keras.Sequential([keras.layers.Dense(2)]), tmp_path / "model.onnx")
    with pytest.raises(ArgumentError, match=r"must be a keras\.Model"):
        export_onnx("model", tmp_path / "model.onnx")
    with pytest.raises(ArgumentError, match="batch size"):
        x = keras.Input((3,), batch_size=4)
        export_onnx(keras.Model(x, keras.layers.Dense(2)(x)), tmp_path / "model.onnx")


def test_a_saved_model_takes_no_path_that_holds_or_names_something_else(tmp_path):
    model = model_with(tf.abs)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "wedding.jpg").write_bytes(b"dear")
    with pytest.raises(ArgumentError, match="would be lost"):
        export_saved_model(model, tmp_path / "photos")
    with pytest.raises(ArgumentError, match="another format"):
        export_saved_model(model, tmp_path / "model.tflite")
    assert (tmp_path / "photos" / "wedding.jpg").read_bytes() == b"dear"
    export_saved_model(model, tmp_path / "saved")
    export_saved_model(model, tmp_path / "saved")


def test_quotients_of_many_axes_are_refused_before_the_calibrator_ends_the_process(tmp_path):
    x = keras.Input((2, 2, 2, 2, 2), name="x")
    model = keras.Model(x, Odd(lambda each: 1 / (2 + tf.abs(each)), name="odd")(keras.layers.Dense(3)(x)))
    samples = np.random.default_rng(0).normal(size=(24, 2, 2, 2, 2, 2)).astype("float32")
    with pytest.raises(ExportError, match=r"cannot divide tensors of .* layer 'odd' does: .* more than 5 axes"):
        export_tflite(model, tmp_path / "m.tflite", quantize="int8", representative=samples)
    export_tflite(model, tmp_path / "m.tflite", quantize="dynamic")


@pytest.mark.parametrize("suffix", ["tflite", "onnx", "saved"])
def test_a_layer_that_works_in_a_call_but_not_in_a_graph_is_refused_by_name(suffix, tmp_path):
    video = keras.Input((7, 5, 5, 3), name="video")
    model = keras.Model(video, keras.layers.AdaptiveAveragePooling3D((3, 2, 1), name="few.pool")(video), name="net")
    assert model(np.ones((1, 7, 5, 5, 3), "float32")).shape == (1, 3, 2, 1, 3)
    export = {"tflite": export_tflite, "onnx": export_onnx, "saved": export_saved_model}[suffix]
    path = tmp_path / ("saved" if suffix == "saved" else f"m.{suffix}")
    with pytest.raises(ExportError, match=r"must run as a TensorFlow graph, .* layer 'few\.pool' does not: Negative"):
        export(model, path)
    assert not list(tmp_path.iterdir())
