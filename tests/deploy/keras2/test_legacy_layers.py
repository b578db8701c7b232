"""Every built-in layer and activation of Keras 3 in tf_keras and back: the same outputs on random weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from filling import fill_weights
from legacy import WITH_COUNTERPART, WRAPPED, gap

from kerasdl.deploy.keras2.activations import NAMES, SAME, activation_layer
from kerasdl.deploy.keras2.bridge import bridge
from kerasdl.deploy.migration.from_keras2 import from_tf_keras

# No layers: bases, containers, and what needs another library, a file or words.
NO_CASE = {
    *("Layer", "Wrapper", "InputLayer", "Pipeline", "FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"),
    *("StackedRNNCells", "StringLookup", "TextVectorization", "HashedCrossing"),
}
# Named apart from the table, since one like it stands there.
LIKE = (
    "Random",
    "Adaptive",
    "AugMix",
    "AutoContrast",
    "CutMix",
    "MixUp",
    "RandAugment",
    "Equalization",
    "Solarization",
)


RARE = {
    *("MelSpectrogram", "STFTSpectrogram", "MaxNumBoundingBoxes", "ReversibleEmbedding"),
    "ContrastLimitedAdaptiveHistogramEqualization",
}
# What of these has a kernel in its split form.
KERNELS = ("Dense", "Conv1D", "Conv2D", "DepthwiseConv1D", "DepthwiseConv2D", "EinsumDense", "Product", "Activation")
SPLIT = {
    "dense": "Dense Activation",
    "dense_silu": "Dense Activation",
    "einsum_dense": "Dense",
    "einsum_dense_odd": "EinsumDense",
    "conv1d": "Conv2D Activation",
    "conv1d_strided": "Conv2D",
    "conv2d": "Conv2D Activation",
    "depthwise1d": "DepthwiseConv2D",
    "depthwise2d": "DepthwiseConv2D Activation",
    "separable1d": "DepthwiseConv2D Conv2D Activation",
    "separable2d": "DepthwiseConv2D Conv2D",
    "multi_head": "Dense Dense Product Dense Product Dense",
}


@pytest.mark.parametrize("name", [*WITH_COUNTERPART, *WRAPPED])
def test_layer_travels_both_ways(name):
    model = fill_weights({**WITH_COUNTERPART, **WRAPPED}[name]())
    bridged = bridge(model)
    assert gap(model, bridged.model) <= 1e-5
    assert set(bridged.routes.values()) <= ({"wrapped"} if name in WRAPPED else {"counterpart", "parts"}), (
        bridged.reasons
    )
    assert [id(weight) for weight, _ in bridged.pairs] == [id(weight) for weight in model.weights]
    assert len(bridged.model.trainable_variables) == len(model.trainable_variables)
    again = from_tf_keras(bridged.model)
    assert gap(model, again) <= 1e-5
    assert again.count_params() == model.count_params()


@pytest.mark.parametrize(("name", "layers"), SPLIT.items())
def test_layer_is_split_into_layers_of_one_operation(name, layers):
    model = fill_weights(WITH_COUNTERPART[name]())
    bridged = bridge(model, split=True)
    assert gap(model, bridged.model) <= 1e-5
    kinds = [type(layer).__name__ for layer in bridged.model.layers]
    assert sorted(kind for kind in kinds if kind in KERNELS) == sorted(layers.split())
    assert [weight.path for weight, _ in bridged.pairs] == [weight.path for weight in model.weights]


def test_every_built_in_layer_has_a_case():
    layers = {
        getattr(keras.layers, name)
        for name in dir(keras.layers)
        if name not in NO_CASE and not name.startswith(LIKE) and isinstance(getattr(keras.layers, name), type)
    }
    covered = set()
    for build in {**WITH_COUNTERPART, **WRAPPED}.values():
        for layer in build()._flatten_layers():
            covered.add(type(layer))
            covered.update(type(cell) for cell in getattr(getattr(layer, "cell", None), "cells", ()))
    left = {each.__name__ for each in layers - covered if issubclass(each, keras.layers.Layer)}
    assert left <= RARE


@pytest.mark.parametrize("name", sorted({*NAMES.values()} - {"threshold"}))
def test_activation_computes_the_same(name):
    x = np.linspace(-8, 8, 160).astype("float32").reshape(10, 16)
    function = getattr(keras.activations, name)
    expected = np.asarray(function(x))
    np.testing.assert_allclose(activation_layer(function, "a")(x), expected, atol=2e-6)
    theirs = getattr(tf_keras.activations, name, None)
    if theirs is not None:  # what is taken from tf_keras by its name is the same there, and only that
        assert (np.abs(theirs(tf.constant(x)).numpy() - expected).max() < 2e-6) == (name in SAME)


@pytest.mark.parametrize("name", sorted({*NAMES.values()} - {"threshold", "glu"}))
def test_activation_inside_a_layer_travels_both_ways(name):
    inputs = keras.Input((6,))
    model = fill_weights(keras.Model(inputs, keras.layers.Dense(8, activation=name, name="dense")(inputs)))
    bridged = bridge(model, split=True)
    assert "wrapped" not in bridged.routes.values()
    assert gap(model, bridged.model) <= 1e-5
    assert gap(model, from_tf_keras(bridge(model).model)) <= 1e-5


def test_activations_with_arguments():
    inputs = keras.Input((6,))
    outputs = [keras.layers.Activation(each)(inputs) for each in (_relu, _leaky, _gelu, keras.layers.LeakyReLU(0.1))]
    model = keras.Model(inputs, outputs)
    assert gap(model, bridge(model, split=True).model) <= 1e-5


def _relu(x):
    return keras.activations.relu(x, negative_slope=0.1, max_value=2.0, threshold=0.5)


def _leaky(x):
    return keras.activations.leaky_relu(x, 0.4)


def _gelu(x):
    return keras.activations.gelu(x, approximate=True)
