"""Ties: few validation examples give equal accuracies, and the lower loss then tells which epoch is best."""

import tensorflow as tf

from kerasdl.train import RunConfig, State, run_steps


def run(losses, accuracies, **settings):
    weight = tf.Variable(0.0)
    epochs = iter(zip(losses, accuracies, strict=True))

    def step(stream):
        weight.assign_add(next(stream))
        return {"loss": weight}

    def evaluate():
        loss, accuracy = next(epochs)
        return {"val_loss": loss, "val_accuracy": accuracy}

    state = State(None, {"w": weight}, {}, lambda epoch, batch: iter([1.0]), steps_per_epoch=1, evaluate=evaluate)
    config = RunConfig(epochs=len(losses), monitor=("val_accuracy", "max"), progress="off", **settings)
    return run_steps(step, state, config), float(weight)


def test_the_lower_loss_breaks_a_tie(tmp_path):
    for settings in ({}, {"folder": tmp_path / "run"}):
        finished, weight = run([0.3, 0.1, 0.2, 0.05], [1.0, 1.0, 1.0, 0.5], **settings)
        assert finished.best.epoch == 2
        assert weight == 2.0


def test_a_higher_figure_wins_whatever_its_loss():
    finished, weight = run([0.1, 0.4], [0.5, 0.6])
    assert finished.best.epoch == 2
    assert weight == 2.0
