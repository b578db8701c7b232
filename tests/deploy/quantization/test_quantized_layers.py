"""Layer by layer: a quantised net computes in float what its file computes in integers, in the operations promised."""

import keras
import numpy as np
import pytest
from filling import fill_weights
from precision import heavy, in_float

from kerasdl.deploy import QuantizationScheme, quantize_aware, run_exported

L = keras.layers
IMAGE, ROWS, TOKENS = (12, 12, 4), (10, 16), (8,)


def functional(shape, body, dtype="float32"):
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, body(inputs))


def norm(x):
    return L.BatchNormalization()(x)


def conv_norm_relu(x):
    return L.ReLU(6.0)(norm(L.Conv2D(8, 3, padding="same", use_bias=False)(x)))


def residual(x):
    y = norm(L.Conv2D(4, 3, padding="same")(conv_norm_relu(x)))
    return L.ReLU()(L.Add()([L.Conv2D(4, 1)(x), y]))


def gated(x):
    gate = L.Dense(4, activation="sigmoid")(L.Dense(2, activation="relu")(L.GlobalAveragePooling2D()(x)))
    return L.Multiply()([x, L.Reshape((1, 1, 4))(gate)])


def attention(x):
    y = L.LayerNormalization()(x)
    x = L.Add()([x, L.MultiHeadAttention(2, 8)(y, y)])
    y = L.Dense(32, activation="gelu")(L.LayerNormalization()(x))
    return L.Dense(5)(L.GlobalAveragePooling1D()(L.Add()([x, L.Dense(16)(y)])))


def encoder(tokens):
    """BERT in small: ids that are 0 are masked."""
    x = L.LayerNormalization()(L.Embedding(20, 16, mask_zero=True)(tokens))
    x = L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(2, 8)(x, x)]))
    x = L.LayerNormalization()(L.Add()([x, L.Dense(16)(L.Dense(32, activation="gelu")(x))]))
    return L.Dense(5)(L.GlobalAveragePooling1D()(x))


def efficient(x):
    """A block of EfficientNet."""
    x = L.Rescaling(0.5, 0.1)(x)
    x = L.Activation("silu")(norm(L.Conv2D(8, 3, use_bias=False)(x)))
    x = L.Activation("silu")(norm(L.DepthwiseConv2D(3, padding="same", use_bias=False)(x)))
    gate = L.Conv2D(8, 1, activation="sigmoid")(
        L.Conv2D(2, 1, activation="silu")(L.GlobalAveragePooling2D(keepdims=True)(x))
    )
    return norm(L.Conv2D(6, 1, use_bias=False)(L.Multiply()([x, gate])))


# name: input, net, the operations of the file that give float values
NETS = {
    "dense": (ROWS, lambda x: L.Dense(5, activation="relu")(x), set()),
    "dense and norm": ((16,), lambda x: L.Dense(5)(L.ReLU()(norm(L.Dense(8)(x)))), set()),
    "convolution, norm, relu": (IMAGE, conv_norm_relu, set()),
    "fused activation": (IMAGE, lambda x: norm(L.Conv2D(8, 3, activation="relu")(x)), set()),
    "norm first": (IMAGE, lambda x: L.Conv2D(8, 3)(L.ReLU()(norm(L.Add()([x, L.Conv2D(4, 1)(x)])))), set()),
    "depthwise": (IMAGE, lambda x: L.ReLU(6.0)(norm(L.DepthwiseConv2D(3, depth_multiplier=2)(x))), set()),
    "separable": (IMAGE, lambda x: L.ReLU()(norm(L.SeparableConv2D(8, 3)(x))), set()),
    "transposed": (IMAGE, lambda x: L.ReLU()(norm(L.Conv2DTranspose(6, 3, strides=2, padding="same")(x))), set()),
    "along time": (ROWS, lambda x: L.Dense(3)(L.MaxPooling1D(2)(L.Conv1D(8, 3, activation="relu")(x))), set()),
    "residual": (IMAGE, residual, set()),
    "gated": (IMAGE, gated, set()),
    "pooling": (IMAGE, lambda x: L.Conv2D(4, 1)(L.AveragePooling2D(2)(L.MaxPooling2D(2)(L.Conv2D(4, 1)(x)))), set()),
    "padded": (IMAGE, lambda x: L.Conv2D(4, 3, strides=2)(L.ZeroPadding2D()(x)), set()),
    "joined": (IMAGE, lambda x: L.Conv2D(4, 1)(L.Concatenate()([x, L.Conv2D(3, 1)(x), conv_norm_relu(x)])), set()),
    "resized": (IMAGE, lambda x: L.Conv2D(4, 1)(L.UpSampling2D(interpolation="bilinear")(L.Conv2D(4, 1)(x))), set()),
    "hard swish": (IMAGE, lambda x: L.Activation("hard_silu")(L.Conv2D(4, 1)(x)), set()),
    "leaky activation": (IMAGE, lambda x: L.Conv2D(4, 1, activation="leaky_relu")(x), set()),
    "leaky": (IMAGE, lambda x: L.LeakyReLU(0.1)(L.Conv2D(4, 1)(x)), set()),
    "prelu": (IMAGE, lambda x: L.PReLU(shared_axes=[1, 2])(L.Conv2D(4, 1)(x)), set()),
    "tanh": ((16,), lambda x: L.Dense(4)(L.Dense(8, activation="tanh")(x)), set()),
    "softmax": ((16,), lambda x: L.Softmax()(L.Dense(8)(x)), set()),
    "elu": ((16,), lambda x: L.Dense(4)(L.Dense(8, activation="elu")(x)), {"ELU"}),
    "rescaled": (IMAGE, lambda x: L.Conv2D(4, 1)(L.Rescaling(0.5, 0.25)(x)), set()),
    "efficient": (IMAGE, efficient, set()),
}


