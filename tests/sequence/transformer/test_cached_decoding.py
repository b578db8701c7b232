"""Cached decoding writes the tokens of a loop that computes the whole text again, for every kind of position."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kerasdl
from kerasdl.blocks import encoder_block, multi_head_attention
from kerasdl.core.errors import ArgumentError
from kerasdl.layers import (
    ALiBi,
    CachedAttention,
    CachePositions,
    DotProductAttention,
    LearnedPositions,
    PaddingMask,
    PositionalEncoding,
    RelativePositionBias,
    RotaryEmbedding,
)
from kerasdl.sequence import cached_step, generate, transformer_decoder
from kerasdl.sequence.transformer.cached_decoding import overwrite_rows, run_prompts, run_with_cache, write_rows

PROMPTS = [[3, 5, 6], [7], [2, 9, 9, 4, 1]]
LENGTH, MARGIN = 7, 1e-4


def drawn(model, seed=1):
    """Gives weights that make likeliest tokens stand out."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(weight.numpy() + rng.normal(0, 0.4, weight.shape))
    return model


def slow(*values):
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def built(name):
    return drawn(kerasdl.build(name, **{**kerasdl.spec(name).tiny, "length": None}))


def own(kind):
    """Returns a functional net of a user with one kind of positions."""
    tokens = keras.Input((None,), dtype="int32")
    x, seen = layers.Embedding(30, 16)(tokens), {}
    if kind in ("sinusoidal", "padding"):
        x = PositionalEncoding()(x)
    if kind == "learned":
        x = LearnedPositions(20)(x)
    if kind == "rotary":
        seen = {"rotary": RotaryEmbedding(interleaved=True)}
    if kind == "padding":
        seen = {"key_mask": PaddingMask()(tokens)}
    if kind in ("alibi", "buckets"):
        seen = {"bias": ALiBi(4)(x) if kind == "alibi" else RelativePositionBias(4, 8, 12, bidirectional=False)(x)}
    for block in (1, 2):
        shared = {"shared_heads": 2} if kind == "alibi" else {}
        x = encoder_block(x, 4, hidden=24, causal=True, **seen, **shared, scale=0.7, name=f"block{block}")
    return drawn(keras.Model(tokens, layers.Dense(30)(x), name=kind))


KINDS = ("sinusoidal", "learned", "rotary", "alibi", "buckets", "padding")
NETS = {**{name: lambda name=name: built(name) for name in ("gpt2_small", "llama_7b", "qwen2_0_5b")}}
NETS |= {kind: lambda kind=kind: own(kind) for kind in KINDS}


def logits_of(model, text):
    logits = np.array(model(np.array([text]), training=False))[0, -1]
    if model.name == "padding":
        logits[0] = -np.inf  # what it masks
    return logits


@pytest.mark.parametrize(
    "name", ["gpt2_small", "alibi", "padding", *slow(*sorted(set(NETS) - {"gpt2_small", "alibi", "padding"}))]
)
def test_cached_tokens_are_those_of_computing_everything_again(name):
    """Drawn ones, so that texts are varied; an equal number of the noise chooses an equal token."""
    model, way = NETS[name](), {"temperature": 3.0}
    written = generate(model, PROMPTS, LENGTH, seed=2, **way)
    noise = tf.random.stateless_uniform((LENGTH, len(PROMPTS)), (2, 0), dtype=tf.float64).numpy()
    for row, (prompt, tokens) in enumerate(zip(PROMPTS, written.tolist(), strict=True)):
        for step, token in enumerate(tokens):
            text = [*prompt, *tokens[:step]]
            chosen = kerasdl.ops.sample(logits_of(model, text)[None], noise=noise[step, row : row + 1], **way)
            assert int(chosen[0]) == token
    assert len(set(written.ravel().tolist())) > 5


@pytest.mark.parametrize("name", ["gpt2_small", *slow("llama_7b", "qwen2_0_5b")])
def test_greedy_tokens_are_the_likeliest_wherever_the_two_likeliest_are_apart(name):
    model, told = NETS[name](), 0
    written = generate(model, PROMPTS, LENGTH, temperature=0)
    for prompt, tokens in zip(PROMPTS, written.tolist(), strict=True):
        for step, token in enumerate(tokens):
            logits = logits_of(model, [*prompt, *tokens[:step]])
            second, first = np.argsort(logits)[-2:]
            if logits[first] - logits[second] > MARGIN:
                assert token == first
                told += 1
    assert told > 0.9 * written.size


@pytest.mark.parametrize("name", ["gpt2_small", "alibi"])
def test_rows_of_a_batch_do_not_see_each_other(name):
    model = NETS[name]()
    alone = [generate(model, [prompt], LENGTH, temperature=0)[0] for prompt in PROMPTS]
    np.testing.assert_array_equal(generate(model, PROMPTS, LENGTH, temperature=0), alone)


