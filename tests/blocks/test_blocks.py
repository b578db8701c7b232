"""Blocks: channel rounding, padding like PyTorch's, squeeze-and-excitation by NumPy, replaced heads."""

import keras
import numpy as np
import pytest
from filling import fill_weights
from hypothesis import given
from hypothesis import strategies as st

import kerasdl
from kerasdl import blocks
from kerasdl.core import ArgumentError


@given(st.floats(1.0, 4000.0))
def test_rounded_channels_are_multiples_of_eight_and_never_a_tenth_fewer(channels):
    rounded = blocks.round_channels(channels)
    assert rounded % 8 == 0
    assert rounded >= 0.9 * channels
    assert rounded <= max(8, channels + 8)


def test_symmetric_padding_is_that_of_pytorch():
    """A 3x3 kernel of ones, stride 2, on ones: PyTorch pads each side by one, so the first corner sums 4 of 9."""
    image = keras.Input((4, 4, 1))
    model = keras.Model(image, blocks.conv_norm_act(image, 1, 3, stride=2, act=None, padding="symmetric", name="x"))
    model.get_layer("x_conv").set_weights([np.ones((3, 3, 1, 1))])
    out = model(np.ones((1, 4, 4, 1)), training=False).numpy()[0, :, :, 0] * np.sqrt(1 + 1e-3)
    np.testing.assert_allclose(out, [[4.0, 6.0], [6.0, 9.0]], rtol=1e-5)


def test_squeeze_excite_is_its_formula():
    image = keras.Input((3, 3, 6))
    model = fill_weights(keras.Model(image, blocks.squeeze_excite(image, 2, name="se")))
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 6)).astype("float32")
    k1, b1, k2, b2 = model.get_weights()
    squeezed = np.maximum(x.mean((1, 2)) @ k1[0, 0] + b1, 0.0)
    gate = 1.0 / (1.0 + np.exp(-(squeezed @ k2[0, 0] + b2)))
    np.testing.assert_allclose(model(x), x * gate[:, None, None, :], atol=1e-5)


def test_a_residual_block_with_zero_weights_is_its_shortcut():
    image = keras.Input((4, 4, 8))
    model = keras.Model(image, blocks.basic_residual(image, 8, name="b"))
    model.set_weights(
        [np.zeros_like(w) if "kernel" in v.path else w for v, w in zip(model.weights, model.get_weights(), strict=True)]
    )
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 8)).astype("float32")
    np.testing.assert_allclose(model(x, training=False), np.maximum(x, 0.0), atol=1e-6)


def test_a_transformer_block_does_not_care_for_order():
    """Without positions, permuted tokens give permuted outputs."""
    tokens = keras.Input((6, 8))
    model = fill_weights(keras.Model(tokens, blocks.transformer_encoder(tokens, 2, mlp=16, name="b")))
    x = np.random.default_rng(0).normal(size=(2, 6, 8)).astype("float32")
    order = np.random.default_rng(1).permutation(6)
    np.testing.assert_allclose(model(x[:, order]), model(x).numpy()[:, order], atol=1e-5)
    assert np.abs(model(x).numpy() - x).max() > 0.1


def test_replace_head_keeps_all_but_the_head(tiny):
    model = tiny("mobilenet_v2")
    other = blocks.replace_head(model, 7)
    assert other.output_shape == (None, 7)
    for layer in model.layers[:-1]:
        for old, new in zip(layer.get_weights(), other.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    other.get_layer("stem_conv").kernel.assign(np.zeros((3, 3, 3, 8)))
    assert np.abs(model.get_layer("stem_conv").get_weights()[0]).max() > 0, "the two models share a weight"
    with pytest.raises(ArgumentError, match="must have a Dense layer"):
        blocks.replace_head(keras.Sequential([keras.Input((2,)), keras.layers.ReLU()]), 3)


def test_what_was_frozen_stays_frozen_under_a_new_head():
    tokens = keras.Input((4, 8))
    attention = keras.layers.MultiHeadAttention(2, 4)
    pooled = keras.layers.GlobalAveragePooling1D()(attention(tokens, tokens))
    model = keras.Model(tokens, keras.layers.Dense(3, name="head")(pooled))
    attention.trainable = False
    other = blocks.replace_head(model, 5)
    assert {each.path for each in other.trainable_variables} == {"head/kernel", "head/bias"}


def test_any_model_that_ends_in_a_dense_layer_has_a_head():
    image = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(image)
    model = keras.Model(image, keras.layers.Dense(5, activation="softmax", name="predictions")(x))
    other = blocks.replace_head(model, 3)
    assert other.get_layer("predictions").activation is keras.activations.linear
    assert other.output_shape == (None, 3)


def test_a_prefix_lets_two_backbones_stand_in_one_graph():
    features = kerasdl.vision.backbones.mobilenet_v2_features
    image = keras.Input((32, 32, 3))
    left, right = (features(image, width=0.35, prefix=prefix)["stride8"] for prefix in ("left_", "right_"))
    model = keras.Model(image, keras.layers.Add()([left, right]))
    names = [layer.name for layer in model.layers]
    assert len(set(names)) == len(names)
    assert "left_stage2_block1_expand_conv" in names
