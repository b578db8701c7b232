"""Blocks of transformers over sequences against NumPy, option by option, and the chapter of foundations."""

import keras
import numpy as np
import pytest
from filling import fill_weights
from scipy.special import erf

from kerasdl import foundations, layers
from kerasdl.blocks import decoder_block, encoder_block, feed_forward, multi_head_attention, sequence_norm
from kerasdl.core import ArgumentError

B, T, S, D, N = 2, 7, 5, 16, 4
RNG = np.random.default_rng(1)
X, MEMORY = RNG.normal(size=(B, T, D)).astype("float32"), RNG.normal(size=(B, S, 12)).astype("float32")
SEEN = np.arange(T) < np.array([[7], [4]])
MEMORY_SEEN = np.arange(S) < np.array([[2], [5]])
BIAS = RNG.normal(size=(1, N, T, T)).astype("float32")
ACTS = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x / 2 * (1 + erf(x / np.sqrt(2))),
    "gelu_tanh": lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


class Plain:
    """The blocks by hand, from the weights of a model by layer name."""

    def __init__(self, model, **options):
        self.weights = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
        self.options = options
        self.used = set()

    def dense(self, x, name):
        self.used.add(name)
        kernel, *bias = self.weights[name]
        return x @ kernel.astype(float) + (bias[0] if bias else 0)

    def norm(self, x, name):
        self.used.add(name)
        epsilon = self.options.get("epsilon", 1e-6)
        if self.options.get("normalisation") == "rms":
            (scale,) = self.weights[name]
            return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * scale
        gamma, beta = self.weights[name]
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon) * gamma + beta

    def attention(self, x, memory, name, seen=None, bias=None, causal=False):
        def heads(y, part):
            y = self.dense(y, f"{name}_{part}")
            return y.reshape(*y.shape[:2], -1, size)

        size = self.options.get("size") or D // N
        query, key, value = heads(x, "query"), heads(memory, "key"), heads(memory, "value")
        if self.options.get("rotary") is not None:
            query, key = (np.asarray(self.options["rotary"](each.astype("float32")), float) for each in (query, key))
        answers = np.zeros_like(query)
        group = query.shape[2] // key.shape[2]
        scale = size**-0.5 if self.options.get("scale") is None else self.options["scale"]
        for row in range(len(x)):
            for head in range(query.shape[2]):
                scores = query[row, :, head] @ key[row, :, head // group].T * scale
                scores = scores if bias is None else scores + bias[0, head]
                open_places = np.ones(scores.shape, bool) if seen is None else np.broadcast_to(seen[row], scores.shape)
                open_places = open_places & np.tri(*scores.shape, dtype=bool) if causal else open_places
                for place in range(len(scores)):
                    visible = open_places[place]
                    if visible.any():
                        weights = np.exp(scores[place, visible] - scores[place, visible].max())
                        shares = weights / weights.sum()
                        answers[row, place, head] = shares @ value[row, visible, head // group]
        return self.dense(answers.reshape(*x.shape[:2], -1), f"{name}_output")

    def perceptron(self, x, name):
        act = ACTS[self.options.get("activation", "relu")]
        y = self.dense(x, f"{name}_expand")
        y = act(self.dense(x, f"{name}_gate")) * y if self.options.get("gated") else act(y)
        return self.dense(y, f"{name}_project")

    def branch(self, x, function, name):
        if self.options.get("norm", "after") == "before":
            return x + function(self.norm(x, f"{name}_norm"))
        return self.norm(x + function(x), f"{name}_norm")

    def encoder(self, x, seen=None, bias=None):
        causal = self.options.get("causal", False)
        x = self.branch(x, lambda y: self.attention(y, y, "b_attention", seen, bias, causal), "b_attention")
        return self.branch(x, lambda y: self.perceptron(y, "b_mlp"), "b_mlp")

    def decoder(self, x, memory, seen=None, memory_seen=None, bias=None):
        x = self.branch(x, lambda y: self.attention(y, y, "b_attention", seen, bias, True), "b_attention")
        x = self.branch(x, lambda y: self.attention(y, memory, "b_memory", memory_seen), "b_memory")
        return self.branch(x, lambda y: self.perceptron(y, "b_mlp"), "b_mlp")


def close(given, expected):
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-5)


def inputs_of(**arrays):
    return {
        name: keras.Input(array.shape[1:], dtype=array.dtype.name, name=name, batch_size=len(array))
        for name, array in arrays.items()
    }


ENCODERS = {
    "paper": {},
    "pre-norm": dict(norm="before", activation="gelu"),
    "GPT-2": dict(norm="before", activation="gelu_tanh", causal=True, epsilon=1e-5),
    "BERT": dict(activation="gelu", epsilon=1e-12, masked=True),
    "Llama": dict(
        **dict(norm="before", normalisation="rms", activation="silu", gated=True, use_bias=False, causal=True),
        **dict(shared_heads=2, rotary=layers.RotaryEmbedding()),
    ),
    "Qwen2": dict(norm="before", normalisation="rms", gated=True, use_bias=False, query_bias=True, shared_heads=1),
    "T5": dict(norm="before", normalisation="rms", use_bias=False, scale=1.0, size=6, biased=True, masked=True),
    "ALiBi": dict(causal=True, biased=True, masked=True),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_block_equals_the_formula(name):
    options = dict(ENCODERS[name])
    masked, biased = options.pop("masked", False), options.pop("biased", False)
    arrays = {"x": X, **({"mask": SEEN} if masked else {})}
    entries = inputs_of(**arrays)
    bias = BIAS if biased else None
    y = encoder_block(entries["x"], N, hidden=20, **options, key_mask=entries.get("mask"), bias=bias, name="b")
    model = fill_weights(keras.Model(entries, y))
    plain = Plain(model, **options)
    close(model(arrays), plain.encoder(X.astype(float), SEEN if masked else None, bias))
    assert plain.used == set(plain.weights)
    assert y.shape == (B, T, D)


@pytest.mark.parametrize("options", [{}, dict(norm="before", activation="gelu", use_bias=False, size=5)])
def test_decoder_block_equals_the_formula(options):
    arrays = {"x": X, "memory": MEMORY, "mask": SEEN, "memory_mask": MEMORY_SEEN}
    entries = inputs_of(**arrays)
    seen = dict(key_mask=entries["mask"], memory_mask=entries["memory_mask"])
    y = decoder_block(entries["x"], entries["memory"], N, hidden=20, **options, **seen, bias=BIAS, name="b")
    model = fill_weights(keras.Model(entries, y))
    plain = Plain(model, **options)
    close(model(arrays), plain.decoder(X.astype(float), MEMORY.astype(float), SEEN, MEMORY_SEEN, BIAS))
    assert plain.used == set(plain.weights)


def test_encoder_block_equals_the_chapter():
    """The block of foundations, whose norms add 1e-3."""
    chapter = foundations.EncoderBlock(D, N, 20, seed=3)
    entry = keras.Input((T, D))
    model = keras.Model(entry, encoder_block(entry, N, hidden=20, epsilon=1e-3, name="b"))
    attention = chapter.parts["attention"].weights
    for part in ("query", "key", "value", "output"):
        model.get_layer(f"b_attention_{part}").set_weights([attention[part], attention[f"{part}_bias"]])
    for ours, theirs in (("b_mlp_expand", "first"), ("b_mlp_project", "second")):
        model.get_layer(ours).set_weights([*chapter.parts[theirs].weights.values()])
    close(model(X), chapter.forward(X))


def whole(x, *, causal=False, masked=False, length=None):
    tokens = keras.Input((length,), dtype="int32")
    y = keras.layers.Embedding(9, D)(tokens)
    mask = layers.PaddingMask()(tokens) if masked else None
    y = encoder_block(y, N, hidden=20, causal=causal, key_mask=mask, name="b")
    return fill_weights(keras.Model(tokens, encoder_block(y, N, hidden=20, causal=causal, key_mask=mask, name="c")))(x)


def test_causal_places_see_nothing_of_what_follows():
    tokens = RNG.integers(1, 9, (2, 8))
    changed = np.where(np.arange(8) < 5, tokens, 1 + tokens % 8)
    given, other = whole(tokens, causal=True), whole(changed, causal=True)
    close(other[:, :5], given[:, :5])
    assert np.abs(np.asarray(other - given)[:, 5:]).max() > 1e-2
    assert np.abs(np.asarray(whole(changed) - whole(tokens))[:, :5]).max() > 1e-2, "without causal they see all"


def test_padding_changes_no_token():
    tokens = RNG.integers(1, 9, (2, 5))
    padded = np.pad(tokens, ((0, 0), (0, 4)))
    np.testing.assert_allclose(whole(padded, masked=True)[:, :5], whole(tokens, masked=True), atol=1e-5)
    assert np.abs(np.asarray(whole(padded)[:, :5] - whole(tokens))).max() > 1e-2, "without a mask it does"


@pytest.mark.parametrize("tokens", [np.array([[3]]), np.zeros((2, 4), int), np.array([[0]])])
def test_one_token_and_padding_alone_are_finite(tokens):
    given = np.asarray(whole(tokens, masked=True))
    assert given.shape == (*tokens.shape, D)
    assert np.isfinite(given).all()


def test_dropout_acts_in_training_alone():
    entry = keras.Input((T, D))
    model = keras.Model(entry, encoder_block(entry, N, hidden=20, dropout=0.5, name="b"))
    np.testing.assert_array_equal(model(X), model(X))
    assert np.abs(np.asarray(model(X, training=True) - model(X))).max() > 1e-2


ENTRY = keras.Input((T, D))
REFUSED = {
    "norm": (lambda: encoder_block(ENTRY, N, hidden=8, norm="between", name="b"), "norm must be one of"),
    "kind of norm": (lambda: sequence_norm(ENTRY, normalisation="batch", name="b"), "normalisation must be one of"),
    "heads": (lambda: encoder_block(ENTRY, 5, hidden=8, name="b"), "heads must divide the width 16; got 5. Or pass"),
    "no head": (lambda: encoder_block(ENTRY, 0, hidden=8, name="b"), "heads must be"),
    "shared": (
        lambda: multi_head_attention(ENTRY, ENTRY, 4, shared_heads=3, name="b"),
        "heads must be a multiple of shared_heads",
    ),
    "no shared": (lambda: multi_head_attention(ENTRY, ENTRY, 4, shared_heads=0, name="b"), "shared_heads must be"),
    "size": (lambda: multi_head_attention(ENTRY, ENTRY, 4, size=0, name="b"), "size must be"),
    "hidden": (lambda: feed_forward(ENTRY, hidden=0, name="b"), "hidden must be"),
    "activation": (lambda: feed_forward(ENTRY, hidden=8, activation="gelus", name="b"), "activation must be"),
    "dropout": (lambda: encoder_block(ENTRY, N, hidden=8, dropout=1.5, name="b"), "dropout must be a number"),
    "unknown width": (
        lambda: multi_head_attention(keras.Input((T, None)), ENTRY, 4, name="b"),
        "the width must be known",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    make, error = REFUSED[case]
    with pytest.raises(ArgumentError, match=error):
        make()