@pytest.mark.slow
def test_beams_of_a_transformer_find_the_likeliest_text():
    model = built("gpt2_small")
    (written,) = generate(model, PROMPTS[:1], 2, beams=50)
    chances = {}
    one = logarithms(model, PROMPTS[0])
    for first in range(50):
        for second, chance in enumerate(logarithms(model, [*PROMPTS[0], first])):
            chances[first, second] = one[first] + chance
    assert tuple(written) == max(chances, key=chances.get)


def logarithms(model, text):
    logits = np.asarray(model(np.array([text]), training=False), np.float64)[0, -1]
    return logits - np.logaddexp.reduce(logits)


@pytest.mark.parametrize("name", ["llama_7b", "buckets"])
def test_several_tokens_at_once_are_one_after_the_other(name):
    model = NETS[name]()
    text = np.array([[3, 5, 6, 9, 2, 8, 1], [4, 4, 2, 7, 7, 1, 5]], "int32")
    logits, caches = run_prompts(model, text[:, :3])
    np.testing.assert_allclose(logits, model(text[:, :3], training=False), atol=1e-5)
    positions = np.tile(np.arange(3, 7), (2, 1))
    more, rows = run_with_cache(model, text[:, 3:], positions, caches)
    np.testing.assert_allclose(more, model(text, training=False)[:, 3:], atol=1e-5)
    whole = run_prompts(model, text)[1]
    for layer, pair in rows.items():
        for row, cache in zip(pair, whole[layer], strict=True):
            np.testing.assert_allclose(row, cache[:, :, 3:], atol=1e-5)


def test_a_state_may_be_read_twice():
    model = built("gpt2_small")
    decoder = transformer_decoder(model, length=3)
    state = decoder.start(np.array([[5, 3, 2]]), np.array([3]))
    first, after = decoder.step(np.array([2]), state)
    again, _ = decoder.step(np.array([2]), state)
    np.testing.assert_array_equal(first, again)
    branches = [decoder.step(np.array([token]), after)[0][0] for token in (7, 8)]
    for token, logits in zip((7, 8), branches, strict=True):
        np.testing.assert_allclose(logits, model(np.array([[5, 3, 2, token]]), training=False)[0, -1], atol=1e-5)


@pytest.mark.parametrize("write", [write_rows, overwrite_rows])
def test_rows_are_written_at_the_place_of_each_text(write):
    rng = np.random.default_rng(0)
    cache, rows = rng.normal(size=(2, 3, 5, 4)), rng.normal(size=(2, 3, 2, 4))
    expected = cache.copy()
    for text, place in enumerate((1, 3)):
        expected[text, :, place : place + 2] = rows[text]
    given = write(keras.ops.array(cache, "float64"), keras.ops.array(rows, "float64"), keras.ops.array([1, 3], "int32"))
    np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("name", ["gpt2_small", "llama_7b", "alibi"])
def test_a_step_is_a_flat_model_that_goes_through_a_text(name):
    model = NETS[name]()
    step = cached_step(model, places=9)
    assert all(isinstance(each, keras.Layer) and not isinstance(each, keras.Model) for each in step.operations)
    tokens = np.random.default_rng(0).integers(1, 30, (3, 9)).astype("int32")
    caches = {each.name: np.zeros((3, *each.shape[1:]), "float32") for each in step.inputs if "scores" in each.name}
    logits = []
    for place, token in enumerate(tokens.T):
        fed = {"token": token[:, None], "position": np.full(3, place, "int32"), **caches}
        outputs = step(fed, training=False)
        for key, cache in caches.items():
            cache[:, :, place] = outputs[f"{key}_row"][:, :, 0]
        logits.append(outputs["logits"].numpy())
    np.testing.assert_allclose(np.stack(logits, 1), model(tokens, training=False), rtol=1e-5, atol=1e-5)
    assert step.count_params() == model.count_params()


def test_a_step_that_is_saved_loads(tmp_path):
    step = cached_step(NETS["alibi"](), places=9)
    step.save(tmp_path / "step.keras")
    loaded = keras.models.load_model(tmp_path / "step.keras")
    rng = np.random.default_rng(0)
    fed = {each.name: rng.normal(size=(2, *each.shape[1:])).astype("float32") for each in step.inputs}
    fed |= {"token": np.array([[3], [4]]), "position": np.array([2, 7])}
    np.testing.assert_array_equal(loaded(fed)["logits"], step(fed)["logits"])


