"""Mixup and CutMix as a setting of a run: what is learnt, measured, resumed, and computed in parts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl import losses
from kerasdl.core.errors import ArgumentError
from kerasdl.data import as_dataset, augment
from kerasdl.data.batching.sharding import Share
from kerasdl.train import RunConfig, fit

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 6, 6, 1)).astype("float32"), RNG.integers(0, 3, 40).astype("int32")
MIX = augment.Mixup(classes=3, alpha=1.0)


def net():
    keras.utils.set_random_seed(5)
    return keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])


def settings(**more):
    return RunConfig(**{"epochs": 3, "batch_size": 8, "progress": "off", "mix": MIX, **more})


def test_a_step_is_the_cross_entropy_of_the_shares(task):
    (images, shares), *_ = as_dataset((X, Y)).batches(40, mix=MIX)
    model, weights = net(), np.array([0.5, 1.0, 3.0], "float32")
    with tf.GradientTape() as tape:
        each = tf.nn.softmax_cross_entropy_with_logits(0.9 * shares + 0.1 / 3, model(images))
        loss = tf.reduce_mean(each * tf.linalg.matvec(shares, weights))
    wanted = [w - 0.1 * g for w, g in zip(model.weights, tape.gradient(loss, model.trainable_weights), strict=True)]
    by_class = dict(enumerate(weights.tolist()))
    rates = {"optimizer": "sgd", "learning_rate": 0.1, "label_smoothing": 0.1, "class_weights": by_class}
    fit(model, (X, Y), task=task, config=settings(steps=1, batch_size=40, shuffle=False, **rates))
    for weight, expected in zip(model.weights, wanted, strict=True):
        np.testing.assert_allclose(weight.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("labels", [Y[:, None], np.eye(3, dtype="int32")[Y], np.eye(3, dtype="float32")[Y]])
def test_labels_of_every_form_are_mixed_alike(labels):
    for (_, shares), (_, given) in zip(
        as_dataset((X, Y)).batches(8, mix=MIX), as_dataset((X, labels)).batches(8, mix=MIX), strict=True
    ):
        np.testing.assert_allclose(given, shares, atol=1e-6)


@pytest.mark.parametrize("labels", [np.zeros((40, 6, 6), "int32"), np.zeros((40, 5), "float32")])
def test_labels_that_are_no_classes_are_not_mixed(labels):
    with pytest.raises(ArgumentError, match=r"integers \(B,\) or shares \(B, 3\)"):
        as_dataset((X, labels)).batches(8, mix=MIX)


def test_columns_of_labels_train_as_rows_do(task):
    one, other = (fit(net(), (X, labels), task=task, config=settings(seed=1)) for labels in (Y, Y[:, None]))
    assert one.history["accuracy"] == other.history["accuracy"]
    np.testing.assert_array_equal(one.model.get_weights()[0], other.model.get_weights()[0])


def test_balanced_weights_reach_classes_that_do_not_occur(task):
    data, mix = (X, np.minimum(Y, 1)), augment.Mixup(classes=3, smoothing=0.1)
    run = fit(net(), data, task=task, config=settings(mix=mix, class_weights="balanced"))
    assert np.isfinite(run.history["loss"]).all()


def test_metrics_take_the_larger_share_and_validation_the_plain_labels(task):
    model = net()
    run = fit(model, (X, Y), validation=(X, Y), task=task, config=settings(restore_best=False))
    assert run.history["val_accuracy"][-1] == pytest.approx(model.evaluate(X, Y, verbose=0)[1])  # compiled for later
    batches = list(as_dataset((X, Y)).batches(8, shuffle=True, mix=MIX))
    still = settings(epochs=1, optimizer="sgd", learning_rate=0.0)
    run = fit(model, (X, Y), task=task, config=still)
    right = [np.argmax(shares, 1) == np.argmax(model(images), 1) for images, shares in batches]
    assert run.history["accuracy"][0] == pytest.approx(np.mean(right))


def test_epochs_differ_and_a_run_goes_on_where_it_was_killed(task, tmp_path):
    data = as_dataset((X, Y))
    first, second = (next(iter(data.batches(8, mix=MIX, epoch=epoch)))[1] for epoch in (0, 1))
    assert np.abs(first - second).max() > 0.01
    late, flow = list(data.batches(8, mix=MIX, epoch=1, start=2)), data.stream(8, mix=MIX).skip(7)
    for (x, shares), (images, given) in zip(late, flow.take(3), strict=True):
        np.testing.assert_array_equal(x, images)
        np.testing.assert_array_equal(shares, given)

    class KillAt(keras.callbacks.Callback):
        def __init__(self, step):
            super().__init__()
            self.steps = iter(range(1, step))  # a plain number would be kept in checkpoints

        def on_train_batch_end(self, batch, logs=None):
            if next(self.steps, None) is None:
                raise ZeroDivisionError

    def run(folder, step):
        kept = settings(folder=tmp_path / folder, save_every=3)
        return fit(net(), (X, Y), task=task, callbacks=[KillAt(step)], config=kept)

    whole = run("whole", 99)
    with pytest.raises(ZeroDivisionError):
        run("killed", 8)
    resumed = run("killed", 99)
    assert resumed.resumed
    for one, other in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_part_of_a_batch_is_mixed_in_itself():
    ones = as_dataset((np.repeat(np.arange(16.0), 4).reshape(16, 2, 2, 1).astype("float32"), np.arange(16) // 8))
    for parts in ones.batches(16, mix=augment.Mixup(2, alpha=1.0), share=Share(0, 2, 2)):
        for (images, shares), low in zip((part[0] for part in parts), (0, 8), strict=True):
            assert images.numpy().min() >= low
            assert images.numpy().max() < low + 8
            assert (shares.numpy()[:, low // 8] == 1).all()


def test_what_cannot_be_mixed_is_refused(task):
    pipeline = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    with pytest.raises(ArgumentError, match="augment and mix need data from kerasdl"):
        fit(net(), pipeline, task=task, config=settings())
    with pytest.raises(ArgumentError, match="mix needs a loss that takes shares"):
        fit(net(), (X, Y), loss=losses.Focal(), config=settings())