def quantised(model, scheme=None, seed=0, dead=None):
    rng = np.random.default_rng(seed)
    shape = (64, *model.input_shape[1:])
    ids = "int" in str(model.inputs[0].dtype)
    inputs = rng.integers(0, 20, shape).astype("int32") if ids else rng.normal(size=shape).astype("float32")
    fill_weights(model)
    if dead:
        model.get_layer(dead).bias.assign(np.full(4, -100.0))
    return quantize_aware(model, (inputs, np.zeros(64)), epochs=0, scheme=scheme or QuantizationScheme()), inputs


def relative(given, expected):
    return float(np.sqrt(np.mean((given - expected) ** 2) / np.mean(expected**2)))


@pytest.mark.parametrize("name", NETS)
def test_file_computes_in_integers_what_the_model_rounds_to(name, tmp_path):
    shape, body, floats = NETS[name]
    model = functional(shape, body)
    losses = []
    for seed in (1, 0):  # single draws of the examples that set the ranges lie from 0.02 to 0.055
        quantized, inputs = quantised(model, seed=seed)
        losses.append(relative(quantized.predict(inputs), model.predict(inputs, verbose=0)))
    assert 1e-5 < np.mean(losses) < 0.05, "8 bits cost something, and not much"
    report = quantized.export_tflite(tmp_path / "net.tflite", samples=inputs)
    real = next(drift for drift in report.drifts if drift.inputs == "real")
    assert real.rmse < 0.03
    assert in_float(tmp_path / "net.tflite") == floats


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "body", "dtype"), [(ROWS, attention, "float32"), (TOKENS, encoder, "int32")])
def test_transformers_multiply_in_integers(shape, body, dtype, tmp_path):
    model = functional(shape, body, dtype)
    quantized, inputs = quantised(model)
    assert relative(quantized.predict(inputs), model.predict(inputs, verbose=0)) < 0.1
    report = quantized.export_tflite(tmp_path / "net.tflite", samples=inputs)
    assert next(drift for drift in report.drifts if drift.inputs == "real").rmse < 0.05
    integers, floats = heavy(tmp_path / "net.tflite")
    assert {"FULLY_CONNECTED", "BATCH_MATMUL"} <= set(integers)
    assert not floats
    assert {row.kind for row in quantized.report if row.precision == "float"} >= {"LayerNormalization"}


