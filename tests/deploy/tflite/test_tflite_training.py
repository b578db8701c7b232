"""Files that learn: every step equals Keras's own, and weights go out and in."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from filling import fill_weights

from kerasdl.core.errors import ArgumentError, ExportError
from kerasdl.deploy import benchmark, export_tflite, run_exported
from kerasdl.deploy.runtimes import read_metadata
from kerasdl.deploy.tflite.gradient_ops import convertible_gradients
from kerasdl.deploy.tflite.on_device_training import export_trainable_tflite

L = keras.layers
RATE, BATCH, STEPS = 0.05, 4, 4


def dense(activation="relu"):
    x = keras.Input((8,), name="x")
    return keras.Model(x, L.Dense(3, name="head")(L.Dropout(0.5)(L.Dense(16, activation=activation)(x))))


def convolutional(*layers, shape=(9, 8, 3)):
    x = y = keras.Input(shape, name="x")
    for layer in layers:
        y = layer(y)
    return keras.Model(x, L.Dense(3, name="head")(L.Flatten()(y)))


def plain_net():
    return convolutional(
        L.Conv2D(6, 3, strides=2, padding="same", use_bias=False),
        L.BatchNormalization(),
        L.ReLU(6.0),
        L.DepthwiseConv2D(3, padding="same", activation="leaky_relu"),
        L.MaxPooling2D(2),
        L.Conv2D(5, 1, activation="relu"),
        L.GlobalAveragePooling2D(),
    )


MODELS = {
    "dense": dense,
    "plain_net": plain_net,
    **{name: lambda name=name: dense(name) for name in ("elu", "hard_silu", "gelu", "silu")},
    "sequential": lambda: keras.Sequential([keras.Input((8,), name="x"), L.Dense(6, "tanh"), L.Dense(3, name="head")]),
    "valid_strides": lambda: convolutional(L.Conv2D(4, (3, 2), strides=(2, 3)), L.ReLU()),
    "dilated": lambda: convolutional(L.Conv2D(4, 3, dilation_rate=2, padding="same", activation="relu")),
    "pools": lambda: convolutional(
        L.Conv2D(4, 3), L.MaxPooling2D(3, 2, padding="same"), L.AveragePooling2D(2, 1, padding="same")
    ),
    "separable": lambda: convolutional(L.SeparableConv2D(4, 3, strides=2, depth_multiplier=2, padding="same")),
    "one_dimension": lambda: convolutional(L.Conv1D(4, 3, activation="relu"), L.GlobalMaxPooling1D(), shape=(9, 3)),
    "norm": lambda: convolutional(L.LayerNormalization(), L.Dense(5, activation="relu"), shape=(4, 6)),
}
QUICK = ("dense", "plain_net", "sequential")


def batch(model, seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(BATCH, *model.inputs[0].shape[1:])).astype("float32")
    return inputs, rng.integers(0, 3, BATCH).astype("int32")


def descend(model, inputs, targets, steps):
    """Trains a model by Keras's SGD on its outputs in inference; returns losses."""
    optimizer = keras.optimizers.SGD(RATE)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    losses = []
    for _ in range(steps):
        with tf.GradientTape() as tape:
            value = loss(targets, model(inputs, training=False))
        gradients = tape.gradient(value, [variable.value for variable in model.trainable_variables])
        optimizer.apply(gradients, model.trainable_variables)
        losses.append(float(value))
    return losses


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in MODELS])
def test_a_file_learns_as_keras_does(name, tmp_path):
    model, path = fill_weights(MODELS[name]()), tmp_path / "m.tflite"
    before = model.get_weights()
    report = export_trainable_tflite(model, path, learning_rate=RATE, batch_size=BATCH)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    inputs, targets = batch(model)
    served = model(inputs, training=False).numpy()
    interpreter = Interpreter(str(path))
    serve, train, save, restore = map(interpreter.get_signature_runner, ("serve", "train", "save", "restore"))
    np.testing.assert_allclose(np.concatenate([serve(x=row[None])["head"] for row in inputs]), served, atol=1e-5)
    kept = {weight: np.array(value) for weight, value in save().items()}
    losses = [float(train(x=inputs, target=targets)["loss"]) for _ in range(STEPS)]
    learnt = {weight: np.array(value) for weight, value in save().items()}
    expected = descend(model, inputs, targets, STEPS)
    np.testing.assert_allclose(losses, expected, atol=1e-4)
    assert expected[-1] < expected[0] - 0.01
    for variable in model.trainable_variables:
        weight = variable.path.replace("/", "_")
        np.testing.assert_allclose(learnt[weight], variable.numpy(), atol=1e-4)
        assert np.abs(learnt[weight] - kept[weight]).max() > 1e-6
    trained = np.concatenate([serve(x=row[None])["head"] for row in inputs])
    np.testing.assert_allclose(trained, model(inputs, training=False), atol=1e-4)
    restore(**kept)
    np.testing.assert_allclose(np.concatenate([serve(x=row[None])["head"] for row in inputs]), served, atol=1e-5)
    assert "train" in report.notes[0]


def test_weights_move_to_another_interpreter(tmp_path):
    model, path = fill_weights(dense()), tmp_path / "m.tflite"
    export_trainable_tflite(model, path, batch_size=BATCH, learning_rate=RATE)
    inputs, targets = batch(model)
    one, other = Interpreter(str(path)), Interpreter(str(path))
    one.get_signature_runner("train")(x=inputs, target=targets)
    weights = {name: np.array(value) for name, value in one.get_signature_runner("save")().items()}
    other.get_signature_runner("restore")(**weights)
    rows = [each.get_signature_runner("serve")(x=inputs[:1])["head"] for each in (one, other)]
    np.testing.assert_array_equal(*rows)
    assert np.abs(rows[0] - model(inputs[:1])).max() > 1e-4


