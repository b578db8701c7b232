"""Truncated backpropagation: chunks with a carried state against the whole text, and runs that go on bit for bit."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasdl
from kerasdl.core.errors import ArgumentError
from kerasdl.sequence import TruncatedBackpropagation, token_streams, token_windows
from kerasdl.sequence.rnn.carried_state import run_with_state, zero_state
from kerasdl.train import RunConfig, fit

SETTINGS = {"length": None, "vocabulary": 20, "embedding": 8, "units": 10, "depth": 2, "dropout": 0.0}
TEXT = np.random.default_rng(0).integers(1, 20, 3 * 24 + 5)


def network(cell="lstm", **more):
    keras.utils.set_random_seed(1)
    return kerasdl.build(f"{cell}_language_model", **{**SETTINGS, **more})


def logits_of_chunks(trainer, data, training):
    """Returns the logits (streams, all steps, V) of a pass through the data."""
    chunks = [trainer(inputs, training=training).numpy() for inputs, labels in data.batches()]
    return np.concatenate(chunks, axis=1)


@pytest.mark.parametrize("cell", ["lstm", pytest.param("gru", marks=pytest.mark.slow)])
def test_chunks_that_carry_on_give_the_logits_of_the_whole(cell):
    model = network(cell)
    trainer, data = TruncatedBackpropagation(model, streams=3), token_streams(TEXT, streams=3, length=6)
    whole = model(TEXT[:72].reshape(3, 24)).numpy()
    for training in (True, False, False):  # a second pass begins with zeros again
        np.testing.assert_allclose(logits_of_chunks(trainer, data, training), whole, atol=1e-5)
    alone = np.concatenate([model(inputs["tokens"]).numpy() for inputs, _ in data.batches()], axis=1)
    assert np.abs(alone - whole).max() > 1e-3, "the state carries nothing"


def test_gradients_end_at_the_border_of_a_chunk():
    model = network()
    trainer, data = TruncatedBackpropagation(model, streams=3), token_streams(TEXT, streams=3, length=6)
    (first, _), (second, labels) = list(data.batches())[:2]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def gradients(logits_of):
        with tf.GradientTape() as tape:
            value = loss(labels, logits_of())
        return [tf.convert_to_tensor(each).numpy() for each in tape.gradient(value, model.trainable_weights)]

    def truncated():
        trainer(first, training=True)
        return trainer(second, training=True)

    _, state = run_with_state(model, first["tokens"], zero_state(model, 3))
    state = keras.tree.map_structure(lambda each: tf.constant(each.numpy()), state)
    expected = gradients(lambda: run_with_state(model, second["tokens"], state)[0])
    for one, other in zip(gradients(truncated), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_streams_and_windows_hold_each_label_once():
    data = token_streams(TEXT, streams=3, length=6)
    labels = np.concatenate([labels for _, labels in data.batches()], axis=1)
    np.testing.assert_array_equal(labels.ravel(), TEXT[1:73])
    inputs, labels = token_windows(TEXT, 10).arrays()
    np.testing.assert_array_equal(labels[labels != -1], TEXT[1:])
    for row, nexts in zip(inputs, labels, strict=True):
        known = nexts[:-1] != -1
        np.testing.assert_array_equal(row[1:][known], nexts[:-1][known])
    for wrong in (TEXT[:, None], TEXT.astype("float32"), TEXT[:3]):
        with pytest.raises(ArgumentError, match="tokens must be"):
            token_windows(wrong, 10)
    with pytest.raises(ArgumentError, match="tokens must be above"):
        token_streams(TEXT, streams=20, length=6)


def run_of(folder, stop=99):
    trainer = TruncatedBackpropagation(network("gru", depth=1, dropout=0.3), streams=3)
    data = token_streams(TEXT, streams=3, length=6)
    settings = {"learning_rate": 0.01, "strategy": None, "progress": "off", "folder": folder, "save_every": 3}
    config = RunConfig(epochs=3, seed=2, **settings)
    keras.utils.set_random_seed(3)
    return fit(trainer, data, validation=data, task="language_modeling", callbacks=[StopAt(stop)], config=config)


class StopAt(keras.callbacks.Callback):
    def __init__(self, step):
        super().__init__()
        self.steps = iter(range(1, step))

    def on_train_batch_end(self, batch, logs=None):
        if next(self.steps, None) is None:
            raise ZeroDivisionError


@pytest.mark.slow
def test_a_run_that_broke_off_inside_an_epoch_goes_on_bit_for_bit(tmp_path):
    expected = run_of(tmp_path / "whole")
    with pytest.raises(ZeroDivisionError):
        run_of(tmp_path / "broken", stop=8)  # the fourth step of the second epoch; saved after the sixth step
    resumed = run_of(tmp_path / "broken")
    for one, other in zip(expected.trainer.weights, resumed.trainer.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)
    assert expected.history["val_loss"] == resumed.history["val_loss"]
    assert expected.model is expected.trainer.main


def test_what_would_carry_another_state_is_refused(monkeypatch):
    trainer, data = TruncatedBackpropagation(network(), streams=3), token_streams(TEXT, streams=3, length=6)
    with pytest.raises(ArgumentError, match="inputs of truncated backpropagation"):
        trainer(TEXT[None])
    (inputs, _) = next(iter(data.batches()))
    with monkeypatch.context() as several:
        several.setattr(tf.distribute, "get_strategy", lambda: SimpleNamespace(num_replicas_in_sync=2))
        with pytest.raises(ArgumentError, match="on one replica"):
            trainer(inputs)
    with pytest.raises(tf.errors.InvalidArgumentError, match="3 rows of the streams"):
        trainer({name: value[:2] for name, value in inputs.items()})
    bidirectional = kerasdl.build("bilstm_classifier", **kerasdl.spec("bilstm_classifier").tiny)
    with pytest.raises(ArgumentError, match="compute each token from it and the state alone"):
        TruncatedBackpropagation(bidirectional, streams=3)
