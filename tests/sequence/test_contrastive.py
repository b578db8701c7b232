"""Contrastive search against a host loop that computes the whole text again for each candidate."""

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.core.errors import ArgumentError
from kerasdl.sequence import Decoder, contrastive_generate, generate

PROMPTS, V = [[3, 0, 6], [7], [2, 9, 9, 4, 1]], 12


def made(name):
    keras.utils.set_random_seed(5)
    if name == "gru_language_model":
        model = kerasdl.build(name, length=None, vocabulary=V, units=8, depth=1, embedding=8)
    else:
        sizes = (
            {"length": None, "positions": 40, "vocabulary": V, "depth": 1}
            if name == "gpt2_small"
            else {"vocabulary": V}
        )
        model = kerasdl.build(name, **{**kerasdl.spec(name).tiny, "length": None, **sizes})
    rng = np.random.default_rng(4)
    for weight in model.weights:
        weight.assign(weight.numpy() + rng.normal(0, 0.3, weight.shape))
    return model


def recomputed(model, prompt, length, top_k, alpha):
    """Equation 5 in float64, over whole passes."""
    last = {"gru_language_model": "head", "gpt2": None}.get(model.name)
    layer = model.get_layer("norm" if model.name in ("gpt2", "llama") else [each.name for each in model.layers][-2])
    both = keras.Model(model.input, [layer.output, model.output])
    assert last is None or model.layers[-1].name == last
    text = list(prompt)
    for _ in range(length):
        logits = np.asarray(both(np.array([text]), training=False)[1], np.float64)[0, -1]
        chances = np.exp(logits - np.logaddexp.reduce(logits))
        values = {}
        for token in np.argsort(-chances, kind="stable")[:top_k]:
            vectors = np.asarray(both(np.array([[*text, token]]), training=False)[0], np.float64)[0]
            units = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
            values[int(token)] = (1 - alpha) * chances[token] - alpha * (units[:-1] @ units[-1]).max()
        text.append(max(values, key=values.get))
    return text[len(prompt) :]


@pytest.mark.parametrize("name", ["gru_language_model", "gpt2_small", pytest.param("llama_7b", marks=pytest.mark.slow)])
def test_tokens_are_those_of_the_equation(name):
    model = made(name)
    written = contrastive_generate(model, PROMPTS, 6, top_k=4, alpha=0.6, padding_id=-1)
    assert written.tolist() == [recomputed(model, prompt, 6, 4, 0.6) for prompt in PROMPTS]
    greedy = generate(model, PROMPTS, 6, temperature=0, padding_id=-1)
    assert (written != greedy).any()
    np.testing.assert_array_equal(contrastive_generate(model, PROMPTS, 6, alpha=0.0, padding_id=-1), greedy)


def test_ends_and_paddings():
    model = made("gru_language_model")
    whole = contrastive_generate(model, PROMPTS, 8, padding_id=-1)
    end = int(whole[0, 2])
    ended = contrastive_generate(model, PROMPTS, 8, padding_id=-1, end=end)
    for row, text in zip(ended.tolist(), whole.tolist(), strict=True):
        stop = text.index(end) + 1 if end in text else 8
        assert row == text[:stop] + [-1] * (8 - stop)
    padding = int(whole[1, 0])
    assert (
        contrastive_generate(model, [[p for p in row if p != padding] for row in PROMPTS], 8, padding_id=padding)
        != padding
    ).all()


def test_arguments_that_break_their_rule_are_refused():
    model = made("gru_language_model")
    decoder = Decoder(lambda prompts, counts: (), lambda tokens, state: (tokens, state))
    for given, rule in (
        ({"top_k": 0}, "top_k must be"),
        ({"top_k": V + 1}, "top_k must be at most the number of tokens 12"),
        ({"alpha": 1.5}, "alpha must be"),
        ({"length": 0}, "length must be"),
        ({"end": V}, "end must be below the number of tokens 12"),
        ({"model": decoder}, "must have a model"),
        ({"prompts": [[V]]}, "prompts must be token ids from 0 to 11"),
    ):
        with pytest.raises(ArgumentError, match=rule):
            contrastive_generate(**{"model": model, "prompts": PROMPTS, "length": 3, **given})
    model.layers[-1].set_weights([np.full_like(each, np.nan) for each in model.layers[-1].get_weights()])
    with pytest.raises(ArgumentError, match="must be finite"):
        contrastive_generate(model, PROMPTS, 3)
