"""BahdanauAttention and LuongAttention against the papers' formulas in NumPy, their masks, windows and refusals."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from filling import fill_weights

from kerasdl.core import ArgumentError
from kerasdl.deploy import export_tflite
from kerasdl.layers import BahdanauAttention, LuongAttention

RNG = np.random.default_rng(0)
QUERY, VALUES = (RNG.normal(size=(2, size, 4)).astype("float32") for size in (3, 5))
WIDE = RNG.normal(size=(2, 5, 6)).astype("float32")
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], bool)


def softmax(scores):
    shares = np.exp(scores - scores.max())
    return shares / shares.sum()


def bahdanau(query, value, weights):
    w, u, v = weights
    return v @ np.tanh(query @ w + value @ u)


def dot(query, value, weights):
    return query @ value


def general(query, value, weights):
    return query @ weights[0] @ value


def concat(query, value, weights):
    w, u, v = weights[:3]
    return v @ np.tanh(np.concatenate([w, u]).T @ np.concatenate([query, value]))


def attended(score, query, values, weights, mask, centre=None, window=None, gauss=False):
    """Context and weights of one query, position by position: a softmax over what it may see."""
    seen = [s for s in range(len(values)) if mask[s] and (window is None or abs(s - centre) <= window)]
    shares = np.zeros(len(values))
    if seen:
        shares[seen] = softmax(np.array([score(query, values[s], weights) for s in seen]))
    if gauss:
        shares *= np.exp(-((np.arange(len(values)) - centre) ** 2) / (2 * (window / 2) ** 2))
    return shares @ values, shares


def centre_of(query, weights, length):
    kernel, vector = weights[-2:]
    return length / (1 + np.exp(-vector @ np.tanh(query @ kernel)))


# layer, values, score, and kind of window
CASES = {
    "bahdanau": (lambda: BahdanauAttention(7), WIDE, bahdanau, None),
    "dot": (lambda: LuongAttention("dot"), VALUES, dot, None),
    "general": (lambda: LuongAttention(), WIDE, general, None),
    "concat": (lambda: LuongAttention("concat", units=7), WIDE, concat, None),
    "local_m": (lambda: LuongAttention("dot", local="monotonic", window=1), VALUES, dot, "monotonic"),
    "local_p": (lambda: LuongAttention(local="predictive", window=2), WIDE, general, "predictive"),
    "concat_local_p": (
        lambda: LuongAttention("concat", units=3, local="predictive", window=1),
        WIDE,
        concat,
        "predictive",
    ),
}


def model_of(name, times=(3, 5)):
    make, values, _, _ = CASES[name]
    entries = [keras.Input((times[0], 4)), keras.Input((times[1], values.shape[-1]))]
    mask = keras.Input((times[1],), dtype="bool")
    outputs = make()(entries, mask=[None, mask], return_attention_scores=True)
    return fill_weights(keras.Model([*entries, mask], list(outputs)))


@pytest.mark.parametrize("name", CASES)
def test_attention_is_its_formula_and_survives_a_save(name, tmp_path):
    _, values, score, local = CASES[name]
    model = model_of(name)
    weights = model.get_weights()
    window = None if local is None else model.layers[-1].window
    context, shares = (np.asarray(each) for each in model([QUERY, values, MASK]))
    for row in range(2):
        for time in range(3):
            centre = time if local == "monotonic" else None
            if local == "predictive":
                centre = centre_of(QUERY[row, time], weights, MASK[row].sum())
            settings = {"centre": centre, "window": window, "gauss": local == "predictive"}
            right = attended(score, QUERY[row, time], values[row], weights, MASK[row], **settings)
            np.testing.assert_allclose(context[row, time], right[0], atol=1e-5)
            np.testing.assert_allclose(shares[row, time], right[1], atol=1e-5)
    assert model.output_shape == [(None, 3, values.shape[-1]), (None, 3, 5)]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded([QUERY, values, MASK])[0], context)
    free = model_of(name, times=(None, None))
    free.set_weights(weights)
    np.testing.assert_allclose(free([QUERY, values, MASK])[0], context, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_every_weight_learns_and_half_precision_stays_near(name):
    model, values = model_of(name), CASES[name][1]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(model([QUERY, values, MASK])[0]))
    for gradient in tape.gradient(loss, [weight.value for weight in model.trainable_variables]):
        assert np.isfinite(gradient).all()
        assert np.any(gradient)
    expected = np.asarray(model([QUERY, values, MASK])[0])
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = model_of(name)
    context, shares = half([QUERY, values, MASK])
    assert (context.dtype, shares.dtype) == (tf.bfloat16, tf.float32)
    # Near the border of a window of local-p a rounded centre moves a position in or out.
    if CASES[name][3] != "predictive":
        np.testing.assert_allclose(tf.cast(context, "float32"), expected, atol=0.1)


@pytest.mark.parametrize("name", CASES)
def test_masked_values_change_nothing_and_a_source_of_padding_gives_zeros(name):
    model, values = model_of(name), CASES[name][1].copy()
    before = [np.asarray(each) for each in model([QUERY, values, MASK])]
    values[1, 3:] = 1e3
    after = [np.asarray(each) for each in model([QUERY, values, MASK])]
    np.testing.assert_allclose(before[0], after[0], atol=1e-6)
    assert (after[1][1, :, 3:] == 0).all()
    for each in model([QUERY, values, np.zeros_like(MASK)]):
        assert (np.asarray(each) == 0).all()


def test_masks_of_keras_arrive_by_themselves():
    ids, embed = np.array([[3, 2, 0, 0]]), keras.layers.Embedding(5, 4, mask_zero=True)
    layer = LuongAttention("dot")
    _, shares = layer([QUERY[:1], embed(ids)], return_attention_scores=True)
    assert (np.asarray(shares)[..., 2:] == 0).all()
    np.testing.assert_allclose(np.asarray(shares).sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize("name", ["bahdanau", "local_p"])
def test_a_file_computes_the_same(name, tmp_path):
    assert export_tflite(model_of(name), tmp_path / "attention.tflite").worst_relative < 1e-4


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: BahdanauAttention(0), "units must be"),
        (lambda: LuongAttention("cosine"), "score must be"),
        (lambda: LuongAttention(local="m"), "local must be"),
        (lambda: LuongAttention(window=0), "window must be"),
        (lambda: LuongAttention("dot")([QUERY, WIDE]), "must have one width"),
        (lambda: LuongAttention()([QUERY[:, 0], WIDE]), r"must be \[query"),
        (lambda: LuongAttention()([QUERY, WIDE, MASK]), r"must be \[query"),
        (lambda: LuongAttention()([QUERY, WIDE], mask=MASK), r"must be \[query mask"),
    ],
)
def test_what_does_not_fit_is_refused(call, rule):
    with pytest.raises(ArgumentError, match=rule):
        call()
