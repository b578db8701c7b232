"""Losses of embeddings where they go wrong: equal vectors, lone examples, parts of a batch, and in training."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from pair_oracles import CLASSES, DOCUMENTS, VECTORS

from kerasdl import losses
from kerasdl.core import ArgumentError
from kerasdl.train import RunConfig, fit

EVERY = (losses.Triplet, losses.Contrastive, losses.NTXent)


@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize(
    "vectors",
    [np.zeros((4, 3)), np.ones((4, 3)), 1e6 * np.eye(4, 3), np.eye(4, 3)[:1]],
    ids=["zeros", "equal", "far", "one"],
)
def test_values_and_gradients_are_finite(make, vectors):
    x = tf.constant(vectors, "float32")
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = make()(np.array([0, 0, 1, 2])[: len(vectors)], x)
    assert np.isfinite(value)
    assert np.isfinite(tape.gradient(value, x)).all()


def test_lone_examples_and_those_of_a_single_class_count_nothing():
    assert float(losses.Triplet()(np.zeros(6), VECTORS)) == 0.0
    for make in (losses.Triplet, losses.NTXent):
        assert float(make()(np.arange(6), VECTORS)) == 0.0


def test_two_views_are_the_pairs_of_simclr():
    views = np.random.default_rng(5).normal(size=(8, 4)).astype("float32")
    units = views / np.linalg.norm(views, axis=1, keepdims=True)
    logits = units @ units.T / 0.1
    np.fill_diagonal(logits, -np.inf)
    partner = np.roll(np.arange(8), 4)
    wanted = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(8), partner])
    assert float(losses.NTXent(0.1)(np.tile(np.arange(4), 2), views)) == pytest.approx(wanted, rel=1e-5)


def test_the_soft_margin_and_both_directions():
    soft = losses.Triplet(None, reduction="none")(CLASSES, VECTORS).numpy()
    hard = losses.Triplet(0.0, reduction="none")(CLASSES, VECTORS).numpy()
    assert (soft[hard > 0] > hard[hard > 0]).all()
    numbers = np.arange(6)
    turned = DOCUMENTS[:, ::-1]
    both = float(losses.InfoNCE(0.5, symmetric=True)(numbers, DOCUMENTS))
    ways = [float(losses.InfoNCE(0.5)(numbers, each)) for each in (DOCUMENTS, turned)]
    assert both == pytest.approx(np.mean(ways), rel=1e-5)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ArgumentError, match=r"triplet takes embeddings \(B, D\)"):
        losses.Triplet()(CLASSES, DOCUMENTS)
    with pytest.raises(ArgumentError, match=r"pairs of a query and its document \(B, 2, D\)"):
        losses.InfoNCE()(CLASSES, VECTORS)
    with pytest.raises(ArgumentError, match="temperature"):
        losses.NTXent(0.0)


@pytest.mark.parametrize("make", EVERY)
def test_embeddings_of_classes_separate(make):
    rng = np.random.default_rng(0)
    classes = np.arange(120) % 4
    x = rng.normal(size=(120, 6)).astype("float32")
    x[:, :2] += 1.2 * np.eye(4, 2)[classes].astype("float32") - 1.2 * np.eye(4)[classes][:, 2:4]
    keras.utils.set_random_seed(0)
    row = keras.Input((6,))
    model = keras.Model(row, keras.layers.Dense(3)(keras.layers.Dense(16, "relu")(row)))

    def right():
        """Returns the share of examples whose nearest other one is of their class."""
        vectors = model.predict(x, verbose=0)
        far = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1) + 1e9 * np.eye(len(x))
        return (classes[far.argmin(axis=1)] == classes).mean()

    before = right()
    config = RunConfig(epochs=15, batch_size=40, learning_rate=1e-2, progress="off", strategy=None)
    run = fit(model, (x, classes), loss=make(), metrics=[], config=config)
    assert run.history["loss"][-1] < run.history["loss"][0]
    assert right() > before + 0.03


def test_a_batch_in_parts_is_refused():
    row = keras.Input((3,))
    model = keras.Model(row, keras.layers.Dense(2)(row))
    config = RunConfig(epochs=1, batch_size=6, accumulation=2, progress="off", strategy=None)
    with pytest.raises(ArgumentError, match="takes each example by itself; got 'nt_xent'"):
        fit(model, (VECTORS, CLASSES), loss=losses.NTXent(), metrics=[], config=config)
