"""Pruning and clustering: the promised zeros and values, in a Keras 3 model that still knows its job."""

import keras
import numpy as np
import pytest
from filling import fill_weights

from kerasdl.core import ArgumentError
from kerasdl.core.errors import UnknownNameError
from kerasdl.deploy import QuantizationScheme, cluster, prune, quantize_aware
from kerasdl.train import RunConfig

L = keras.layers
CONFIG = RunConfig(epochs=5, batch_size=16, learning_rate=3e-3, progress="off")
TRAINING = {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "config": CONFIG}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 96)
    return (rng.normal(size=(96, 8, 8, 4)) + labels[:, None, None, None] - 1.5).astype("float32"), labels


@pytest.fixture(scope="module")
def net():
    image = keras.Input((8, 8, 4))
    x = L.DepthwiseConv2D(3, name="depthwise")(image)
    x = L.Conv2D(16, 3, activation="relu", name="conv")(x)
    x = L.SeparableConv2D(8, 3, padding="same", name="separable")(x)
    x = L.Reshape((16, 8))(x)
    x = L.Add()([x, L.MultiHeadAttention(2, 4, name="attention")(x, x)])
    x = L.Dense(16, activation="relu", name="hidden")(L.Flatten()(x))
    return fill_weights(keras.Model(image, L.Dense(4, name="head")(x)))


def zeros(model, name):
    kernels = [weight for weight in model.get_layer(name).weights if "kernel" in weight.path.rsplit("/", 1)[-1]]
    return [float(np.mean(kernel.numpy() == 0)) for kernel in kernels]


def accuracy(model, data):
    return float(np.mean(model.predict(data[0], verbose=0).argmax(-1) == data[1]))


