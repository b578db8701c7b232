"""Layers of codes: draws by their moments, moving averages by hand, restarts, saves, and refused arguments."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core import ArgumentError
from kerasdl.layers import FiniteScalarQuantizer, GaussianSample, VectorQuantizer


def test_draws_have_the_mean_and_the_variance_in_training_alone():
    mean = tf.fill((20_000, 2), 3.0)
    log_variance = tf.fill((20_000, 2), float(np.log(0.25)))
    layer = GaussianSample(seed=1)
    assert np.array_equal(layer([mean, log_variance]), mean)
    drawn = layer([mean, log_variance], training=True).numpy()
    assert drawn.mean() == pytest.approx(3, abs=0.02)
    assert drawn.std() == pytest.approx(0.5, abs=0.01)
    assert not np.array_equal(drawn, layer([mean, log_variance], training=True))
    with pytest.raises(ArgumentError, match="one shape"):
        GaussianSample()([mean, log_variance[:, :1]])


def test_a_draw_hands_gradients_to_both():
    mean, log_variance = tf.Variable([[0.5]]), tf.Variable([[0.0]])
    with tf.GradientTape() as tape:
        drawn = GaussianSample(seed=0)([mean, log_variance], training=True)
    gradients = tape.gradient(drawn, [mean, log_variance])
    assert gradients[0].numpy().item() == 1
    assert gradients[1].numpy().item() == pytest.approx(0.5 * (drawn.numpy().item() - 0.5), rel=1e-5)


def test_entries_follow_the_means_of_their_vectors():
    layer = VectorQuantizer(2, decay=0.5, restart=0.0)
    layer.build((None, 1))
    layer.codebook.assign([[0.0], [10.0]])
    x = np.array([[1.0], [3.0], [9.0]], "float32")
    assert layer.indices(x).numpy().tolist() == [0, 0, 1]
    assert layer(x).numpy().ravel().tolist() == [0, 0, 10]
    assert layer.uses.numpy().tolist() == [1, 1]  # nothing is learnt outside of training
    with tf.GradientTape() as tape:
        inputs = tf.constant(x)
        tape.watch(inputs)
        total = tf.reduce_sum(layer(inputs, training=True) * [[2.0], [3.0], [4.0]])
    assert tape.gradient(total, inputs).numpy().ravel().tolist() == [2, 3, 4]
    np.testing.assert_allclose(layer.uses, [0.5 * 1 + 0.5 * 2, 0.5 * 1 + 0.5 * 1])
    np.testing.assert_allclose(layer.codebook, [[0.5 * 4 / 1.5], [0.5 * 10 + 0.5 * 9]])


def test_dead_entries_move_to_vectors_of_the_batch_if_asked():
    x = np.random.default_rng(0).normal(20, 0.1, (64, 3)).astype("float32")
    used = {}
    for restart in (0.0, 0.1):
        layer = VectorQuantizer(8, decay=0.5, restart=restart, seed=0)
        for _ in range(12):
            layer(x, training=True)
        used[restart] = len(set(layer.indices(x).numpy().tolist()))
    assert used[0.0] == 1
    assert used[0.1] >= 6
    assert np.isfinite(layer.codebook.numpy()).all()


@pytest.mark.parametrize("make", [lambda: VectorQuantizer(4, seed=0), lambda: FiniteScalarQuantizer((3, 4))])
def test_indices_name_entries_and_a_save_keeps_them(make, tmp_path):
    entry = keras.Input((5, 2))
    model = keras.Model(entry, make()(entry))
    x = np.random.default_rng(0).normal(size=(3, 5, 2)).astype("float32")
    layer = model.layers[1]
    np.testing.assert_allclose(layer.entries(layer.indices(x)), model(x), atol=1e-6)
    assert layer.indices(x).numpy().max() < layer.codes
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))


def test_wrong_arguments_are_refused():
    for make in (
        lambda: VectorQuantizer(1),
        lambda: VectorQuantizer(4, decay=1.0),
        lambda: VectorQuantizer(4, restart=-1),
        lambda: FiniteScalarQuantizer(()),
        lambda: FiniteScalarQuantizer((3, 1)),
    ):
        with pytest.raises(ArgumentError):
            make()
    with pytest.raises(ArgumentError, match="channels"):
        FiniteScalarQuantizer((3, 3))(np.zeros((1, 3), "float32"))


def test_entries_stay_float32_where_layers_compute_in_16_bits():
    layer = VectorQuantizer(4, seed=0, dtype="mixed_bfloat16")
    x = np.random.default_rng(0).normal(size=(6, 2)).astype("float32")
    found = layer(x, training=True)
    assert found.dtype == "bfloat16"
    assert layer.codebook.dtype == "float32"
    assert np.isfinite(layer.codebook.numpy()).all()
