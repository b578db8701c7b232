"""Perplexity and bits per token against the mean loss over all real tokens, however they come."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError
from kerasdl.metrics import BitsPerToken, Perplexity

VOCABULARY = 7


def drawn(rows=9, length=6, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(rows, length, VOCABULARY)).astype("float32")
    labels = rng.integers(0, VOCABULARY, (rows, length)).astype("int32")
    labels[np.arange(length) >= rng.integers(1, length + 1, (rows, 1))] = -1
    return labels, logits


def nats(labels, logits):
    """Returns the cross-entropy of every position in float64."""
    logits = logits.astype("float64")
    shifted = logits - logits.max(-1, keepdims=True)
    chances = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return -np.take_along_axis(chances, np.maximum(labels, 0)[..., None], -1)[..., 0]


@pytest.mark.parametrize("cuts", [(9,), (1, 8), (4, 5), (3, 3, 2, 1)])
def test_figures_are_of_all_real_tokens_whatever_the_batches(cuts):
    labels, logits = drawn()
    expected = nats(labels, logits)[labels >= 0].mean()
    perplexity, bits = Perplexity(), BitsPerToken()
    for rows, scores in zip(
        np.split(labels, np.cumsum(cuts)[:-1]), np.split(logits, np.cumsum(cuts)[:-1]), strict=True
    ):
        perplexity.update_state(rows, scores)
        bits.update_state(rows[..., None], scores)
    np.testing.assert_allclose(float(perplexity.result()), np.exp(expected), rtol=1e-6)
    np.testing.assert_allclose(float(bits.result()), expected / np.log(2), rtol=1e-6)
    means = [nats(rows, scores)[rows >= 0].mean() for rows, scores in zip(labels, logits, strict=True)]
    assert abs(np.mean(means) - expected) > 1e-3, "a mean of means would pass"


def test_weights_count_a_sequence_or_a_token():
    labels, logits = drawn()
    rng = np.random.default_rng(1)
    for weights in (rng.uniform(0, 2, 9), rng.uniform(0, 2, labels.shape), rng.integers(0, 2, labels.shape)):
        metric = Perplexity()
        metric.update_state(labels, logits, sample_weight=weights)
        each = np.broadcast_to(weights.reshape(9, -1), labels.shape) * (labels >= 0)
        np.testing.assert_allclose(
            float(metric.result()), np.exp((nats(labels, logits) * each).sum() / each.sum()), rtol=1e-6
        )


def test_replicas_add_their_tokens_up():
    labels, logits = drawn()
    strategy = tf.distribute.MirroredStrategy(
        [f"CPU:{number}" for number in range(len(tf.config.list_logical_devices("CPU")))]
    )
    with strategy.scope():
        metric = Perplexity()

    def own(context):
        part = slice(context.replica_id_in_sync_group, None, strategy.num_replicas_in_sync)
        return tf.constant(labels[part]), tf.constant(logits[part])

    # Replicas of other sizes: each takes every second row, of which there are nine.
    parts = strategy.experimental_distribute_values_from_function(own)
    strategy.run(metric.update_state, args=parts)
    np.testing.assert_allclose(float(metric.result()), np.exp(nats(labels, logits)[labels >= 0].mean()), rtol=1e-6)


def test_probabilities_and_half_precision_are_read_as_they_are():
    labels, logits = drawn()
    metric = Perplexity(from_logits=False)
    metric.update_state(labels, keras.ops.softmax(logits))
    np.testing.assert_allclose(float(metric.result()), np.exp(nats(labels, logits)[labels >= 0].mean()), rtol=1e-5)
    rounded = tf.cast(logits, tf.bfloat16)
    metric = Perplexity()
    metric.update_state(labels, rounded)
    expected = nats(labels, tf.cast(rounded, tf.float32).numpy())[labels >= 0].mean()
    np.testing.assert_allclose(float(metric.result()), np.exp(expected), rtol=1e-6)


def test_ends_of_the_range():
    metric = Perplexity()
    assert np.isnan(metric.result())
    metric.update_state([[-1, -1]], np.zeros((1, 2, 3), "float32"))
    assert np.isnan(metric.result())
    metric.update_state([[2, 0]], np.zeros((1, 2, 3), "float32"))
    np.testing.assert_allclose(float(metric.result()), 3.0, rtol=1e-6)
    for beyond in (3, -2):
        metric.reset_state()
        metric.update_state([[beyond]], np.zeros((1, 1, 3), "float32"))
        assert np.isnan(metric.result())
    everything = Perplexity(ignore_class=None)
    everything.update_state([[-1]], np.zeros((1, 1, 3), "float32"))
    assert np.isnan(everything.result())


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ArgumentError, match="tokens must have the axes"):
        Perplexity().update_state([0, 1], np.zeros((1, 2, 3), "float32"))
    with pytest.raises(ArgumentError, match="weights must fit"):
        Perplexity().update_state([[0, 1]], np.zeros((1, 2, 3), "float32"), np.ones((1, 2, 1)))


@pytest.mark.parametrize("kind", [Perplexity, BitsPerToken])
def test_settings_are_saved(kind):
    metric = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(kind(0, False, "mine")))
    assert (type(metric), metric.ignore_class, metric.from_logits, metric.name) == (kind, 0, False, "mine")