@pytest.mark.parametrize("schedule", ["polynomial", "constant"])
def test_share_of_zeros_is_reached(schedule, net, data):
    before = [weight.numpy() for weight in net.weights]
    pruned = prune(net, data, 0.75, schedule=schedule, **TRAINING)
    for name in ("conv", "hidden"):
        assert zeros(pruned, name) == [pytest.approx(0.75, abs=0.01)]
    assert zeros(pruned, "attention") == [pytest.approx(0.75, abs=0.02)] * 4
    assert zeros(pruned, "depthwise") == [0.0]
    assert accuracy(pruned, data) > 0.5
    for weight, value in zip(net.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_class_weights_reach_the_loss(net, data):
    settings = {"epochs": 1, "batch_size": 16, "learning_rate": 0.1, "optimizer": "sgd", "progress": "off"}
    config = RunConfig(**settings, class_weights=dict.fromkeys(range(4), 0.0))
    pruned = prune(net, data, 0.5, **{**TRAINING, "config": config})
    for name in ("conv", "hidden"):
        ours, theirs = pruned.get_layer(name).kernel.numpy(), net.get_layer(name).kernel.numpy()
        np.testing.assert_array_equal(ours[ours != 0], theirs[ours != 0])  # a loss of 0 moves nothing


def test_the_largest_weights_stay(net, data):
    still = RunConfig(epochs=1, batch_size=16, learning_rate=1e-9, schedule="constant", progress="off")
    pruned = prune(net, data, 0.5, schedule="constant", loss=TRAINING["loss"], config=still)
    kernel, given = net.get_layer("hidden").kernel.numpy(), pruned.get_layer("hidden").kernel.numpy()
    cut = np.median(np.abs(kernel))
    np.testing.assert_array_equal(given == 0, np.abs(kernel) < cut)
    np.testing.assert_allclose(given[given != 0], kernel[given != 0], atol=1e-5)


def test_two_of_four(net, data):
    pruned = prune(net, data, 0.5, pattern="2:4", **TRAINING)
    for name in ("conv", "hidden"):
        kernel = pruned.get_layer(name).kernel.numpy()
        groups = kernel.reshape(-1, kernel.shape[-2] // 4, 4, kernel.shape[-1])
        np.testing.assert_array_equal((groups == 0).sum(axis=2), 2)


def test_whole_blocks(net, data):
    pruned = prune(net, data, 0.5, pattern="block", block_size=(8, 4), **TRAINING)
    kernel = pruned.get_layer("hidden").kernel.numpy()
    blocks = (kernel.reshape(kernel.shape[0] // 8, 8, 4, 4) == 0).mean(axis=(1, 3))
    assert set(np.unique(blocks)) == {0.0, 1.0}
    assert blocks.mean() == 0.5
    assert zeros(pruned, "conv") == [0.0]


def test_named_layers_alone(net, data):
    pruned = prune(net, data, 0.5, layers=["hidden"], **TRAINING)
    assert zeros(pruned, "hidden") == [pytest.approx(0.5, abs=0.01)]
    assert zeros(pruned, "conv") == [0.0]


def test_a_layer_whose_name_begins_like_another_is_left(data):
    image = keras.Input((8, 8, 4))
    x = L.Dense(8, activation="relu", name="dense")(L.Flatten()(image))
    model = fill_weights(keras.Model(image, L.Dense(4, name="dense_1")(x)))
    pruned = prune(model, data, 0.5, layers=["dense"], **TRAINING)
    assert zeros(pruned, "dense") == [pytest.approx(0.5, abs=0.01)]
    assert zeros(pruned, "dense_1") == [0.0]


def test_sequential_models_with_penalties_and_constraints(data):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            L.Flatten(),
            L.Dense(8, activation="relu", kernel_constraint=keras.constraints.NonNeg(), name="hidden"),
            L.Dense(4, kernel_regularizer=keras.regularizers.L2(10.0), name="head"),
        ]
    )
    pruned = prune(model, data, 0.5, **TRAINING)
    assert pruned.get_layer("hidden").kernel.numpy().min() >= 0
    before, after = (np.abs(each.get_layer("head").kernel).sum() for each in (model, pruned))
    assert after < 0.8 * before
    assert len(np.unique(cluster(model, data, 8, **TRAINING).get_layer("head").kernel)) <= 8


def test_a_folder_of_other_settings_is_refused(net, data, tmp_path):
    config = RunConfig(epochs=1, batch_size=16, progress="off", folder=tmp_path / "run")
    prune(net, data, 0.8, loss=TRAINING["loss"], config=config)
    with pytest.raises(ArgumentError, match=r"another run|other"):
        prune(net, data, 0.3, loss=TRAINING["loss"], config=config)


def test_frozen_layers_stay_as_they_are(net, data):
    frozen = keras.models.clone_model(net)
    frozen.set_weights(net.get_weights())
    for name in ("conv", "hidden"):
        frozen.get_layer(name).trainable = False
    for compressed in (prune(frozen, data, 0.5, **TRAINING), cluster(frozen, data, 8, **TRAINING)):
        for name in ("conv", "hidden"):
            np.testing.assert_array_equal(compressed.get_layer(name).kernel, net.get_layer(name).kernel)
        assert np.abs(compressed.get_layer("head").kernel - net.get_layer("head").kernel).max() > 1e-4


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"sparsity": 1.0}, "above 0 and below 1"),
        ({"pattern": "3:4"}, "pattern"),
        ({"pattern": "2:4", "sparsity": 0.7}, "0.5"),
        ({"schedule": "linear"}, "schedule"),
        ({"layers": ["absent"]}, "unknown layers 'absent'"),
        ({"layers": "hidden"}, "a list of names"),
        ({"layers": ["depthwise"]}, "a layer to work on"),
        ({"config": RunConfig(mixed_precision="bfloat16")}, "computes in float32"),
    ],
)
def test_refusals(settings, rule, net, data):
    with pytest.raises((ArgumentError, UnknownNameError), match=rule):
        prune(net, data, **{**TRAINING, **settings})


def test_few_values_a_kernel(net, data):
    clustered = cluster(net, data, 8, **TRAINING)
    for name in ("conv", "hidden", "head"):
        assert len(np.unique(clustered.get_layer(name).kernel)) == 8
    assert len(np.unique(clustered.get_layer("depthwise").kernel)) > 8
    assert accuracy(clustered, data) > 0.5


@pytest.mark.slow
def test_pruned_then_clustered_then_quantised(net, data, tmp_path):
    """PCQAT: zeros and clusters survive to the end, and the file computes as the model does."""
    pruned = prune(net, data, 0.5, **TRAINING)
    clustered = cluster(pruned, data, 8, preserve_sparsity=True, **TRAINING)
    assert zeros(clustered, "hidden")[0] >= 0.49
    scheme = QuantizationScheme(keep=("zeros", "clusters"))
    quantized = quantize_aware(clustered, data, scheme=scheme, **TRAINING)
    kernel = quantized.to_keras().get_layer("hidden").kernel.numpy()
    assert len(np.unique(kernel)) <= 8
    np.testing.assert_array_equal(kernel == 0, clustered.get_layer("hidden").kernel.numpy() == 0)
    assert quantized.export_tflite(tmp_path / "net.tflite", samples=data[0]).drifts[-1].rmse < 0.05
