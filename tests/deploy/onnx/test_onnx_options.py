"""Operator sets, free dimensions, eight bits: what a caller of export_onnx may choose, and what it refuses."""

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from filling import fill_weights, settle_statistics

from kerasdl.core.errors import ArgumentError, ExportError
from kerasdl.deploy import export_onnx

L = keras.layers


def shape_of(value):
    return [each.dim_value or each.dim_param for each in value.type.tensor_type.shape.dim]


def ends_of(path):
    graph = onnx.load(str(path)).graph
    return [shape_of(value) for value in (*graph.input, *graph.output)]


def run(path, arrays):
    session = onnxruntime.InferenceSession(str(path))
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, arrays), strict=True))


@pytest.mark.parametrize("opset", [13, 17, 20, 22])
@pytest.mark.parametrize(
    "name", ["attention", "squeeze", pytest.param("bidirectional_stacked", marks=pytest.mark.slow)]
)
def test_every_operator_set(name, opset, make, real, tmp_path):
    model = make(name)
    inputs = real(model)[:3]
    export_onnx(model, tmp_path / "model.onnx", opset=opset, samples=inputs)
    proto = onnx.load(str(tmp_path / "model.onnx"))
    assert {each.domain: each.version for each in proto.opset_import}[""] == opset
    onnx.checker.check_model(proto, full_check=True)
    given = run(tmp_path / "model.onnx", {model.inputs[0].name: inputs})
    np.testing.assert_allclose(given["head"], model(inputs, training=False), atol=1e-5)


def free_model():
    image = keras.Input((None, None, 3), name="image")
    x = L.GlobalAveragePooling2D()(L.Conv2D(4, 3, activation="gelu")(image))
    return fill_weights(keras.Model(image, L.Dense(2, name="head")(x)))


def test_dimensions_are_free_as_asked(tmp_path):
    model, path = free_model(), tmp_path / "model.onnx"
    images = np.random.default_rng(0).normal(size=(5, 9, 7, 3)).astype("float32")
    export_onnx(model, path)
    assert ends_of(path) == [["batch", "image_1", "image_2", 3], ["batch", 2]]
    for given in (images, images[:2, :6, :5]):
        np.testing.assert_allclose(run(path, {"image": given})["head"], model(given), atol=1e-5)
    export_onnx(model, path, dynamic_axes="batch", samples=images)
    assert ends_of(path) == [["batch", 9, 7, 3], ["batch", 2]]
    np.testing.assert_allclose(run(path, {"image": images})["head"], model(images), atol=1e-5)
    export_onnx(model, path, dynamic_axes="none", samples=images)
    assert ends_of(path) == [[1, 9, 7, 3], [1, 2]]
    np.testing.assert_allclose(run(path, {"image": images[:1]})["head"], model(images[:1]), atol=1e-5)


def test_a_fixed_model_needs_no_samples(make, tmp_path):
    export_onnx(make("several"), tmp_path / "model.onnx", dynamic_axes="none")
    assert all(shape[0] == 1 for shape in ends_of(tmp_path / "model.onnx"))


def images_net(classes=5):
    image = keras.Input((16, 16, 3), name="image")
    x = L.ReLU(6.0)(L.BatchNormalization()(L.Conv2D(32, 3, use_bias=False)(image)))
    for _ in range(2):
        x = L.ReLU(6.0)(L.BatchNormalization()(L.DepthwiseConv2D(3, use_bias=False)(x)))
        x = L.ReLU(6.0)(L.BatchNormalization()(L.Conv2D(64, 1, use_bias=False)(x)))
    x = L.Conv2DTranspose(16, 3, strides=2, activation="gelu")(x)
    return keras.Model(image, L.Dense(classes, name="head")(L.GlobalAveragePooling2D()(x)))


@pytest.fixture(scope="module")
def trained_like():
    """A net whose statistics fit its inputs, and those inputs."""
    images = np.random.default_rng(0).normal(size=(64, 16, 16, 3)).astype("float32")
    return settle_statistics(fill_weights(images_net()), images), images


@pytest.mark.parametrize("quantize", ["dynamic", "int8"])
def test_eight_bits_are_close_and_small(quantize, trained_like, tmp_path):
    model, images = trained_like
    export_onnx(model, tmp_path / "float.onnx")
    path = tmp_path / "model.onnx"
    report = export_onnx(model, path, quantize=quantize, representative=images)
    assert report.format == f"onnx {quantize}"
    expected, given = model(images, training=False).numpy(), run(path, {"image": images})["head"]
    error = np.sqrt(np.mean((given - expected) ** 2) / np.mean(expected**2))
    assert 1e-4 < error < 0.08
    assert report.measure == "rmse"
    kernels = [onnx.numpy_helper.to_array(each) for each in onnx.load(str(path)).graph.initializer]
    big = [kernel for kernel in kernels if kernel.size >= 512]
    assert len(big) >= 4
    assert all(kernel.dtype in (np.int8, np.uint8) for kernel in big)
    assert report.bytes < 0.65 * (tmp_path / "float.onnx").stat().st_size