def test_a_regression_by_another_loss_and_frozen_layers(tmp_path):
    model, path = fill_weights(plain_net()), tmp_path / "m.tflite"
    for layer in model.layers[:-1]:
        layer.trainable = False
    export_trainable_tflite(model, path, loss="mean_squared_error", learning_rate=RATE, batch_size=BATCH)
    inputs, _ = batch(model)
    targets = np.random.default_rng(2).normal(size=(BATCH, 3)).astype("float32")
    interpreter = Interpreter(str(path))
    given = float(interpreter.get_signature_runner("train")(x=inputs, target=targets)["loss"])
    assert given == pytest.approx(float(np.mean((model(inputs, training=False) - targets) ** 2)), abs=1e-5)
    assert sorted(interpreter.get_signature_runner("save")()) == ["head_bias", "head_kernel"]


def test_frozen_recurrent_layers_serve_a_head_that_learns(tmp_path):
    x = keras.Input((5, 4), name="x")
    rnn = L.LSTM(6, name="rnn")
    model = fill_weights(keras.Model(x, L.Dense(3, name="head")(rnn(x))))
    with pytest.raises(ExportError, match=r"While.*rnn.*Freeze that layer"):
        export_trainable_tflite(model, tmp_path / "m.tflite", batch_size=BATCH)
    assert not list(tmp_path.iterdir())
    rnn.trainable = False
    export_trainable_tflite(model, tmp_path / "m.tflite", batch_size=BATCH)
    runner = Interpreter(str(tmp_path / "m.tflite")).get_signature_runner("train")
    inputs, targets = batch(model)
    losses = [float(runner(x=inputs, target=targets)["loss"]) for _ in range(3)]
    assert losses[2] < losses[1] < losses[0]


def test_the_file_serves_every_tool_and_carries_metadata(tmp_path):
    model, path = fill_weights(dense()), tmp_path / "m.tflite"
    export_trainable_tflite(model, path, metadata={"labels": ["a", "b", "c"]})
    inputs, _ = batch(model)
    np.testing.assert_allclose(run_exported(path, inputs)["head"], model(inputs), atol=1e-5)
    assert benchmark(path, runs=1).median_ms > 0
    assert read_metadata(path)["labels"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (lambda: L.Conv2DTranspose(4, 3, name="up"), "Conv2DBackpropFilter"),
        (lambda: L.Conv2D(3, 3, groups=3, name="grouped"), "Conv2DBackpropFilter"),
        (lambda: L.Conv3D(2, 2, name="deep"), "Conv3DBackprop"),
    ],
)
def test_what_cannot_be_trained_is_named(layer, named, tmp_path):
    with pytest.raises(ExportError, match=named):
        shape = (4, 4, 4, 2) if "3D" in named else (9, 8, 3)
        export_trainable_tflite(convolutional(layer(), shape=shape), tmp_path / "m.tflite")
    assert not list(tmp_path.iterdir())


def test_arguments_are_checked(tmp_path):
    path, model = tmp_path / "m.tflite", dense()
    x = keras.Input((None, 4))
    free = keras.Model(x, L.Dense(2)(L.GlobalAveragePooling1D()(x)))
    frozen = dense()
    frozen.trainable = False
    two = keras.Model(model.inputs, [model.outputs[0], L.Dense(2)(model.outputs[0])])
    for given, message, options in (
        (free, "inputs of a fixed size", {}),
        (frozen, "must have a trainable weight", {}),
        (two, "have one output", {}),
        (model, "learning_rate must be", {"learning_rate": 0}),
        (model, "batch_size must be", {"batch_size": 0}),
        (model, r"must end in '\.tflite'", {}),
    ):
        with pytest.raises(ArgumentError, match=message):
            export_trainable_tflite(given, tmp_path / "m.onnx" if "end in" in message else path, **options)
    assert not list(tmp_path.iterdir())


FORMULAS = {
    "ties_of_a_pool": lambda x: tf.nn.max_pool2d(tf.nn.relu6(x * 3), 3, 2, "SAME"),
    "edges": lambda x: tf.nn.elu(x) + tf.nn.leaky_relu(x, 0.3) + tf.nn.relu(x),
    "slices": lambda x: x[:, 1:4, :-2],
    "single_rows": lambda x: x[1:, -3:-1, 2] * x[:1, 0:2, -1],
    "average": lambda x: tf.nn.avg_pool2d(x, (2, 3), (1, 2), "SAME"),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_gradients_are_those_of_tensorflow(name):
    x = tf.constant(np.random.default_rng(0).integers(-1, 2, (2, 5, 6, 3)).astype("float32"))

    def net(value):
        return tf.reduce_sum((FORMULAS[name](value) + 1.0) ** 2)

    @tf.function
    def ours(value):
        with convertible_gradients(tf.compat.v1.get_default_graph()):
            result = net(value)
        return tf.gradients(result, value)[0]

    with tf.GradientTape() as tape:
        tape.watch(x)
        result = net(x)
    np.testing.assert_allclose(ours(x), tape.gradient(result, x), rtol=1e-6)


def test_plain_files_have_one_signature(tmp_path):
    export_tflite(dense(), tmp_path / "m.tflite")
    assert list(Interpreter(str(tmp_path / "m.tflite")).get_signature_list()) == ["serve"]
