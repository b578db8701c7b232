"""Recurrent language models: counts by the cells' equations, causality, and a loss that padding does not change."""

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.core import get_task
from kerasdl.core.errors import ArgumentError
from kerasdl.train import RunConfig, fit

V, D, U = 10_000, 650, 650
LSTM, GRU = 4 * ((D + U) * U + U), 3 * ((D + U) * U + 2 * U)
COUNTS = {
    "lstm_language_model": V * D + 2 * LSTM + U * V + V,
    "gru_language_model": V * D + 2 * GRU + U * V + V,
    "tied_lstm_language_model": V * D + 2 * LSTM,
}


@pytest.mark.parametrize("name", COUNTS)
def test_count_is_the_sum_of_the_equations(name):
    assert kerasdl.spec(name).params == COUNTS[name]


@pytest.mark.parametrize("name", COUNTS)
def test_what_comes_later_changes_no_logits_before(name, tiny):
    model = tiny(name)
    tokens = np.random.default_rng(0).integers(1, 50, (2, 8)).astype("int32")
    changed = tokens.copy()
    changed[:, 5:] = [[0, 0, 0], [9, 8, 7]]
    before, after = (np.asarray(model(each, training=False)) for each in (tokens, changed))
    np.testing.assert_allclose(after[:, :5], before[:, :5], atol=1e-6)
    assert np.abs(after[:, 5:] - before[:, 5:]).max() > 1e-3


def test_tied_logits_are_products_with_the_embedding(tiny):
    model = tiny("tied_lstm_language_model")
    tokens = np.array([[3, 4, 5, 6, 7, 8, 9, 1]], "int32")
    inner = keras.Model(model.input, model.get_layer("head_drop").output)
    matrix = model.get_layer("embedding").embeddings.numpy()
    np.testing.assert_allclose(model(tokens), inner(tokens).numpy() @ matrix.T, atol=1e-5)


def test_loss_and_figures_are_of_real_tokens(tiny):
    task, model = get_task("language_modeling"), tiny("gru_language_model")
    tokens, labels = task.example(model, 6, 0)
    assert ((labels == -1).sum(1) > 0).any()
    loss = float(task.loss()(labels, model(tokens, training=False)))
    for metric, expected in zip(task.metrics(), (np.exp(loss), loss / np.log(2)), strict=True):
        metric.update_state(labels, model(tokens, training=False))
        np.testing.assert_allclose(float(metric.result()), expected, rtol=1e-5)
    wider = np.pad(labels, [(0, 0), (0, 3)], constant_values=-1), np.pad(tokens, [(0, 0), (0, 3)])
    free = kerasdl.build("gru_language_model", **{**kerasdl.spec("gru_language_model").tiny, "length": None})
    free.set_weights(model.get_weights())
    np.testing.assert_allclose(float(task.loss()(wider[0], free(wider[1], training=False))), loss, rtol=1e-5)


@pytest.mark.slow
def test_a_pattern_is_learnt():
    """A cycle of five tokens: a net that knows the law needs no bits, one that guesses log2(5)."""
    text = np.tile([1, 2, 3, 4, 5], 80)
    data = kerasdl.sequence.token_windows(text, 10)
    model = kerasdl.build("gru_language_model", length=10, vocabulary=6, embedding=8, units=16, depth=1, dropout=0.0)
    config = RunConfig(epochs=15, batch_size=8, learning_rate=0.03, progress="off", strategy=None)
    run = fit(model, data, validation=data, task="language_modeling", config=config)
    assert run.history["val_bits_per_token"][-1] < 0.1
    np.testing.assert_allclose(run.history["val_perplexity"][-1], 2 ** run.history["val_bits_per_token"][-1], rtol=1e-4)


def test_a_bundle_names_the_next_token(tiny):
    model = tiny("lstm_language_model")
    task, settings = get_task("language_modeling"), {"length": 8}
    task.check(settings, (), model)
    inputs, context = task.preprocess([[3, 4], list(range(1, 12))], settings)
    assert inputs.tolist() == [[3, 4, 0, 0, 0, 0, 0, 0], list(range(4, 12))]
    scores = np.asarray(keras.ops.softmax(model(inputs, training=False)))
    results = task.decode(scores, (), context)
    assert results[0]["label"] == str(scores[0, 1].argmax())
    assert results[1]["score"] == pytest.approx(scores[1, 7].max())
    for raw in ([[]], ["text"], [[0.5]]):
        with pytest.raises(ArgumentError, match="raw must be"):
            task.preprocess(raw, settings)
    with pytest.raises(ArgumentError, match="length must fit"):
        task.check({"length": 9}, (), model)


def test_a_bundle_with_a_tokenizer_takes_texts(tiny):
    model, tokenizer = tiny("lstm_language_model"), kerasdl.sequence.train_tokenizer(["abc", "cab"], "char", 7)
    settings = {"length": 8, "tokenizer": tokenizer.to_text()}
    bundle = kerasdl.Bundle.of(model, name="letters", task="language_modeling", preprocess=settings)
    texts = ["abc", "bacabacabac"]  # the second is longer than the window
    found = bundle.predict(texts)
    ids = [tokenizer.encode(each, special_tokens=False) for each in texts]
    for answer, other in zip(found, bundle.predict(ids), strict=True):
        assert answer == other
    (row,) = np.asarray(model(np.array([ids[0] + [0] * 5]), training=False))
    best = int(row[2].argmax())
    assert found[0]["label"] == (tokenizer.token_of(best) or str(best))
    (alone,) = bundle.predict("abc")
    assert alone["scores"] == pytest.approx(found[0]["scores"], rel=1e-5)
    for wrong in ([""], ["abc", []]):
        with pytest.raises(ArgumentError, match="raw must be lists of token ids"):
            bundle.predict(wrong)
    with pytest.raises(kerasdl.BundleError, match="tokenizer must be the text"):
        kerasdl.Bundle.of(model, name="letters", task="language_modeling", preprocess={**settings, "tokenizer": "{}"})
