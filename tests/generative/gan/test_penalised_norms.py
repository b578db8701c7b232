"""Norms that a gradient penalty cannot pass, deviations of a batch in float16, and own losses of networks."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError
from kerasdl.generative import ReconstructionTrainer
from kerasdl.generative.gan.trainer import refuse_moments
from kerasdl.layers import BatchDeviation


@pytest.mark.parametrize("norm", ["BatchNormalization", "GroupNormalization", "LayerNormalization"])
def test_norms_of_wrong_second_derivatives_are_refused(norm):
    layer = getattr(keras.layers, norm)(**({"groups": 2} if norm == "GroupNormalization" else {}))
    with pytest.raises(ArgumentError, match="without batch, group, instance or layer norms"):
        refuse_moments(keras.Sequential([keras.Input((4,)), layer]))


def test_the_deviation_of_equal_examples_has_a_finite_gradient_in_float16():
    x = tf.ones((2, 1, 1, 2), "float16")
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = BatchDeviation(dtype="mixed_float16")(x, training=True)
    assert np.isfinite(tape.gradient(y, x).numpy()).all()


def test_regularizers_are_divided_among_replicas(monkeypatch):
    image = keras.Input((2,))
    code = keras.layers.Dense(2, kernel_regularizer=keras.regularizers.L2(1.0), name="code")(image)
    trainer = ReconstructionTrainer(keras.Model(image, keras.layers.Dense(2)(code)))
    x = tf.ones((1, 2))
    y = {"output": tf.zeros((1, 2))}
    whole = float(trainer.compute_loss(x, y_pred=y))
    assert whole > 1.0  # the error is 1

    class Two:
        num_replicas_in_sync = 2

    monkeypatch.setattr(tf.distribute, "get_strategy", Two)
    assert float(trainer.compute_loss(x, y_pred=y)) == pytest.approx(whole / 2, rel=1e-5)