def test_integers_that_are_multiplied_have_seven_bits(trained_like, tmp_path):
    """On a CPU without VNNI, the sum of two products of eight bits overflows sixteen, and onnxruntime says nothing."""
    model, images = trained_like
    export_onnx(model, tmp_path / "model.onnx", quantize="int8", representative=images)
    tensors = [onnx.numpy_helper.to_array(each) for each in onnx.load(str(tmp_path / "model.onnx")).graph.initializer]
    kernels = [each.astype(int) for each in tensors if each.dtype == np.int8 and each.ndim > 1]
    assert len(kernels) >= 4
    assert max(np.abs(kernel).max() for kernel in kernels) == 64


@pytest.mark.parametrize("recurrent", [True, False])
def test_dynamic_stores_embeddings_in_bytes(recurrent, tmp_path):
    tokens = keras.Input((12,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(1000, 16, mask_zero=recurrent, name="table")(tokens)
    x = keras.layers.LSTM(16)(x) if recurrent else keras.layers.GlobalAveragePooling1D()(x)
    model = fill_weights(keras.Model(tokens, keras.layers.Dense(3, name="head")(x)))
    ids = np.random.default_rng(0).integers(1, 1000, (16, 12)).astype("int32")
    report = export_onnx(model, tmp_path / "model.onnx", quantize="dynamic", samples=ids)
    assert report.worst_relative < 0.05
    tensors = [onnx.numpy_helper.to_array(each) for each in onnx.load(str(tmp_path / "model.onnx")).graph.initializer]
    assert [each.dtype for each in tensors if each.shape == (1000, 16)] == [np.int8]


def test_int8_computes_in_integers_and_by_channel(trained_like, tmp_path):
    model, images = trained_like
    report = export_onnx(model, tmp_path / "model.onnx", quantize="int8", representative=images)
    assert report.notes == ()
    assert report.operations["Conv"] == 5
    assert "BatchNormalization" not in report.operations
    graph = onnx.load(str(tmp_path / "model.onnx")).graph
    makers = {output: node for node in graph.node for output in node.output}
    tensors = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Conv":
            restore = makers[node.input[1]]
            assert restore.op_type == "DequantizeLinear"
            assert tensors[restore.input[1]].shape == (tensors[restore.input[0]].shape[0],)
            assert makers[node.input[0]].op_type == "DequantizeLinear"


@pytest.mark.parametrize(("name", "product"), [("lstm_unmasked", "LSTM"), ("gru", "Gemm")])
def test_int8_says_what_stays_float(name, product, make, real, tmp_path):
    model = make(name)
    report = export_onnx(model, tmp_path / "model.onnx", quantize="int8", representative=real(model))
    assert report.worst_relative < 0.05
    assert report.notes == (f"in float: {product}",)


def test_int8_of_several_inputs_is_calibrated_by_name(make, real, tmp_path):
    model = make("several")
    tokens, values = real(model)
    given = {"after": values * 50, "tokens": tokens}
    report = export_onnx(model, tmp_path / "model.onnx", quantize="int8", representative=given)
    assert report.worst_relative < 0.05


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"quantize": "int8"}, "needs representative data"),
        ({"quantize": "int4"}, "quantize must be one of"),
        ({"dynamic_axes": "some"}, "dynamic_axes must be one of"),
        ({"dynamic_axes": "batch"}, "needs samples, which show the size of free dimensions"),
        (
            {"quantize": "int8", "representative": np.zeros((2, 9, 7, 1), "float32")},
            r"must have the shape \(None, None",
        ),
        ({"quantize": "int8", "representative": np.zeros((2, 9, 7, 3), "complex64")}, "must be float32"),
        ({"quantize": "int8", "representative": np.full((2, 9, 7, 3), np.nan, "float32")}, "must be finite"),
        ({"quantize": "int8", "representative": np.zeros((0, 9, 7, 3), "float32")}, "one or more"),
    ],
)
def test_arguments_are_checked(given, message, tmp_path):
    with pytest.raises(ArgumentError, match=message):
        export_onnx(free_model(), tmp_path / "model.onnx", **given)
    assert not list(tmp_path.iterdir())


def test_a_stateful_layer_is_refused_by_name(tmp_path):
    x = keras.Input((4, 3), batch_size=1)
    model = fill_weights(keras.Model(x, L.LSTM(2, stateful=True, name="memory")(x)))
    with pytest.raises(ExportError, match=r"keeps no state between calls; 'memory' does.*initial_state="):
        export_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


class Function(L.Layer):
    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def call(self, x):
        return self.function(x)

    def compute_output_shape(self, shape):
        return shape


def with_function(function, name):
    x = keras.Input((4,))
    return keras.Model(x, Function(function, name=name)(x))


def bits(x):
    return tf.cast(tf.bitwise.bitwise_and(tf.cast(x, tf.int32), 3), tf.float32)


def test_an_operation_of_a_later_set_is_named_with_its_layer(tmp_path):
    model = with_function(bits, "mask_bits")
    with pytest.raises(ExportError, match=r"BitwiseAnd of layer 'mask_bits' is not one of them at opset 17"):
        export_onnx(model, tmp_path / "model.onnx", opset=17)
    export_onnx(model, tmp_path / "model.onnx", opset=18)


def test_complex_numbers_without_a_form_are_named_with_their_layer(tmp_path):
    model = with_function(lambda x: tf.math.real(tf.exp(tf.complex(x, x))), "spiral")
    with pytest.raises(ExportError, match="no complex numbers; Exp of layer 'spiral'"):
        export_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
