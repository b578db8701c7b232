"""Attention over heads, sliding and linear attention, and positions, against NumPy, peers and their laws."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasdl import foundations, layers
from kerasdl.core import ArgumentError
from kerasdl.layers.sequences.position_biases import slopes_of

RNG = np.random.default_rng(0)


def drawn(*shape):
    return RNG.normal(size=shape).astype("float32")


def attended(query, key, value, visible=None, bias=0.0, scale=None):
    """Attention by its formula in float64, heads of key and value repeated."""
    group = query.shape[2] // key.shape[2]
    key, value = (np.repeat(each, group, axis=2).astype(float) for each in (key, value))
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = np.einsum("btnh,bsnh->bnts", query.astype(float), key) * scale + bias
    visible = np.ones(scores.shape, bool) if visible is None else np.broadcast_to(visible, scores.shape)
    scores = np.where(visible, scores, -np.inf)
    most = np.where(np.isfinite(scores.max(-1, keepdims=True)), scores.max(-1, keepdims=True), 0.0)
    powers = np.exp(scores - most)
    weights = powers / np.maximum(powers.sum(-1, keepdims=True), 1e-300)
    return np.einsum("bnts,bsne->btne", weights, value)


def band(length, reach, causal):
    places = np.arange(length)[None, :] - np.arange(length)[:, None]
    return (places >= -reach) & (places <= (0 if causal else reach))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shared", [1, 2, 4])
def test_dot_products_equal_the_formula(causal, shared):
    query, key, value = drawn(2, 5, 4, 8), drawn(2, 7, shared, 8), drawn(2, 7, shared, 3)
    mask, bias = RNG.random((2, 7)) < 0.6, drawn(1, 4, 5, 7)
    mask[0] = False
    seen = np.tri(5, 7, 2, dtype=bool) if causal else np.ones((5, 7), bool)
    given = layers.DotProductAttention(causal=causal, scale=0.7)([query, key, value], key_mask=mask, bias=bias)
    expected = attended(query, key, value, mask[:, None, None] & seen, bias, 0.7)
    np.testing.assert_allclose(given, expected, atol=1e-5)
    assert not np.asarray(given)[0].any()


def test_layers_of_dense_and_dot_products_are_multi_head_attention():
    by_hand, x = foundations.MultiHeadAttention(6, 2), drawn(2, 4, 6)
    weights = by_hand.weights
    parts = [(x @ weights[name]).reshape(2, 4, 2, 3).astype("float32") for name in ("query", "key", "value")]
    mean = np.asarray(layers.DotProductAttention(causal=True)(parts)).reshape(2, 4, 6)
    np.testing.assert_allclose(mean @ weights["output"], by_hand.forward(x, causal=True), atol=1e-5)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(length=st.integers(1, 23), reach=st.integers(1, 9), causal=st.booleans(), seed=st.integers(0, 99))
def test_sliding_window_is_attention_in_a_band(length, reach, causal, seed):
    rng = np.random.default_rng(seed)
    query, key, value = (rng.normal(size=(2, length, heads, 4)).astype("float32") for heads in (4, 2, 2))
    mask = rng.random((2, length)) < 0.7
    given = layers.SlidingWindowAttention(reach, causal)([query, key, value], key_mask=mask)
    expected = attended(query, key, value, mask[:, None, None] & band(length, reach, causal))
    np.testing.assert_allclose(given, expected, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [1, 5, 128, 300])
def test_linear_attention_is_attention_with_its_kernel(causal, length):
    query, key, value = drawn(2, length, 2, 4), drawn(2, length, 2, 4), drawn(2, length, 2, 3)
    mask = RNG.random((2, length)) < 0.8
    mask[0, :1] = False
    phi = [np.where(x > 0, x + 1.0, np.exp(np.minimum(x, 0.0))) for x in (query.astype(float), key)]
    scores = np.einsum("btnh,bsnh->bnts", *phi) * mask[:, None, None] * (np.tri(length) if causal else 1.0)
    weights = scores / np.maximum(scores.sum(-1, keepdims=True), 1e-300)
    given = layers.LinearAttention(causal)([query, key, value], key_mask=mask)
    np.testing.assert_allclose(given, np.einsum("bnts,bsne->btne", weights, value), atol=1e-4)


KINDS = {
    "dot": lambda: layers.DotProductAttention(causal=True),
    "window": lambda: layers.SlidingWindowAttention(3, causal=True),
    "linear": lambda: layers.LinearAttention(causal=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_causal_attention_sees_nothing_of_what_follows(kind):
    parts = [drawn(1, 12, 2, 4) for _ in range(3)]
    changed = [np.concatenate([each[:, :7], drawn(1, 5, 2, 4)], axis=1) for each in parts]
    layer = KINDS[kind]()
    before, after = (np.asarray(layer(each))[:, :7] for each in (parts, changed))
    np.testing.assert_allclose(before, after, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_lengths_saves_and_gradients(kind, tmp_path):
    inputs = keras.Input((None, 2, 4))
    rotated = layers.RotaryEmbedding(name="turn")(inputs)
    model = keras.Model(inputs, KINDS[kind]()([rotated, rotated, inputs]))
    model.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    for length in (1, 5, 130):
        x = drawn(2, length, 2, 4)
        np.testing.assert_array_equal(model(x), again(x))
        assert model(x).shape == x.shape
    import tensorflow as tf

    x = tf.constant(drawn(1, 6, 2, 4) * 100.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = model(x)
    assert np.isfinite(tape.gradient(y, x)).all()


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotated_products_depend_on_the_distance_alone(interleaved):
    layer, query, key = layers.RotaryEmbedding(interleaved=interleaved), drawn(1, 1, 2, 8), drawn(1, 1, 2, 8)

    def product(place, other):
        turned = [np.asarray(layer([x, np.array([[at]])])) for x, at in ((query, place), (key, other))]
        return np.einsum("btnh,btnh->n", *turned)

    np.testing.assert_allclose(product(3, 7), product(103, 107), atol=1e-4)
    assert np.abs(product(3, 7) - product(3, 8)).max() > 1e-2
    np.testing.assert_allclose(layer([query, np.zeros((1, 1))]), query)
    x = drawn(2, 6, 2, 8)
    np.testing.assert_allclose(layer(x), layer([x, np.tile(np.arange(6), (2, 1))]), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(layer(x), axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5)


def test_sinusoidal_positions_equal_the_chapter():
    x = drawn(2, 9, 6)
    expected = foundations.PositionalEncoding(6).forward(x)
    np.testing.assert_allclose(layers.PositionalEncoding()(x), expected, atol=1e-5)
    later = layers.PositionalEncoding()([x[:, 4:], np.tile(np.arange(4, 9), (2, 1))])
    np.testing.assert_allclose(later, expected[:, 4:], atol=1e-5)


# transformers 5.24, T5Attention._relative_position_bucket of 32 buckets and a furthest distance of 128.
DISTANCES = [
    -1000,
    -128,
    -127,
    -100,
    -65,
    -40,
    -20,
    -17,
    -16,
    -15,
    -9,
    -8,
    -7,
    -1,
    0,
    1,
    7,
    8,
    12,
    16,
    40,
    91,
    128,
    500,
]
BOTH_WAYS = [15, 15, 15, 15, 14, 12, 10, 10, 10, 9, 8, 8, 7, 1, 0, 17, 23, 24, 25, 26, 28, 31, 31, 31]
CAUSAL = [31, 31, 31, 30, 26, 23, 17, 16, 16, 15, 9, 8, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("bidirectional", "expected"), [(True, BOTH_WAYS), (False, CAUSAL)])
def test_buckets_are_those_of_t5(bidirectional, expected):
    layer = layers.RelativePositionBias(3, bidirectional=bidirectional)
    assert layer.bucket_of(np.array(DISTANCES)).numpy().tolist() == expected
    bias = np.asarray(layer(drawn(2, 20, 4)))
    table = layer.table.numpy()
    assert bias.shape == (1, 3, 20, 20)
    np.testing.assert_array_equal(bias[0, :, 11, 3], table[layer.bucket_of(np.array([-8])).numpy()[0]])
    step = layer([np.array([[11]]), np.arange(20)[None]])
    np.testing.assert_array_equal(step[:, :, 0], bias[:, :, 11])


def test_slopes_are_those_of_the_authors():
    assert slopes_of(8) == [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]
    # transformers 5.24, build_alibi_tensor of BLOOM
    np.testing.assert_allclose(slopes_of(12)[8:], [0.707107, 0.353553, 0.176777, 0.088388], rtol=1e-5)
    bias = np.asarray(layers.ALiBi(2)(drawn(1, 4, 3)))
    np.testing.assert_allclose(bias[0, 1], -(2.0**-8) * np.abs(np.arange(4)[:, None] - np.arange(4)))
    assert len(slopes_of(1)) == 1


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("kind", KINDS)
def test_low_precision_stays_near(kind, policy):
    parts = [drawn(2, 9, 2, 8) for _ in range(3)]
    exact = np.asarray(KINDS[kind]()(parts))
    low = type(KINDS[kind]())(**{**KINDS[kind]().get_config(), "dtype": policy, "name": "low"})(parts)
    assert low.dtype == policy.removeprefix("mixed_")
    np.testing.assert_allclose(np.asarray(keras.ops.cast(low, "float32")), exact, atol=0.05)


REFUSED = {
    "heads": (lambda: layers.DotProductAttention()([drawn(1, 2, 3, 4), *[drawn(1, 2, 2, 4)] * 2]), "multiple"),
    "size": (lambda: layers.DotProductAttention()([drawn(1, 2, 2, 4), *[drawn(1, 2, 2, 5)] * 2]), "one size H"),
    "rank": (lambda: layers.DotProductAttention()([drawn(1, 2, 4)] * 3), "inputs must be"),
    "linear rank": (lambda: layers.LinearAttention()([drawn(1, 2, 4)] * 3), "inputs must be"),
    "linear length": (
        lambda: layers.LinearAttention(True)([drawn(1, 2, 2, 4), *[drawn(1, 3, 2, 4)] * 2]),
        "one length if causal",
    ),
    "window length": (
        lambda: layers.SlidingWindowAttention(2)([drawn(1, 2, 2, 4), *[drawn(1, 3, 2, 4)] * 2]),
        "of one sequence",
    ),
    "window bias": (
        lambda: layers.SlidingWindowAttention(2)([drawn(1, 2, 2, 4)] * 3, bias=drawn(1, 2, 2, 2)),
        "takes no bias",
    ),
    "reach": (lambda: layers.SlidingWindowAttention(0), "reach must be an integer of 1 or more; got 0"),
    "odd width": (lambda: layers.PositionalEncoding()(drawn(1, 2, 3)), "the width must be even"),
    "odd head": (lambda: layers.RotaryEmbedding()(drawn(1, 2, 2, 3)), "an even H"),
    "buckets": (lambda: layers.RelativePositionBias(2, buckets=6), "multiple of 4"),
    "base": (lambda: layers.RotaryEmbedding(base=0.5), "base must be"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    call, message = REFUSED[case]
    with pytest.raises(ArgumentError, match=message):
        call()


def test_float_positions_and_biases_are_not_rounded_in_mixed_precision():
    far, near = np.array([[300, 301, 303]]), np.array([[1, 2, 3]])
    x, heads = RNG.normal(size=(1, 3, 4)), RNG.normal(size=(1, 3, 2, 4))
    query, value = np.zeros((1, 3, 1, 4)), RNG.normal(size=(1, 3, 1, 2))
    bias = np.array([300.0, 301.0, 301.5]).reshape(1, 1, 1, 3)
    exact = layers.DotProductAttention()([query, query, value], bias=bias)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        for layer, inputs in ((layers.PositionalEncoding(), x), (layers.RotaryEmbedding(), heads)):
            rounded, wanted = (layer([inputs, far.astype(kind)]) for kind in ("float32", "int32"))
            assert rounded.dtype == "bfloat16"
            np.testing.assert_array_equal(np.asarray(rounded, "float32"), np.asarray(wanted, "float32"))
        for layer in (layers.ALiBi(2), layers.RelativePositionBias(2, 512, 512)):
            rounded, wanted = (layer([far.astype(kind), near.astype(kind)]) for kind in ("float32", "int32"))
            np.testing.assert_array_equal(rounded, wanted)
        found = layers.DotProductAttention()([query, query, value], bias=bias)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert found.dtype == "bfloat16"
    np.testing.assert_allclose(np.asarray(found, "float32"), exact, atol=0.02)
