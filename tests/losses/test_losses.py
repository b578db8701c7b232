"""Every public loss against its closed form, and through a save."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl import losses

LOGITS = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
LABELS = np.array([0, 3, 1, 2, 2], np.int32)


def smoothed_cross_entropy(labels, logits):
    targets = 0.1 / 4 + 0.9 * np.eye(4)[labels]
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return -(targets * log_probabilities).sum(axis=-1).mean()


def focal(labels, logits):
    p = (np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True))[np.arange(len(labels)), labels]
    return (-((1 - p) ** 2) * np.log(p)).mean()


# loss: how it is made, what NumPy makes of labels and predictions.
CASES = {
    "Focal": (lambda: losses.Focal(2.0), focal),
    "SmoothedCrossEntropy": (lambda: losses.SmoothedCrossEntropy(0.1), smoothed_cross_entropy),
}


def test_no_public_loss_escapes():
    assert set(CASES) == set(losses.__all__)


@pytest.mark.parametrize("name", sorted(CASES))
def test_loss_is_its_closed_form_and_survives_a_save(name):
    make, formula = CASES[name]
    loss = make()
    assert float(loss(LABELS, LOGITS)) == pytest.approx(formula(LABELS, LOGITS), rel=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert float(again(LABELS, LOGITS)) == float(loss(LABELS, LOGITS))


def test_a_focal_loss_without_focus_is_cross_entropy():
    plain = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert float(losses.Focal(0.0)(LABELS, LOGITS)) == pytest.approx(float(plain(LABELS, LOGITS)), rel=1e-6)
    sure = np.eye(4, dtype="float32")[LABELS] * 30
    assert float(losses.Focal()(LABELS, sure)) < 1e-8


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_has_a_slope_where_the_answer_is_sure(gamma):
    logits, loss = tf.constant([[40.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), losses.Focal(gamma)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = loss(np.array([0, 0]), logits)
    slopes = tape.gradient(total, logits).numpy()
    assert np.isfinite(slopes).all()
    assert np.abs(slopes[0]).max() < 1e-6 < np.abs(slopes[1]).max()
