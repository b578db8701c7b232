"""Layers by hand against those of Keras: outputs, gradients of inputs and gradients of every weight."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl import foundations
from kerasdl.foundations import activations, convolution_loops

RNG = np.random.default_rng(0)


def keras_gradients(layer, x: np.ndarray, gradient: np.ndarray, **call):
    """Returns outputs, the gradient of x and those of the weights of a Keras layer in float64."""
    x = tf.constant(x, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, **call)
    weights = [each.value for each in layer.trainable_weights]
    inward, *made = tape.gradient(y, [x, *weights], output_gradients=tf.constant(gradient, tf.float64))
    return y.numpy(), inward.numpy(), [each.numpy() for each in made]


def same(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-9)


def compare(ours, theirs, x: np.ndarray, weights: dict[str, np.ndarray], *, training: bool = False) -> None:
    """Gives both layers the same weights, and compares forward and backward."""
    if not theirs.built:
        theirs.build(x.shape)
    ours.weights.update(weights)
    theirs.set_weights([*weights.values(), *(each.numpy() for each in theirs.non_trainable_weights)])
    y = ours.forward(x, training=training)
    gradient = RNG.normal(size=y.shape)
    modes = {"training": training} if isinstance(theirs, keras.layers.BatchNormalization) else {}
    expected, inward, made = keras_gradients(theirs, x, gradient, **modes)
    same(y, expected)
    same(ours.backward(gradient), inward)
    for name, theirs_made in zip(weights, made, strict=True):
        same(ours.gradients[name], theirs_made)


def drawn(shapes: dict[str, tuple]) -> dict[str, np.ndarray]:
    return {name: RNG.normal(size=shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("activation", ["linear", "sigmoid", "tanh", "relu", "softplus", "swish"])
def test_dense(activation):
    ours = foundations.Dense(5, 3, activation=activation)
    theirs = keras.layers.Dense(3, activation={"swish": "silu"}.get(activation, activation), dtype="float64")
    compare(ours, theirs, RNG.normal(size=(4, 5)), drawn({"kernel": (5, 3), "bias": (3,)}))


@pytest.mark.parametrize(
    ("size", "stride", "padding", "dilation", "groups"),
    [
        (3, 1, "valid", 1, 1),
        (3, 2, "same", 1, 1),
        (3, 1, "same", 2, 1),
        (2, 3, "same", 1, 2),
        (3, 2, "valid", 1, 4),
        (1, 2, "same", 1, 1),
    ],
)
@pytest.mark.parametrize("sides", [(7, 6), (5, 8)])
def test_convolution(size, stride, padding, dilation, groups, sides):
    settings = {"padding": padding, "groups": groups}
    ours = foundations.Conv2D(4, 8, size, stride=stride, dilation=dilation, **settings)
    theirs = keras.layers.Conv2D(8, size, stride, dilation_rate=dilation, dtype="float64", **settings)
    x = RNG.normal(size=(2, *sides, 4))
    compare(ours, theirs, x, drawn({"kernel": (size, size, 4 // groups, 8), "bias": (8,)}))
    if sides == (5, 8):
        settings |= {"stride": stride, "dilation": dilation}
        y, kernel = ours.forward(x[:1]), ours.weights["kernel"]
        same(convolution_loops.convolution(x[:1], kernel, ours.weights["bias"], **settings), y)
        gradient = RNG.normal(size=y.shape)
        inward, of_kernel, of_bias = convolution_loops.convolution_gradients(x[:1], kernel, gradient, **settings)
        same(ours.backward(gradient), inward)
        same(ours.gradients["kernel"], of_kernel)
        same(ours.gradients["bias"], of_bias)


def test_depthwise_convolution():
    ours = foundations.DepthwiseConv2D(3, 3, stride=2, padding="same")
    theirs = keras.layers.DepthwiseConv2D(3, 2, "same", use_bias=False, dtype="float64")
    x = RNG.normal(size=(2, 7, 8, 3))
    theirs.build(x.shape)
    kernel = RNG.normal(size=(3, 3, 3, 1))
    theirs.set_weights([kernel])
    ours.weights["kernel"] = kernel.reshape(3, 3, 1, 3)
    y = ours.forward(x)
    gradient = RNG.normal(size=y.shape)
    expected, inward, (made,) = keras_gradients(theirs, x, gradient)
    same(y, expected)
    same(ours.backward(gradient), inward)
    same(ours.gradients["kernel"].reshape(made.shape), made)
    looped = convolution_loops.convolution_gradients(
        x, ours.weights["kernel"], gradient, groups=3, stride=2, padding="same"
    )
    same(looped[0], inward)
    same(looped[1], ours.gradients["kernel"])


@pytest.mark.parametrize(("size", "stride", "padding"), [(2, None, "valid"), (3, 2, "same"), (3, 1, "same")])
@pytest.mark.parametrize("kind", ["MaxPool2D", "AveragePool2D"])
def test_pooling(kind, size, stride, padding):
    ours = getattr(foundations, kind)(size, stride=stride, padding=padding)
    keras_kind = {"MaxPool2D": keras.layers.MaxPooling2D, "AveragePool2D": keras.layers.AveragePooling2D}[kind]
    x = RNG.normal(size=(2, 7, 6, 3))
    compare(ours, keras_kind(size, stride, padding, dtype="float64"), x, {})
    settings = {"kind": kind[:3].lower() if kind == "MaxPool2D" else "average", "padding": padding}
    settings["stride"] = stride or size
    same(convolution_loops.pooling(x, size, **settings), ours.forward(x))
    gradient = RNG.normal(size=ours.forward(x).shape)
    same(convolution_loops.pooling(x, size, gradient=gradient, **settings), ours.backward(gradient))


def test_output_sides_and_receptive_field():
    from kerasdl.foundations.convolutions import output_side, padding_of, receptive_field

    for side in range(5, 30):
        for size, stride, dilation in ((3, 1, 1), (3, 2, 1), (5, 3, 1), (3, 1, 2), (2, 2, 1)):
            padding = sum(padding_of(side, size, stride, dilation))
            assert output_side(side, size, stride, padding=padding, dilation=dilation) == -(-side // stride)
    stack = [(3, 1), (3, 2), (5, 1), (3, 2)]
    net = keras.Sequential([keras.Input((41, 41, 1))])
    for size, stride in stack:
        net.add(keras.layers.Conv2D(1, size, stride, kernel_initializer="ones", use_bias=False))
    image = tf.Variable(tf.random.normal((1, 41, 41, 1)))
    with tf.GradientTape() as tape:
        middle = net(image)[0, 3, 3, 0]
    seen = np.flatnonzero(tape.gradient(middle, image).numpy()[0].any(axis=(1, 2)))
    assert receptive_field(stack) == seen[-1] - seen[0] + 1


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_recurrent_layers(kind):
    ours = getattr(foundations, kind)(3, 4)
    keras_kind = {"RNN": keras.layers.SimpleRNN, "LSTM": keras.layers.LSTM, "GRU": keras.layers.GRU}[kind]
    theirs = keras_kind(4, return_sequences=True, dtype="float64")
    compare(
        ours, theirs, RNG.normal(size=(2, 6, 3)), {name: RNG.normal(size=w.shape) for name, w in ours.weights.items()}
    )


def test_truncated_backpropagation_forgets_what_was_earlier():
    layer, x = foundations.LSTM(3, 4), RNG.normal(size=(2, 8, 3))
    gradient = np.zeros((2, 8, 4))
    layer.forward(x)
    gradient[:, -1] = 1.0
    whole, cut = layer.backward(gradient), layer.backward(gradient, steps=3)
    same(cut[:, -3:], whole[:, -3:])
    assert not cut[:, :-3].any()
    assert whole[:, :-3].any()
    everywhere = RNG.normal(size=(2, 8, 4))
    same(layer.backward(everywhere, steps=8), layer.backward(everywhere))


def test_gradients_vanish_and_explode():
    from kerasdl.foundations.recurrence import draw_gradients, gradient_by_step

    small, large, lstm = (
        gradient_by_step("rnn", scale=0.5),
        gradient_by_step("rnn", scale=1.3),
        gradient_by_step("lstm"),
    )
    assert small[0] < 1e-10 * small[-1]
    assert large[0] > 10 * large[-1]
    assert lstm[0] > 1e6 * small[0] / small[-1] * lstm[-1]
    assert len(draw_gradients(steps=5).axes[0].lines) == 5
    with pytest.raises(ValueError, match=r"kind must be one of rnn, lstm, gru; got 'cnn'\."):
        gradient_by_step("cnn")


@pytest.mark.parametrize("causal", [False, True])
def test_attention(causal):
    ours, x = foundations.MultiHeadAttention(6, 2, size=4), RNG.normal(size=(2, 4, 6))
    theirs = keras.layers.MultiHeadAttention(2, 4, dtype="float64")  # whose 1 / sqrt(4) is exact in float32 too
    theirs.build(x.shape, x.shape)
    for name, weight in ours.weights.items():
        ours.weights[name] = RNG.normal(size=weight.shape)
    names = ["query", "query_bias", "key", "key_bias", "value", "value_bias", "output", "output_bias"]
    shapes = [each.shape for each in theirs.trainable_weights]
    theirs.set_weights([ours.weights[name].reshape(shape) for name, shape in zip(names, shapes, strict=True)])
    y = ours.forward(x, causal=causal)
    gradient, x_tf = RNG.normal(size=y.shape), tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x_tf)
        expected = theirs(x_tf, x_tf, use_causal_mask=causal)
    weights = [each.value for each in theirs.trainable_weights]
    inward, *made = tape.gradient(expected, [x_tf, *weights], output_gradients=tf.constant(gradient))
    same(y, expected)
    same(ours.backward(gradient), inward)
    for name, each in zip(names, made, strict=True):
        same(ours.gradients[name], each.numpy().reshape(ours.weights[name].shape))


def test_encoder_block_by_differences():
    block, x = foundations.EncoderBlock(4, 2, 6, seed=3), RNG.normal(size=(2, 3, 4))
    gradient = RNG.normal(size=x.shape)
    block.forward(x)
    inward = block.backward(gradient)
    measured = foundations.numerical_gradient(lambda point: float((block.forward(point) * gradient).sum()), x)
    np.testing.assert_allclose(inward, measured, atol=1e-7)
    assert len(block.gradients) == 8 + 2 + 2 + 2 + 2


def test_positions_are_those_of_the_paper_and_shifts_are_linear():
    table = foundations.PositionalEncoding(8).forward(np.zeros((1, 20, 8)))[0]
    assert table[3, 2] == pytest.approx(np.sin(3 / 10_000 ** (2 / 8)))
    assert table[3, 5] == pytest.approx(np.cos(3 / 10_000 ** (4 / 8)))
    shift, *_ = np.linalg.lstsq(table[:15], table[5:], rcond=None)
    np.testing.assert_allclose(table[:15] @ shift, table[5:], atol=1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(training):
    ours = foundations.BatchNorm(3, momentum=0.9)
    theirs = keras.layers.BatchNormalization(momentum=0.9, dtype="float64")
    x = 2.0 + 3.0 * RNG.normal(size=(4, 5, 5, 3))
    weights = drawn({"gamma": (3,), "beta": (3,)})
    for _ in range(2):
        compare(ours, theirs, x, weights, training=training)
    mean, variance = (each.numpy() for each in theirs.non_trainable_weights)
    np.testing.assert_allclose(ours.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(ours.variance, variance, rtol=1e-6)


def test_layer_norm():
    ours, theirs = foundations.LayerNorm(6), keras.layers.LayerNormalization(dtype="float64")
    compare(ours, theirs, RNG.normal(size=(4, 5, 6)), drawn({"gamma": (6,), "beta": (6,)}))


def test_dropout_keeps_the_mean_and_does_nothing_in_evaluation():
    layer, x = foundations.Dropout(0.3), np.ones((200, 200))
    y = layer.forward(x, training=True)
    assert set(np.unique(y)) == {0.0, 1.0 / 0.7}
    assert y.mean() == pytest.approx(1.0, abs=0.02)
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.02)
    assert np.array_equal(layer.backward(x), y)
    assert layer.forward(x) is not None
    assert np.array_equal(layer.forward(x), x)
    with pytest.raises(ValueError, match=r"rate must be from 0 and below 1; got 1\.0\."):
        foundations.Dropout(1.0)


def test_dropped_connections_get_no_gradient():
    layer, x = foundations.DropConnect(6, 4, rate=0.5, seed=1), RNG.normal(size=(3, 6))
    whole = layer.weights["kernel"].copy()
    y = layer.forward(x, training=True)
    same(y, x @ (whole * layer.mask))
    layer.backward(np.ones_like(y))
    assert not layer.gradients["kernel"][layer.mask == 0].any()
    assert np.array_equal(layer.weights["kernel"], whole)
    same(layer.forward(x), x @ whole)
    with pytest.raises(ValueError, match="matmul"):
        layer.forward(x[:, 1:], training=True)
    assert np.array_equal(layer.weights["kernel"], whole)
    with pytest.raises(ValueError, match="rate must be from 0 and below 1"):
        foundations.DropConnect(2, 2, rate=-0.1)


def test_every_number_of_a_neuron_is_told():
    layer = foundations.Dense(2, 2, activation="relu")
    layer.weights["kernel"] = np.array([[1.0, -1.0], [0.5, 2.0]])
    assert layer.explain(np.array([2.0, 4.0])).splitlines()[0] == "neuron 0: 2 * 1 + 4 * 0.5 + 0 = 4; relu(4) = 4"
    with pytest.raises(ValueError, match="activation must be one of linear"):
        foundations.Dense(2, 2, activation="rulu")
    assert activations.dead_share(np.maximum(layer.forward(-np.ones((3, 2))), 0)) == 1.0


@pytest.mark.parametrize(
    "broken", ["padding", "groups", "heads", "width", "channels", "norm", "rows", "places", "steps"]
)
def test_arguments_that_do_not_fit_are_refused(broken):
    make = {
        "padding": (lambda: foundations.MaxPool2D(2, padding="full"), "padding must be 'valid' or 'same'; got 'full'"),
        "groups": (lambda: foundations.Conv2D(4, 6, groups=3), r"groups must divide channels \(4\) and filters \(6\)"),
        "heads": (lambda: foundations.MultiHeadAttention(6, 4), "heads must divide the width 6; got 4"),
        "width": (lambda: foundations.PositionalEncoding(5), "width must be even"),
        "channels": (lambda: foundations.Conv2D(4, 8).forward(np.ones((1, 5, 5, 1))), "a last axis of 4"),
        "norm": (lambda: foundations.BatchNorm(3).forward(np.ones((2, 1))), "a last axis of 3"),
        "rows": (lambda: foundations.LayerNorm(3).forward(np.ones((2, 1))), "a last axis of 3"),
        "places": (lambda: foundations.PositionalEncoding(4).forward(np.ones((1, 4))), r"must be \(B, T, D\)"),
        "steps": (lambda: foundations.RNN(1, 1).backward(np.ones((1, 1, 1)), steps=0), "steps must be 1 or more"),
    }[broken]
    with pytest.raises(ValueError, match=make[1]):
        make[0]()
