"""NoisyDense: means without training, factorised noise with it, deviations learn, files keep all."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError
from kerasdl.layers import NoisyDense


def test_noise_is_of_rank_one_and_of_the_stated_size():
    layer = NoisyDense(400, deviation=0.5, seed=1)
    identity = np.eye(300, dtype="float32")
    mean = layer(identity)
    layer.bias_deviation.assign(np.zeros(400))
    noise = np.asarray(layer(identity, training=True) - mean)
    values = np.linalg.svd(noise, compute_uv=False)
    assert values[1] < 1e-4 * values[0]
    # f(x)^2 = |x| has the mean sqrt(2 / pi), and rows and columns are independent
    assert noise.std() / (0.5 / np.sqrt(300)) == pytest.approx(np.sqrt(2 / np.pi), abs=0.1)


def test_means_act_without_training_and_deviations_learn_with_it():
    layer = NoisyDense(3, seed=0)
    x = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    np.testing.assert_allclose(layer(x), x @ layer.kernel.numpy() + layer.bias.numpy(), rtol=1e-5)
    first, second = layer(x, training=True), layer(x, training=True)
    assert not np.allclose(first, second)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(layer(x, training=True)))
    gradients = tape.gradient(loss, layer.trainable_variables)
    assert len(gradients) == 4
    assert all(np.abs(each).sum() > 0 for each in gradients)


def test_files_and_refusals(tmp_path):
    inputs = keras.Input((5,))
    model = keras.Model(inputs, NoisyDense(2, deviation=0.3, name="head")(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = np.ones((2, 5), "float32")
    np.testing.assert_array_equal(model(x), loaded(x))
    assert loaded.get_layer("head").deviation == 0.3
    with pytest.raises(ArgumentError, match="units"):
        NoisyDense(0)
