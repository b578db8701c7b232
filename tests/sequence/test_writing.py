"""Rules, grammars, stops and scores of generation, and speculative decoding, against loops that compute all again."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops as keras_ops

import kerasdl
from kerasdl import ops, sequence
from kerasdl.core.errors import ArgumentError
from kerasdl.sequence import Decoder, continuation_scores, generate, speculative_generate

PROMPTS = [[3, 5, 6], [7], [2, 9, 9, 4, 1]]
V = 12


def made(name="gru_language_model", seed=5, **more):
    keras.utils.set_random_seed(seed)
    if name == "gru_language_model":
        model = kerasdl.build(name, length=None, vocabulary=V, units=8, depth=1, embedding=8)
    else:
        sizes = {"length": None, "positions": 40, "vocabulary": V}
        model = kerasdl.build(name, **{**kerasdl.spec(name).tiny, **sizes, **more})
    for weight in model.weights:
        weight.assign(2.0 * weight.numpy())
    return model


def next_logits(model, text):
    return np.array(model(np.array([text]), training=False))[0, -1]


def recomputed(model, prompt, length, change):
    text = list(prompt)
    for _ in range(length):
        text.append(int(change(next_logits(model, text), text).argmax()))
    return text[len(prompt) :]


def ruled(logits, text):
    logits = np.array(ops.repetition_penalty(logits[None], [text], 1.3, [len(text)]))
    return np.array(ops.no_repeat_ngrams(logits, [text], [len(text)], 2))[0]


@pytest.mark.parametrize("name", ["gru_language_model", pytest.param("gpt2_small", marks=pytest.mark.slow)])
def test_rules_see_the_prompt_and_what_is_written(name):
    model = made(name)
    written = generate(model, PROMPTS, 9, temperature=0, repetition_penalty=1.3, no_repeat_ngram=2)
    assert written.tolist() == [recomputed(model, prompt, 9, ruled) for prompt in PROMPTS]
    assert (written != generate(model, PROMPTS, 9, temperature=0)).any()
    for prompt, row in zip(PROMPTS, written.tolist(), strict=True):
        text = [*prompt, *row]
        written_pairs = [*itertools.pairwise(text)]
        assert len(set(written_pairs[len(prompt) - 1 :])) == len(row)


def test_a_grammar_is_a_table_or_a_function_and_beams_follow_it():
    """Words of one odd token and then one or two even ones."""
    table = np.array([[-1, 1] * 6, [2, -1] * 6, [2, 1] * 6])
    table[2, ::2] = 0
    table[:, 0] = -1

    def allowed(text, counts):
        return keras_ops.arange(V)[None] % 2 == (text[:, :1] * 0 + 1)

    model = made()
    for settings in ({"temperature": 2.0, "seed": 3}, {"beams": 3}):
        for row in generate(model, PROMPTS, 12, allowed=table, **settings):
            state = 0
            for token in row:
                state = table[state, token]
                assert state >= 0
    free = generate(model, PROMPTS, 12, temperature=2.0, seed=3)
    assert (free % 2 == 0).any()
    assert (generate(model, PROMPTS, 12, temperature=2.0, seed=3, allowed=allowed) % 2 == 1).all()


@pytest.mark.parametrize(
    ("allowed", "rule"),
    [
        (np.full((1, V), -1), "a token that the rules allow"),
        (np.full((1, V), 1), "allowed must name states from 0 to 0"),
        (np.zeros((1, V)), "whole numbers"),
        (np.zeros((1, V + 1), int), "a column for each of 12 tokens"),
    ],
)
def test_grammars_that_fit_no_text_are_refused(allowed, rule):
    with pytest.raises(ArgumentError, match=rule):
        generate(made(), PROMPTS, 3, allowed=allowed)


class Letters:
    def decode(self, ids):
        return "".join(chr(96 + token) for token in ids if token > 0)


@pytest.mark.parametrize("name", ["gru_language_model", pytest.param("gpt2_small", marks=pytest.mark.slow)])
def test_a_watched_text_is_the_same(name):
    model, heard = made(name), []
    expected = generate(model, PROMPTS, 9, seed=4)
    np.testing.assert_array_equal(generate(model, PROMPTS, 9, seed=4, on_tokens=heard.append), expected)
    np.testing.assert_array_equal(np.stack(heard, 1), expected)
    texts = [Letters().decode(row) for row in expected]
    stop = texts[0][2:4]
    written = generate(model, PROMPTS, 9, seed=4, stop=[stop, "none such"], tokenizer=Letters())
    for row, text in zip(written, texts, strict=True):
        end = text.find(stop)
        assert Letters().decode(row) == (text if end < 0 else text[: end + 2])


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"stop": "ab", "tokenizer": Letters()}, "stop must be a list"),
        ({"stop": ["ab"]}, "stop must come with a tokenizer"),
        ({"beams": 2, "on_tokens": print}, "stop and on_tokens are for single texts"),
        ({"beams": 2, "typical_p": 0.5}, "a beam search draws nothing"),
        ({"repetition_penalty": 0.1}, "penalty must be"),
        ({"no_repeat_ngram": 0}, "size must be"),
        ({"typical_p": 2.0}, "typical_p must be"),
    ],
)
def test_arguments_that_break_their_rule_are_refused(given, rule):
    with pytest.raises(ArgumentError, match=rule):
        generate(made(), PROMPTS, 3, **given)


@pytest.mark.parametrize("name", ["gru_language_model", "gpt2_small"])
def test_tokens_that_a_model_has_not_are_refused(name):
    model = made(name)
    for given in (lambda: generate(model, [[3, V]], 3), lambda: continuation_scores(model, [[V]], [[1]])):
        with pytest.raises(ArgumentError, match="prompts must be token ids from 0 to 11"):
            given()
    with pytest.raises(ArgumentError, match="continuations must be token ids from 0 to 11"):
        continuation_scores(model, [[3]], [[V]])


def test_another_precision_is_compiled_anew():
    model = made()
    for kind in ("float32", "bfloat16", "float32"):  # as inside fit in mixed precision, and behind it
        model.get_layer("head").dtype_policy = kind
        generate(model, PROMPTS, 2, temperature=0)
    assert [precision[-1] for *_, precision in model._kept_generators] == ["float32", "bfloat16"]


@pytest.mark.parametrize(("name", "targets"), [("gru_language_model", "head"), ("gpt2_small", "block1_mlp_expand")])
def test_adapters_are_merged_before_a_model_writes(name, targets):
    tuned = sequence.lora(made(name), 2, targets=targets)
    with pytest.raises(ArgumentError, match=rf"{targets}, a AdaptedWeights.*merge_lora"):
        generate(tuned, PROMPTS, 3)


@pytest.mark.parametrize("name", ["gru_language_model", pytest.param("gpt2_small", marks=pytest.mark.slow)])
def test_scores_are_the_logarithms_of_a_whole_pass(name):
    model = made(name)
    written = generate(model, PROMPTS, 6, seed=1, end=4)
    scores = continuation_scores(model, PROMPTS, written, padding_id=-1)
    for prompt, row, given in zip(PROMPTS, written, scores, strict=True):
        text = list(prompt)
        for token, score in zip(row, given, strict=True):
            if token == -1:
                assert score == 0
                continue
            logits = next_logits(model, text)
            np.testing.assert_allclose(score, logits[token] - np.logaddexp.reduce(logits), atol=1e-4)
            text.append(int(token))
    best = generate(model, PROMPTS, 4, beams=30)
    drawn = [generate(model, PROMPTS, 4, seed=seed) for seed in range(3)]
    sums = [continuation_scores(model, PROMPTS, each, padding_id=-1).sum(1) for each in (best, *drawn)]
    assert (sums[0] >= np.max(sums[1:], axis=0) - 1e-4).all()


@pytest.mark.parametrize(
    ("texts", "rule"),
    [
        ([[1, 2]], "one row a prompt"),
        ([[1.0], [1.0], [1.0]], "must be token ids"),
        ([[1, -1, 2], [1, 1, 1], [1, 1, 1]], "padding, -1, behind them alone"),
        ([[-2], [1], [1]], "ids, 0 or more"),
        ([[1, 0], [1, 1], [1, 1]], "continuations that end with 0 must come with padding_id"),
    ],
)
def test_continuations_that_do_not_fit_are_refused(texts, rule):
    with pytest.raises(ArgumentError, match=rule):
        continuation_scores(made(), PROMPTS, texts)


def test_a_decoder_of_two_functions_is_scored_too():
    step = Decoder(lambda prompts, counts: (), lambda tokens, state: (keras_ops.one_hot(tokens, 5), state))
    for padding, others in ((None, 4), (0, 3)):  # without padding, 0 is a token as the others are
        (scores,) = continuation_scores(step, [[3]], [[3, 1]], padding_id=padding)
        whole = np.log(others + np.e)
        np.testing.assert_allclose(scores, [1 - whole, -whole], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [1, pytest.param(4, marks=pytest.mark.bars)])
def test_speculative_tokens_are_those_of_plain_greedy(ahead):
    model, draft = made("gpt2_small"), made("gpt2_small", 9, depth=1)
    expected = generate(model, PROMPTS, 14, temperature=0)
    found = speculative_generate(model, draft, PROMPTS, 14, ahead=ahead)
    np.testing.assert_array_equal(found.tokens, expected)
    itself = speculative_generate(model, model, PROMPTS, 14, ahead=ahead)
    np.testing.assert_array_equal(itself.tokens, expected)
    assert itself.passes == -(-14 // (ahead + 1)) <= found.passes <= 14
    end = int(expected[0, 5])
    ended = speculative_generate(model, draft, PROMPTS, 14, ahead=ahead, end=end).tokens
    np.testing.assert_array_equal(ended, generate(model, PROMPTS, 14, temperature=0, end=end))


def test_models_that_cannot_speculate_are_refused():
    model = made("gpt2_small")
    for draft, given, rule in (
        (made("gpt2_small", vocabulary=9), {}, "must have the same tokens"),
        (made(), {}, "gru1, a GRU"),
        (model, {"ahead": 0}, "ahead must be"),
        (model, {"end": 0, "padding_id": 0}, "end must be"),
        (model, {"end": V}, "end must be below the number of tokens 12"),
    ):
        with pytest.raises(ArgumentError, match=rule):
            speculative_generate(model, draft, PROMPTS, 3, **given)
    with pytest.raises(ArgumentError, match="prompts must be token ids from 0 to 11"):
        speculative_generate(model, model, [[V]], 3)
    with pytest.raises(ArgumentError, match="at most 40, the positions"):
        speculative_generate(model, model, PROMPTS, 36)
    model.get_layer("norm").gamma.assign(np.full(16, np.nan))
    with pytest.raises(ArgumentError, match="logits of a model that writes must be finite"):
        speculative_generate(model, model, PROMPTS, 3)


@pytest.mark.parametrize("name", ["gru_language_model", pytest.param("gpt2_small", marks=pytest.mark.slow)])
def test_scores_of_texts_are_the_sums_of_their_tokens(name):
    model = made(name)
    for way in ({"temperature": 1.4, "top_k": 5}, {"beams": 4}, {"beams": 4, "length_penalty": 0.6}):
        tokens, scores = generate(model, PROMPTS, 6, end=4, return_scores=True, **way)
        plain = generate(model, PROMPTS, 6, end=4, **way)
        np.testing.assert_array_equal(tokens[:, 0] if "beams" in way else tokens, plain)
        counts = (plain != -1).sum(1)
        sums = continuation_scores(model, PROMPTS, plain, padding_id=-1).sum(1)
        expected = sums / ((5 + counts) / 6) ** way.get("length_penalty", 0.0)
        np.testing.assert_allclose(scores[:, 0] if "beams" in way else scores, expected, atol=1e-4)
        assert tokens.shape == ((3, 4, 6) if "beams" in way else (3, 6))
        assert (np.diff(scores, axis=-1) <= 0).all() or "beams" not in way


def test_groups_of_beams_write_texts_that_differ():
    model = made()
    settings = {"beams": 4, "groups": 4, "return_scores": True}
    alike, unlike = (generate(model, PROMPTS, 6, diversity=price, **settings).tokens for price in (0.0, 5.0))
    for row, other in zip(alike, unlike, strict=True):
        assert len(np.unique(row, axis=0)) == 1
        assert len(np.unique(other[:, 0])) == 4
    for given, rule in (
        ({"groups": 2}, "groups is for beams"),
        ({"diversity": 1.0}, "diversity is for beams"),
        ({"beams": 3, "groups": 2}, "groups must divide the width 3"),
        ({"return_scores": True, "on_tokens": print}, "single texts without scores"),
    ):
        with pytest.raises(ArgumentError, match=rule):
            generate(model, PROMPTS, 3, **given)
