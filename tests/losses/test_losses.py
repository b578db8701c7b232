"""Every public loss against its closed form, and through a save."""

import keras
import numpy as np
import pytest

from kerasdl import losses

LOGITS = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
LABELS = np.array([0, 3, 1, 2, 2], np.int32)


def smoothed_cross_entropy(labels, logits):
    targets = 0.1 / 4 + 0.9 * np.eye(4)[labels]
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return -(targets * log_probabilities).sum(axis=-1).mean()


# loss: how it is made, what NumPy makes of labels and predictions.
CASES = {"SmoothedCrossEntropy": (lambda: losses.SmoothedCrossEntropy(0.1), smoothed_cross_entropy)}


def test_no_public_loss_escapes():
    assert set(CASES) == set(losses.__all__)


@pytest.mark.parametrize("name", sorted(CASES))
def test_loss_is_its_closed_form_and_survives_a_save(name):
    make, formula = CASES[name]
    loss = make()
    assert float(loss(LABELS, LOGITS)) == pytest.approx(formula(LABELS, LOGITS), rel=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert float(again(LABELS, LOGITS)) == float(loss(LABELS, LOGITS))
