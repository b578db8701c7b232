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
    logits = model(np.array([text]), training=False)[0, -1].numpy()
    logits[0] = -np.inf
    return logits


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
    """Two steps over eleven tokens, searched whole: 121 texts."""
    model = made()
    written = generate(model, PROMPTS[:1], 2, beams=121)
    chances = {}
    for first in range(1, 12):
        one = next_logits(model, PROMPTS[0])
        two = next_logits(model, [*PROMPTS[0], first])
        for second in range(1, 12):
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
        assert row == whole[:stop] + [0] * (8 - stop)
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
        ({"prompts": [[0, 3]]}, "with 0 behind"),
        ({"prompts": [[-1, 3]]}, "prompts must be"),
        ({"prompts": ["text"]}, "prompts must be"),
        ({"prompts": 3}, "prompts must be"),
        ({"length": 0}, "length must be"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 2**63}, "seed must be"),
        ({"prompts": [[2**32 + 3]]}, r"below 2\*\*31"),
        ({"end": 0}, "end must be an integer of 1 or more"),
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
