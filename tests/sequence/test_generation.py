"""Generation against a host loop that computes the whole text again for each token."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasdl
from kerasdl import ops
from kerasdl.core.errors import ArgumentError
from kerasdl.sequence import Decoder, generate, recurrent_decoder

PROMPTS = [[3, 5, 6], [7], [2, 9, 9, 4, 1]]
SETTINGS = {"length": None, "vocabulary": 12, "units": 8, "depth": 2}


def slow(*values):
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def made(name="gru_language_model"):
    keras.utils.set_random_seed(5)
    model = kerasdl.build(name, **SETTINGS, **({} if name.startswith("tied") else {"embedding": 8}))
    for weight in model.weights:
        weight.assign(2.0 * weight.numpy())  # logits that are far apart
    return model


def next_logits(model, text):
    return model(np.array([text]), training=False)[0, -1].numpy()


def recomputed(model, prompt, length, choose):
    text = list(prompt)
    for step in range(length):
        text.append(choose(step, next_logits(model, text)))
    return text[len(prompt) :]


@pytest.mark.parametrize("name", ["gru_language_model", *slow("lstm_language_model", "tied_lstm_language_model")])
def test_greedy_text_is_that_of_computing_everything_again(name):
    model = made(name)
    written = generate(model, PROMPTS, 9, temperature=0)
    expected = [recomputed(model, prompt, 9, lambda _, logits: int(logits.argmax())) for prompt in PROMPTS]
    assert written.tolist() == expected
    assert len(set(written.ravel())) > 2


@pytest.mark.parametrize("filters", [{"temperature": 1.7, "top_p": 0.8}, *slow({}, {"top_k": 4}, {"min_p": 0.2})])
def test_drawn_text_is_that_of_computing_everything_again(filters):
    model = made()
    written = generate(model, PROMPTS, 7, seed=11, **filters)
    noise = tf.random.stateless_uniform((7, 3), (11, 0), dtype=tf.float64).numpy()
    for row, prompt in enumerate(PROMPTS):

        def choose(step, logits, row=row):
            return int(ops.sample(logits[None], noise=noise[step, row : row + 1], **filters)[0])

        assert written[row].tolist() == recomputed(model, prompt, 7, choose)
    assert (written != generate(model, PROMPTS, 7, seed=12, **filters)).any()
    np.testing.assert_array_equal(written, generate(model, PROMPTS, 7, seed=11, **filters))


@pytest.mark.slow
def test_beams_find_the_likeliest_text_of_a_wide_search():
    """Two steps over twelve tokens, searched whole: 144 texts."""
    model = made()
    written = generate(model, PROMPTS[:1], 2, beams=144)
    chances = {}
    for first in range(12):
        one = next_logits(model, PROMPTS[0])
        two = next_logits(model, [*PROMPTS[0], first])
        for second in range(12):
            total = one[first] - np.logaddexp.reduce(one) + two[second] - np.logaddexp.reduce(two)
            chances[first, second] = total
    assert tuple(written[0]) == max(chances, key=chances.get)


@pytest.mark.slow
def test_nothing_is_written_behind_the_end():
    model = made()
    greedy = generate(model, PROMPTS, 8, temperature=0)
    end = int(greedy[0, 2])
    written = generate(model, PROMPTS, 8, temperature=0, end=end)
    for row, whole in zip(written.tolist(), greedy.tolist(), strict=True):
        stop = whole.index(end) + 1 if end in whole else 8
        assert row == whole[:stop] + [-1] * (8 - stop)
    assert (generate(model, PROMPTS, 8, beams=3, end=end)[0] == end).any()


@pytest.mark.slow
def test_a_function_is_compiled_once_for_prompts_and_seeds():
    model = made()
    traced = []
    decoder = recurrent_decoder(model)

    def step(tokens, state):
        traced.append(1)
        return decoder.step(tokens, state)

    generate(Decoder(decoder.start, step), PROMPTS, 4)
    once = len(traced)
    assert 1 <= once <= 2
    for prompts, seed in (([[1]], 0), ([[1, 2, 3, 4, 5, 6, 7]], 1)):
        generate(model, prompts, 4, seed=seed)
    (compiled,) = model._kept_generators.values()
    assert compiled.experimental_get_tracing_count() == 1


def test_weights_that_are_learnt_later_are_used():
    model = made()
    before = generate(model, PROMPTS, 6, temperature=0)
    head = model.get_layer("head")
    head.set_weights([-each for each in head.get_weights()])
    after = generate(model, PROMPTS, 6, temperature=0)
    assert (before != after).any()


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"prompts": []}, "prompts must be"),
        ({"prompts": [[]]}, "prompts must be"),
        ({"prompts": [[0, 3]], "padding_id": 0}, "padding, 0, behind them alone"),
        ({"prompts": [[3, 0]]}, "end with 0 must come with padding_id"),
        ({"prompts": np.array([[3, 5], [4, 0]])}, "end with 0 must come with padding_id"),
        ({"prompts": [[-1, 3]]}, "padding, -1, behind them alone"),
        ({"prompts": [[-2, 3]]}, "prompts must be token ids, 0 or more"),
        ({"prompts": [[5, 5], [3]], "padding_id": 5}, "prompts must have a token each.*0. of padding"),
        ({"padding_id": -2}, "padding_id must be an integer of -1 or more"),
        ({"padding_id": 0.0}, "padding_id must be an integer"),
        ({"prompts": ["text"]}, "prompts must be"),
        ({"prompts": 3}, "prompts must be"),
        ({"length": 0}, "length must be"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 2**63}, "seed must be"),
        ({"prompts": [[2**32 + 3]]}, r"below 2\*\*31"),
        ({"end": -1}, "end must be an integer of 0 or more"),
        ({"end": 0, "padding_id": 0}, "end must be another token than the padding"),
        ({"end": 12}, "end must be below the number of tokens 12"),
        ({"end": 12, "beams": 2}, "end must be below the number of tokens 12"),
        ({"length_penalty": 1.0}, "length_penalty is for beams"),
        ({"beams": 2, "top_k": 3}, "a beam search draws nothing"),
    ],
)
def test_arguments_that_break_their_rule_are_refused(given, rule):
    with pytest.raises(ArgumentError, match=rule):
        generate(made(), **{"prompts": PROMPTS, "length": 3, **given})


@pytest.mark.parametrize(
    "mixing", [keras.layers.LayerNormalization((1, 2), name="over"), keras.layers.Concatenate(1, name="over")]
)
def test_layers_over_all_tokens_are_refused(mixing):
    tokens = keras.Input((4,), dtype="int32")
    x = keras.layers.GRU(5, return_sequences=True)(keras.layers.Embedding(9, 5)(tokens))
    x = mixing([x, x] if isinstance(mixing, keras.layers.Concatenate) else x)
    with pytest.raises(ArgumentError, match=f"got 'over, a {type(mixing).__name__}'"):
        generate(keras.Model(tokens, keras.layers.Dense(9)(x)), [[3, 5]], 2)


@pytest.mark.parametrize("settings", [{}, *slow({"beams": 2})])
def test_logits_that_are_no_numbers_are_refused(settings):
    model = made()
    model.get_layer("head").set_weights([np.full_like(each, np.nan) for each in model.get_layer("head").get_weights()])
    with pytest.raises(ArgumentError, match="must be finite"):
        generate(model, PROMPTS, 3, **settings)


@pytest.mark.parametrize("name", ["gru_language_model", "gpt2_small"])
def test_each_id_is_a_token_where_none_is_padding(name):
    """The token 0 alone, at the start, inside and at the end of prompts, and among what is written."""
    tiny = {**kerasdl.spec("gpt2_small").tiny, "length": None, "vocabulary": 6}
    model = made(name) if name == "gru_language_model" else kerasdl.build(name, **tiny)
    prompts, way = [[0], [0, 0, 5], [2, 0], [3, 0, 0, 0, 0]], {"temperature": 4.0}
    noise = tf.random.stateless_uniform((8, 4), (2, 0), dtype=tf.float64).numpy()
    written = generate(model, prompts, 8, seed=2, padding_id=-1, **way)
    for row, prompt in enumerate(prompts):

        def choose(step, logits, row=row):
            return int(ops.sample(logits[None], noise=noise[step, row : row + 1], **way)[0])

        assert written[row].tolist() == recomputed(model, prompt, 8, choose)
    assert 0 < (written == 0).sum() < written.size
    padded = [[*prompt, *[-1] * (5 - len(prompt))] for prompt in prompts]
    np.testing.assert_array_equal(generate(model, padded, 8, seed=2, padding_id=-1, **way), written)


@pytest.mark.parametrize("way", [{"temperature": 0}, {"seed": 1, "repetition_penalty": 1.2}, *slow({"beams": 3})])
def test_the_padding_is_that_of_the_call_and_never_written(way):
    """The likeliest token as padding: it stands behind prompts and ends, and another one is written."""
    model = made()
    likeliest = int(generate(model, PROMPTS, 1, temperature=0)[0, 0])
    prompts = [[token for token in prompt if token != likeliest] or [8] for prompt in PROMPTS]
    padded = [[*prompt, *[likeliest] * (6 - len(prompt))] for prompt in prompts]
    written = generate(model, padded, 8, padding_id=likeliest, **way)
    assert (written != likeliest).all()
    np.testing.assert_array_equal(written, generate(model, prompts, 8, padding_id=likeliest, **way))
    end = int(written[0, 2])
    ended = generate(model, prompts, 8, padding_id=likeliest, end=end, **way)
    assert (ended[0, 3:] == likeliest).all() or "beams" in way


class Words:
    """A tokenizer, as far as `generate` reads it."""

    def __init__(self, padding_id):
        self.padding_id = padding_id


def test_the_padding_comes_from_the_tokenizer_or_the_mask_of_the_model():
    model = made()
    free = generate(model, PROMPTS, 40, seed=2, temperature=9.0)
    assert (free == 0).any()
    for padding, tokenizer in ((0, Words(0)), (-1, Words(None))):
        written = generate(model, PROMPTS, 40, seed=2, temperature=9.0, tokenizer=tokenizer)
        assert (written == 0).any() == (padding == -1)
        given = generate(model, PROMPTS, 40, seed=2, temperature=9.0, padding_id=padding)
        np.testing.assert_array_equal(written, given)
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.GRU(5, return_sequences=True)(keras.layers.Embedding(12, 5, mask_zero=True)(tokens))
    masking = keras.Model(tokens, keras.layers.Dense(12)(x))
    with pytest.raises(ArgumentError, match="from it and the state alone"):  # steps have no mask
        generate(masking, [[3, 0], [4, 5]], 40, temperature=9.0)
    with pytest.raises(ArgumentError, match=r"padding_id must be 0, which .* masks"):
        generate(masking, PROMPTS, 3, padding_id=-1)