@pytest.mark.parametrize("body", [conv_norm_relu, lambda x: L.ReLU()(norm(L.DepthwiseConv2D(3)(x)))])
def test_one_range_a_kernel(body, tmp_path):
    quantized, inputs = quantised(functional(IMAGE, body), QuantizationScheme(per_channel=False))
    per_channel, _ = quantised(functional(IMAGE, body))
    assert [len(layer.range["min_var"].shape) for layer in kernels(quantized)] == [0]
    assert [len(layer.range["min_var"].shape) for layer in kernels(per_channel)] == [1]
    quantized.export_tflite(tmp_path / "net.tflite", samples=inputs)
    assert in_float(tmp_path / "net.tflite") == set()


def test_ranges_that_are_the_same_on_both_sides(tmp_path):
    quantized, inputs = quantised(functional(IMAGE, residual), QuantizationScheme(symmetric=True))
    ranges = [layer.range for layer in quantized.model.tf_keras_model.layers if layer.name.endswith("_rounded")]
    assert all(float(each["min_var"]) == -float(each["max_var"]) != 0 for each in ranges)
    assert quantized.export_tflite(tmp_path / "net.tflite", samples=inputs).drifts[-1].rmse < 0.02


@pytest.mark.parametrize("name", ["first", "middle", "last"])
def test_layers_that_are_to_stay_in_float(name, tmp_path):
    layers = [L.Conv2D(16, 3, name="first"), L.Conv2D(16, 3, name="middle"), L.Conv2D(4, 1, name="last")]
    model = functional(IMAGE, lambda x: layers[2](layers[1](layers[0](x))))
    quantized, inputs = quantised(model, QuantizationScheme(in_float=(name,)))
    quantized.export_tflite(tmp_path / "net.tflite", samples=inputs)
    integers, floats = heavy(tmp_path / "net.tflite")
    assert (integers["CONV_2D"], floats["CONV_2D"]) == (2, 1)
    rows = {row.layer: (row.precision, row.reason) for row in quantized.report}
    assert rows.pop(name) == ("float", "as the scheme says")
    assert {precision for precision, _ in rows.values()} == {"int8"}


def test_attention_by_its_own_name_stays_in_float():
    quantized, _ = quantised(functional(ROWS, lambda x: L.MultiHeadAttention(2, 8, name="looks")(x, x)))
    kept, _ = quantised(quantized.source, QuantizationScheme(in_float=("looks",)))
    assert {row.precision for row in quantized.report if row.kind in ("Dense", "Product")} == {"int8"}
    assert {row.precision for row in kept.report if row.kind in ("Dense", "Product")} == {"float"}


@pytest.mark.parametrize("shared", [lambda: L.BatchNormalization(), lambda: L.Rescaling(0.5, 0.1)])
def test_shared_layers_work_at_every_call(shared, tmp_path):
    layer, conv = shared(), L.Conv2D(4, 3, padding="same")
    model = functional(IMAGE, lambda x: L.Add()([layer(x), conv(layer(conv(x)))]))
    quantized, inputs = quantised(model)
    assert relative(quantized.predict(inputs), model.predict(inputs, verbose=0)) < 0.05
    report = quantized.export_tflite(tmp_path / "net.tflite", samples=inputs)
    assert next(drift for drift in report.drifts if drift.inputs == "real").rmse < 0.03


@pytest.mark.parametrize("cell", [L.LSTM, L.GRU])
def test_recurrent_layers_forget_between_calls(cell, tmp_path):
    model = functional(ROWS, lambda x: L.Dense(3, name="head")(L.Bidirectional(cell(32))(x)))
    quantized, inputs = quantised(model)
    quantized.export_tflite(tmp_path / "net.tflite", samples=inputs)
    again = np.repeat(inputs[:1], 3, axis=0)
    given = run_exported(tmp_path / "net.tflite", again)["head"]
    np.testing.assert_array_equal(given[0], given[2])
    assert relative(given[:1], model.predict(again[:1], verbose=0)) < 0.1


def test_a_rectifier_that_is_dead_still_makes_a_file(tmp_path):
    model = functional(IMAGE, lambda x: L.Conv2D(4, 1)(L.Add()([x, L.ReLU()(L.Conv2D(4, 1, name="dead")(x))])))
    quantized, inputs = quantised(model, dead="dead")
    report = quantized.export_tflite(tmp_path / "net.tflite", samples=inputs)
    assert next(drift for drift in report.drifts if drift.inputs == "real").rmse < 0.03


def kernels(quantized):
    return [layer for layer in quantized.model.tf_keras_model.layers if layer.name.startswith("int8_")]
