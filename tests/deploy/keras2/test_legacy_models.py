"""Whole graphs through the bridge: wiring, masks, operators, hooks and weights."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from cases import EVERY_CLASS
from filling import fill_weights, settle_statistics
from legacy import gap, numbers_for

import kerasdl
from kerasdl.core import ArgumentError, ExportError, get_task
from kerasdl.deploy.keras2.bridge import bridge, to_tf_keras
from kerasdl.deploy.keras2.custom_layers import WrappedKeras3Layer
from kerasdl.deploy.keras2.masks import PairedTensor
from kerasdl.deploy.keras2.verification import check_layer_outputs, layer_outputs
from kerasdl.deploy.migration.from_keras2 import from_tf_keras
from kerasdl.deploy.tfmot import tfmot

# isort: split
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit.default_8bit_quantize_registry import (
    Default8BitQuantizeRegistry,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import QuantizeWrapperV2

L = keras.layers


def shared_and_nested():
    """Two nested models with layers of one name, each called on what a shared layer gives."""
    shared = L.Dense(3, name="shared")
    first = keras.Sequential([keras.Input((3,)), L.Dense(3, name="inner"), L.BatchNormalization()], name="first")
    inside = keras.Input((3,))
    second = keras.Model(inside, L.Dense(3, name="inner")(inside) + 1, name="second")
    a, b = keras.Input((3,)), keras.Input((3,))
    return keras.Model([a, b], [first(shared(a)), second(shared(b)), first(first(b))])


def dicts():
    u, v = keras.Input((4,), name="u"), keras.Input((4,), name="v")
    return keras.Model({"v": v, "u": u}, {"z": L.Add()([u, v]), "y": [u, L.Dense(2)(v)]})


def operators():
    x = keras.Input((10, 6))
    ops = keras.ops
    outputs = [x + 1, 2 - x, x * x, x / 3, x[:, 1:3], -x, ops.mean(x, axis=1), ops.concatenate([x, x], -1)]
    outputs += [x @ ops.transpose(x, (0, 2, 1)), ops.softmax(x, axis=1), ops.relu(x), ops.split(x, 2, axis=1)[1]]
    outputs += [ops.where(x > 0, x, 0.0), ops.einsum("bij,bkj->bik", x, x), ops.reshape(x, (-1, 60)), ops.silu(x)]
    outputs += [
        x + np.ones((10, 6), "float32"),
        x + ops.mean(x, axis=(1, 2), keepdims=True),
        x + ops.mean(x, axis=(0, 1)),
        ops.hard_silu(x),
    ]
    return keras.Model(x, outputs)


def masked():
    """Masks from an Embedding that reach recurrent, pooling and attention layers, alone and through nested models."""
    tokens = keras.Input((6,), dtype="int32")
    x = L.Embedding(5, 4, mask_zero=True)(tokens)
    within = keras.Input((6, 4))
    nested = keras.Model(within, L.GRU(3)(L.Dense(4)(within)))
    outputs = [L.Bidirectional(L.SimpleRNN(2, return_sequences=True))(x), nested(x), L.Attention()([x, x])]
    outputs += [L.GlobalAveragePooling1D()(L.Add()([x, L.Dense(4)(x)]))]
    outputs += [L.SimpleRNN(3)(L.Concatenate()([x, L.Conv1D(2, 3, padding="same")(x)]))]
    return keras.Model(tokens, outputs)


def masked_attention():
    tokens, memory = keras.Input((9,), dtype="int32"), keras.Input((None, 8))
    x = L.Embedding(5, 16, mask_zero=True)(tokens)
    x = L.MultiHeadAttention(2, 6, value_dim=5, name="own")(x, x)
    x = L.MultiHeadAttention(2, 6, dropout=0.1, name="cross")(x, memory)
    x = L.MultiHeadAttention(2, 6, output_shape=12, name="causal")(x, x, use_causal_mask=True)
    return keras.Model([tokens, memory], [L.SimpleRNN(5, name="rnn")(x), L.GlobalAveragePooling1D()(x)])


def augmented():
    image = keras.Input((8, 8, 3))
    x = L.RandomFlip()(image, training=True)
    return keras.Model(image, L.Dense(2)(L.Flatten()(L.Dropout(0.5)(x, training=True))))


def half():
    x = keras.Input((6, 4))
    y = L.MultiHeadAttention(2, 3, use_gate=True, dtype="mixed_bfloat16")(x, x)
    return keras.Model(x, L.Dense(3, dtype="mixed_bfloat16")(y))


def free_sizes():
    image = keras.Input((None, None, 3))
    return keras.Model(image, L.GlobalAveragePooling2D()(L.Conv2D(3, 3, activation="silu")(image)))


def identity():
    x = keras.Input((4,))
    return keras.Model(x, [x, L.Dense(2)(x), x])


GRAPHS = (*(shared_and_nested, dicts, operators, masked, masked_attention, augmented, half, free_sizes, identity),)


@pytest.mark.parametrize("make", GRAPHS)
def test_graph_computes_the_same_and_back(make):
    model = fill_weights(make())
    bridged = bridge(model)
    assert gap(model, bridged.model) <= 1e-5
    assert gap(model, from_tf_keras(bridged.model)) <= 1e-5
    assert len(bridged.pairs) == len(model.weights)


@pytest.mark.parametrize("make", [shared_and_nested, operators, masked_attention, half, free_sizes])
def test_split_graph_computes_the_same(make):
    model = fill_weights(make())
    bridged = bridge(model, split=True)
    assert gap(model, bridged.model) <= 1e-5
    assert len(bridged.pairs) == len(model.weights)
    assert len({layer.name for layer in bridged.model.layers}) == len(bridged.model.layers)


def test_routes_name_the_kind_of_each_replacement():
    bridged = bridge(fill_weights(masked_attention()))
    assert bridged.routes["rnn"] == "counterpart"
    assert bridged.routes["own"] == "wrapped"
    assert "value_mask" in bridged.reasons["own"]
    assert set(bridge(operators()).routes.values()) == {"operation"}


def test_a_mask_changes_what_comes_out():
    """The masks of the case above matter: with no zero among the tokens it gives something else."""
    model = fill_weights(masked())
    bridged = to_tf_keras(model)
    tokens = np.array([[1, 2, 0, 0, 0, 0]], "int32")
    for first, second in zip(bridged(tokens), bridged(np.where(tokens, tokens, 4)), strict=True):
        assert np.abs(np.asarray(first) - np.asarray(second)).max() > 1e-3


def settled(name, tiny):
    """Returns a registered model with weights and statistics of no special values, and real inputs."""
    model = keras.models.clone_model(tiny(name))
    model.set_weights(tiny(name).get_weights())
    inputs, _ = get_task(kerasdl.spec(name).task).example(model, 8, 0)
    return settle_statistics(model, inputs), inputs


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_CLASS)
def test_registered_model_computes_the_same_split_and_back(name, tiny):
    """The whole is crossed in tests/contract/test_quantisation.py."""
    model, inputs = settled(name, tiny)
    bridged = bridge(model, split=True)
    assert gap(model, bridged.model, inputs) <= 1e-5
    assert gap(model, from_tf_keras(bridge(model).model), inputs) <= 1e-5


def net():
    image = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3, name="conv")(image)
    x = L.BatchNormalization(name="norm")(x)
    x = L.RMSNormalization(name="wrapped")(x)
    x = L.SpectralNormalization(L.Dense(4), name="spectral")(L.ReLU()(x))
    return fill_weights(keras.Model(image, L.Dense(2, name="head")(L.GlobalAveragePooling2D()(x))))


def test_training_moves_every_weight_that_keras_would_train_and_pull_brings_them_back():
    model = net()
    before = model.get_weights()
    bridged = bridge(model)
    bridged.model.compile(tf_keras.optimizers.SGD(0.1), "mse")
    images = np.asarray(numbers_for(model))
    bridged.model.fit(images, np.ones((2, 2)), epochs=2, verbose=0)
    pulled = bridged.pull()
    for weight, old, new in zip(model.weights, before, pulled.get_weights(), strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)
        assert not np.array_equal(old, new) or weight.path.endswith("seed_generator_state"), weight.path
    assert gap(pulled, bridged.model) <= 1e-5
    assert gap(model, bridged.model) > 1e-3
    bridged.push()
    assert gap(model, bridged.model) <= 1e-5


def test_bridged_model_trains_as_keras_does():
    image = keras.Input((8, 8, 3))
    x = L.BatchNormalization(momentum=0.5)(L.Conv2D(4, 3, activation="hard_silu", kernel_regularizer="l2")(image))
    x = L.GlobalAveragePooling2D()(L.RMSNormalization()(x))
    model = fill_weights(keras.Model(image, L.Dense(2)(x)))
    other = bridge(model)
    images, targets = np.asarray(numbers_for(model)), np.ones((2, 2), "float32")
    other.model.compile(tf_keras.optimizers.SGD(0.1), "mse")
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(images, targets, epochs=3, verbose=0)
    other.model.fit(images, targets, epochs=3, verbose=0)
    assert gap(model, other.model) <= 1e-5


@pytest.mark.slow
def test_wrap_takes_each_layer_once_and_pairs_stay_those_of_the_inner_layer():
    registry = Default8BitQuantizeRegistry()
    layers_wrapped, names = [], []

    def wrap(layer):
        layers_wrapped.append(layer.name)
        quantized = registry.supports(layer)
        return QuantizeWrapperV2(layer, registry.get_quantize_config(layer)) if quantized else layer

    def prune(layer):
        prunable = isinstance(layer, (tf_keras.layers.Conv2D, tf_keras.layers.Dense))
        schedule = tfmot.sparsity.keras.ConstantSparsity(0.5, 0, frequency=1)
        return tfmot.sparsity.keras.prune_low_magnitude(layer, schedule) if prunable else layer

    for wrapper in (wrap, prune):
        model = net()
        names += [layer.name for layer in model.layers[1:]] if wrapper is wrap else []
        bridged = bridge(model, wrap=wrapper)
        variables = {id(variable) for variable in bridged.model.variables}
        assert all(id(variable) in variables for _, variable in bridged.pairs)
        bridged.model.compile(tf_keras.optimizers.SGD(0.1), "mse")
        callbacks = [tfmot.sparsity.keras.UpdatePruningStep()] if wrapper is prune else []
        bridged.model.fit(np.asarray(numbers_for(model)), np.ones((2, 2)), epochs=2, verbose=0, callbacks=callbacks)
        pulled = bridged.pull()
        assert not np.array_equal(pulled.get_layer("conv").kernel, model.get_layer("conv").kernel)
        if wrapper is prune:
            assert np.mean(pulled.get_layer("conv").kernel.numpy() == 0) == pytest.approx(0.5, abs=0.01)
    assert layers_wrapped == names


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_bridged_model_is_saved_and_cloned_by_tf_keras(suffix, tmp_path):
    model = net()
    bridged = bridge(model, split=True).model
    bridged.save(tmp_path / f"model{suffix}")
    again = tf_keras.models.load_model(tmp_path / f"model{suffix}", compile=False)
    assert gap(model, again) <= 1e-5
    clone = tf_keras.models.clone_model(bridged)
    clone.set_weights(bridged.get_weights())
    assert gap(model, clone) <= 1e-5


def test_state_of_a_wrapped_layer_moves_only_in_training():
    image = keras.Input((4,))
    model = fill_weights(keras.Model(image, L.SpectralNormalization(L.Dense(3), name="spectral")(image)))
    bridged = bridge(model)
    wrapped = bridged.model.get_layer("spectral")
    assert isinstance(wrapped, WrappedKeras3Layer)
    before = [variable.numpy() for variable in wrapped.non_trainable_variables]
    bridged.model(numbers_for(model), training=False)
    assert all(np.array_equal(a, b) for a, b in zip(before, wrapped.non_trainable_variables, strict=True))
    bridged.model(numbers_for(model), training=True)
    assert not all(np.array_equal(a, b) for a, b in zip(before, wrapped.non_trainable_variables, strict=True))


def test_losses_of_layers_travel_with_them():
    inputs = keras.Input((5, 3))
    lstm = L.LSTM(3, recurrent_activation="hard_sigmoid", kernel_regularizer="l2")
    x = L.Dense(4, kernel_regularizer="l1", activity_regularizer="l2", activation="hard_silu")(lstm(inputs))
    x = L.RMSNormalization(activity_regularizer="l1")(x)
    model = fill_weights(keras.Model(inputs, x))
    bridged = bridge(model)
    assert bridged.routes[lstm.name] == "wrapped"
    values = numbers_for(model)
    model(values, training=False)
    expected = float(sum(model.losses))
    bridged.model(values, training=False)
    np.testing.assert_allclose(sum(bridged.model.losses), expected, rtol=1e-5)


class Noisy(L.Layer):
    """A layer that is random even at inference, so that no two runs agree."""

    def call(self, x):
        return x + tf.random.normal(tf.shape(x))


def test_what_does_not_compute_the_same_is_refused_by_name():
    x = keras.Input((4,))
    with pytest.raises(ExportError, match=r"'noisy'.*random"):
        to_tf_keras(keras.Model(x, Noisy(name="noisy")(x)))


def test_a_layer_that_goes_astray_in_the_whole_is_named_and_slow_growth_of_rounding_is_not():
    x, y, z = (PairedTensor(np.full((2, 3), value, "float32"), None) for value in (1.0, 2.0, 3.0))
    recorded = [*layer_outputs("first", x, [y]), *layer_outputs("second", (y, 1), [z])]
    check_layer_outputs(recorded, [y.value + 1e-4, z.value + 5e-3])
    with pytest.raises(ExportError, match="'second'"):
        check_layer_outputs(recorded, [y.value, z.value + 5e-3])


def test_subclassed_model_is_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ArgumentError, match="functional or Sequential"):
        to_tf_keras(Own())
    with pytest.raises(ArgumentError, match="needs no migration"):
        from_tf_keras(net())


@pytest.mark.slow
def test_global_state_stays_as_it_was():
    code = (
        "import os, kerasdl, keras, tensorflow as tf\n"
        "from kerasdl.deploy import tfmot\n"
        "from kerasdl.deploy.keras2 import bridge\n"
        "model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])\n"
        "bridge.to_tf_keras(model)\n"
        "assert 'TF_USE_LEGACY_KERAS' not in os.environ\n"
        "assert tf.keras.Model is keras.Model\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# What the others hold, one of these holds too; each of them is measured in docs/applications.md.
APPLICATIONS = (
    *("Xception", "ResNet50V2", "InceptionResNetV2", "MobileNetV3Small"),
    *("DenseNet121", "NASNetMobile", "EfficientNetV2B0", "ConvNeXtTiny"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_keras_application_computes_the_same(name):
    size = 96 if name in ("Xception", "InceptionV3", "InceptionResNetV2") else 64
    build = getattr(keras.applications, name)
    model = build(weights=None, classes=10, input_shape=(size, size, 3), classifier_activation=None)
    images = np.random.default_rng(0).uniform(-1, 1, (8, size, size, 3)).astype("float32")
    if name.startswith(("Efficient", "MobileNetV3", "ConvNeXt")):
        images = (images + 1) * 127.5  # they scale pixels themselves
    settle_statistics(fill_weights(model), images)
    bridged = bridge(model)
    assert gap(model, bridged.model, images[:4]) <= 1e-5
    assert {bridged.routes[each] for each in bridged.reasons} <= {"wrapped", "operation"}


@pytest.mark.slow
def test_keras_hub_backbone_computes_the_same():
    hub = pytest.importorskip("keras_hub")
    resnet = hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 32],
        stackwise_num_blocks=[1, 2],
        stackwise_num_strides=[1, 2],
        block_type="bottleneck_block",
        image_shape=(64, 64, 3),
    )
    vit = hub.models.ViTBackbone(
        image_shape=(32, 32, 3), patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    bert = hub.models.BertBackbone(
        vocabulary_size=40, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32, max_sequence_length=12
    )
    for model in map(fill_weights, (resnet, vit, bert)):
        bridged = bridge(model)
        assert gap(model, bridged.model) <= 1e-5
        assert len(bridged.pairs) == len(model.weights)
