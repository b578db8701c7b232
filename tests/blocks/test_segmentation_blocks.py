"""Blocks of segmenters by NumPy: the semantic branch of panoptic FPN, the attention gate, refusals."""

import keras
import numpy as np
import pytest
from filling import fill_weights

from kerasdl import blocks
from kerasdl.core import ArgumentError

RNG = np.random.default_rng(0)


def drawn(*shape):
    return RNG.normal(size=shape).astype("float32")


def group_norm(x, layer, groups):
    gamma, beta = layer.get_weights()
    parts = x.reshape(*x.shape[:3], groups, -1)
    mean, variance = parts.mean((1, 2, 4), keepdims=True), parts.var((1, 2, 4), keepdims=True)
    return ((parts - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape) * gamma + beta


def test_semantic_branch_doubles_each_level_to_the_finest_and_adds():
    arrays = {"stride4": drawn(2, 5, 7, 6), "stride8": drawn(2, 3, 4, 6), "stride16": drawn(2, 2, 2, 6)}
    entries = {key: keras.Input(each.shape[1:], name=key) for key, each in arrays.items()}
    model = fill_weights(keras.Model(entries, blocks.semantic_branch(entries, 4, groups=2)))
    sides, expected = [(5, 7), (3, 4)], 0
    for place, (key, x) in enumerate(arrays.items()):
        for number in range(1, max(1, place) + 1):
            step = f"semantic_{key}_{number}"
            x = np.asarray(model.get_layer(f"{step}_conv")(x))
            x = np.maximum(group_norm(x, model.get_layer(f"{step}_norm"), 2), 0)
            if place:
                x = np.asarray(keras.ops.image.resize(x, sides[place - number], interpolation="bilinear"))
        expected = expected + x
    np.testing.assert_allclose(model(arrays), expected, atol=1e-4)


def test_attention_gate_is_its_formula():
    skip, gating = drawn(2, 5, 4, 3), drawn(2, 3, 2, 6)
    entries = [keras.Input(each.shape[1:]) for each in (skip, gating)]
    model = fill_weights(keras.Model(entries, blocks.attention_gate(*entries, 4, name="gate")))
    theta, phi, phi_bias, psi, psi_bias = (each.numpy() for each in model.weights)
    x = np.maximum(skip[:, ::2, ::2] @ theta[0, 0] + gating @ phi[0, 0] + phi_bias, 0) @ psi[0, 0] + psi_bias
    shares = keras.ops.image.resize(1 / (1 + np.exp(-x)), (5, 4), interpolation="bilinear")
    np.testing.assert_allclose(model([skip, gating]), skip * np.asarray(shares), atol=1e-5)


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda x: blocks.semantic_branch({"stride4": x}, 6, groups=4), "a multiple of the 4 groups"),
        (lambda x: blocks.semantic_branch({"stride4": x, "stride16": x}), "each stride twice the one before"),
        (lambda x: blocks.attention_gate(x, x, 0, name="gate"), "filters must be an integer of 1 or more"),
        (lambda x: blocks.fcn_head(x, x, 0), "classes must be an integer of 1 or more"),
        (lambda x: blocks.skip_decoder(x, x, 4, up="nearest", name="decoder"), "up must be one of"),
    ],
)
def test_what_breaks_a_rule_is_refused(call, rule):
    with pytest.raises(ArgumentError, match=rule):
        call(keras.Input((8, 8, 4)))
