"""Penalties of sparse and contractive trainers by their formulas, and what they do to a code."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.data import load
from kerasdl.generative import ContractiveTrainer, ReconstructionTrainer, SparseTrainer
from kerasdl.train import RunConfig, fit

SMALL = {"image_shape": (16, 16, 1), "filters": (4,), "code": 6}
CONFIG = RunConfig(epochs=6, batch_size=32, learning_rate=1e-2, strategy=None, progress="off")


def noise(count=4, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 16, 16, 1)).astype("float32")


def test_losses_are_error_and_penalty():
    network, x = kerasdl.build("conv_autoencoder", **SMALL), noise()
    plain = ReconstructionTrainer(network)
    found = plain(x)
    error, code = float(plain.compute_loss(x, None, found)), np.asarray(found["code"], np.float64)
    lasso = SparseTrainer(network, weight=0.1)
    expected = error + 0.1 * np.abs(code).sum(1).mean()
    assert float(lasso.compute_loss(x, None, found)) == pytest.approx(expected, rel=1e-5)
    shares = (1 / (1 + np.exp(-code))).mean(0)
    divergence = (0.1 * np.log(0.1 / shares) + 0.9 * np.log(0.9 / (1 - shares))).sum()
    entropy = SparseTrainer(network, penalty="kl", weight=0.1, target=0.1)
    assert float(entropy.compute_loss(x, None, found)) == pytest.approx(error + 0.1 * divergence, rel=1e-4)
    weights = np.array([1.0, 3.0, 0.0, 0.0], "float32")
    weighed = float(lasso.compute_loss(x, None, found, weights)) - float(plain.compute_loss(x, None, found, weights))
    assert weighed == pytest.approx(0.1 * (np.abs(code).sum(1) * weights).mean(), rel=1e-4)


def test_contraction_is_the_norm_of_the_jacobian():
    trainer = ContractiveTrainer(kerasdl.build("conv_autoencoder", **SMALL), directions=200)
    x = tf.constant(noise(2))
    with tf.GradientTape() as tape:
        tape.watch(x)
        codes = trainer.encoder(x)
    exact = np.square(tape.batch_jacobian(codes, x)).sum((1, 2, 3, 4))
    np.testing.assert_allclose(trainer.norms(x, (3, 4)), exact, rtol=0.2)
    few = ContractiveTrainer(trainer.main, directions=2, weight=0.5)
    found = few(x, training=False)
    expected = float(ReconstructionTrainer.compute_loss(few, x, None, found)) + 0.5 * np.mean(few.norms(x, (0, 0)))
    assert float(few.compute_loss(x, None, found, training=False)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("trainer", "arguments"),
    [
        (SparseTrainer, {"penalty": "l2"}),
        (SparseTrainer, {"weight": -1}),
        (SparseTrainer, {"target": 0}),
        (ContractiveTrainer, {"weight": float("nan")}),
        (ContractiveTrainer, {"directions": 0}),
    ],
)
def test_wrong_arguments_are_refused(trainer, arguments):
    with pytest.raises(ArgumentError, match=next(iter(arguments))):
        trainer(kerasdl.build("conv_autoencoder", **SMALL), **arguments)


@pytest.mark.slow
def test_codes_become_sparse_and_still():
    images = load("mnist").take(128).arrays()[0]

    def learnt(trainer, **arguments):
        keras.utils.set_random_seed(0)
        made = trainer(kerasdl.build("conv_autoencoder", filters=(4,), code=16), **arguments)
        fit(made, images, config=CONFIG)
        return made

    plain = learnt(ReconstructionTrainer)
    codes = np.abs(plain.encode(images)).mean()
    assert np.abs(learnt(SparseTrainer, weight=5e-2).encode(images)).mean() < 0.5 * codes
    still = learnt(ContractiveTrainer, weight=5e-2)
    norms = [
        float(np.mean(ContractiveTrainer(each.main, directions=8).norms(images, (1, 2)))) for each in (still, plain)
    ]
    assert norms[0] < 0.5 * norms[1]
    active = learnt(SparseTrainer, penalty="kl", weight=1.0, target=0.05).encode(images)
    assert (1 / (1 + np.exp(-active))).mean() < 0.2