def test_cached_attention_sees_no_place_behind_the_first_new_one():
    rng = np.random.default_rng(0)
    query, key, value = (rng.normal(size=(2, 2, 4, 3)) for _ in range(3))
    keys, values = rng.normal(size=(2, 4, 6, 3)), rng.normal(size=(2, 4, 6, 3))
    positions, hidden = np.array([[2, 3], [5, 6]]), np.arange(6)[None] >= np.array([[2], [5]])
    spoilt = [np.where(hidden[:, None, :, None], 1e6, each) for each in (keys, values)]
    layer = CachedAttention()
    given = layer([query, key, value, keys, values, positions])
    np.testing.assert_allclose(layer([query, key, value, *spoilt, positions]), given, atol=1e-5)
    for text, filled in enumerate((2, 5)):
        ahead = [
            np.concatenate([each[text, :, :filled], new[text].transpose(1, 0, 2)], 1)
            for each, new in ((keys, key), (values, value))
        ]
        whole = [each.transpose(1, 0, 2)[None] for each in ahead]
        expected = DotProductAttention(causal=True)([query[text : text + 1], *whole])
        np.testing.assert_allclose(given[text], expected[0], atol=1e-5)


def refused(make, width=8):
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, width)(tokens)
    return keras.Model(tokens, layers.Dense(9)(make(x, tokens)), name="net")


CAUSAL = {"causal": True, "name": "attend"}


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda x, _: x, "must have causal DotProductAttention"),
        (lambda x, _: multi_head_attention(x, x, 2, name="both"), "must be causal; got 'both_scores'"),
        (lambda x, _: layers.Conv1D(8, 3, padding="same", name="mixing")(x), "got 'mixing, a Conv1D'"),
        (lambda x, _: layers.LayerNormalization(axis=[1, 2], name="over")(x), "got 'over, a LayerNormalization'"),
        (lambda x, _: layers.Concatenate(axis=1, name="long")([x, x]), "got 'long, a Concatenate'"),
        (lambda x, _: layers.Reshape((-1, 4), name="folded")(x), "got 'folded, a Reshape'"),
        (lambda x, _: LearnedPositions(9, name="told")([x, layers.Identity()(_)]), "got 'told, a LearnedPositions'"),
        (
            lambda x, tokens: multi_head_attention(x, x, 2, key_mask=PaddingMask(1, name="ones")(tokens), **CAUSAL),
            "ones",
        ),
        (lambda x, _: keras.Sequential([keras.Input((6, 8)), layers.Dense(8)], name="inner")(x), "inner, a Sequential"),
    ],
)
def test_nets_that_have_no_cache_are_refused_by_the_layer(make, rule):
    with pytest.raises(ArgumentError, match=rule):
        transformer_decoder(refused(make), 3)


def test_attention_that_is_called_twice_is_refused():
    shared = DotProductAttention(causal=True, name="shared")

    def make(x, _):
        heads = layers.Reshape((-1, 2, 4))
        for _ in range(2):
            x = layers.Reshape((-1, 8))(shared([heads(x)] * 3))
        return x

    with pytest.raises(ArgumentError, match="must be called once; got 'shared'"):
        cached_step(refused(make), 5)


def test_texts_beyond_the_positions_are_refused():
    model = built("gpt2_small")
    with pytest.raises(ArgumentError, match="places must be at most 16"):
        cached_step(model, 17)
    with pytest.raises(ArgumentError, match="at most 16, the positions of 'gpt2'; got 17"):
        generate(model, PROMPTS, 12)
    assert generate(model, PROMPTS, 11).shape == (3, 11)
    for wrong in (lambda: cached_step(model, 0), lambda: transformer_decoder(model, 0)):
        with pytest.raises(ArgumentError, match="must be"):
            wrong()
    pair = [keras.Input((3,)), keras.Input((3,))]
    two = keras.Model(pair, layers.Add()(pair))
    with pytest.raises(ArgumentError, match=r"must take token ids \(B, T\) alone"):
        cached_step(two, 3)


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda q, c: CachedAttention()([q, q, q, c, c]), "inputs must be"),
        (lambda q, c: CachedAttention()([q, q, q, c, c[:, :1], np.zeros((1, 1))]), "caches must have the heads"),
        (lambda q, c: CachedAttention(scale=-1.0), "scale must be"),
        (lambda q, c: CachePositions(0), "places must be"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call, rule):
    with pytest.raises(ArgumentError, match=rule):
        call(np.zeros((1, 1, 2, 4), "float32"), np.zeros((1, 2, 5, 4), "float32"))


def test_bfloat16_caches():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = kerasdl.build("llama_7b", **{**kerasdl.spec("llama_7b").tiny, "length": None})
    step = cached_step(model, 6)
    assert {each.dtype for each in step.inputs if "scores" in each.name} == {"bfloat16"}
    assert step.output["logits"].dtype == "float32"
    written = generate(drawn(model), PROMPTS, 4, temperature=0)
    assert ((written >= 0) & (written < 50)).all()
