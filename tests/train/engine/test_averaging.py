"""Averages of weights against NumPy, statistics of batch norms against closed forms, and what must stay as it was."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError
from kerasdl.train.engine.weight_averaging import WeightAverage, averaged, estimate_statistics
from kerasdl.train.optim.lookahead import Lookahead


def everything(model):
    return [np.array(variable.numpy()) for variable in model.variables]


def shake(model, seed):
    """Gives the trainable weights new values and returns them."""
    rng = np.random.default_rng(seed)
    values = [rng.normal(size=weight.shape).astype(np.float32) for weight in model.trainable_weights]
    for weight, value in zip(model.trainable_weights, values, strict=True):
        weight.assign(value)
    return values


# The mean over the ends of epochs


def test_the_mean_is_that_of_the_weights_taken_in(toy):
    model = toy.model(norm=True)
    average = WeightAverage(model)
    taken = [[], []]
    for seed in range(5):
        taken[0].append(shake(model, seed))
        average.update()
    others = [each.numpy() for each in model.non_trainable_variables]
    assert average.assign_to_model()
    for weight, *values in zip(model.trainable_weights, *taken[0], strict=True):
        np.testing.assert_allclose(weight.numpy(), np.mean(values, axis=0), rtol=1e-5, atol=1e-6)
    for variable, value in zip(model.non_trainable_variables, others, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert int(average.count.numpy()) == 5


def test_nothing_taken_in_gives_nothing(toy):
    model = toy.model()
    before = toy.digest(model)
    assert not WeightAverage(model).assign_to_model()
    assert toy.digest(model) == before


def test_its_variables_are_all_it_needs_to_go_on(toy):
    model = toy.model()
    whole, first, second = WeightAverage(model), WeightAverage(model), WeightAverage(model)
    for seed in range(4):
        shake(model, seed)
        whole.update()
        (first if seed < 2 else second).update()
        if seed == 1:
            for name, variable in second.variables.items():
                variable.assign(first.variables[name].numpy())
    for name, variable in whole.variables.items():
        np.testing.assert_array_equal(variable.numpy(), second.variables[name].numpy())
    assert list(whole.variables) == ["count", *(f"mean/{index:04d}" for index in range(4))]


@pytest.mark.parametrize(
    ("share", "epochs", "taken"),
    [(0.75, 8, [6, 7, 8]), (0.7, 10, [7, 8, 9, 10]), (0.0, 3, [1, 2, 3]), (0.999, 4, [4]), (0.5, None, [1, 2, 3])],
)
def test_where_averaging_begins(toy, share, epochs, taken):
    average, seen = WeightAverage(toy.model(), share, epochs), []
    for epoch in range(epochs or 3):
        before = int(average.count.numpy())
        average.end_epoch(epoch, {})
        seen += [epoch + 1] * (int(average.count.numpy()) - before)
    assert seen == taken


def test_float64_weights_are_averaged_in_float64():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, dtype="float64")])
    average, kernel = WeightAverage(model), model.layers[0].kernel
    for value in (1.0, 1.0 + 1e-12):
        kernel.assign(np.full((2, 1), value))
        average.update()
    average.assign_to_model()
    assert kernel.numpy()[0, 0] - 1.0 == pytest.approx(5e-13, rel=1e-3)


# The average that an optimizer keeps

OPTIMIZERS = {
    "plain": lambda inner: inner,
    "lookahead": lambda inner: Lookahead(inner, sync_period=2),
    "loss scale": lambda inner: keras.optimizers.LossScaleOptimizer(inner, initial_scale=4.0),
    "both": lambda inner: keras.optimizers.LossScaleOptimizer(Lookahead(inner, sync_period=2), initial_scale=4.0),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_inside_the_block_the_model_holds_the_averages(name, toy):
    model = toy.model(norm=True)
    optimizer = OPTIMIZERS[name](keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.75))
    optimizer.build(model.trainable_weights)
    expected, rng = None, np.random.default_rng(0)
    for _ in range(5):
        gradients = [tf.constant(rng.normal(size=weight.shape), tf.float32) for weight in model.trainable_weights]
        optimizer.apply(gradients, model.trainable_weights)
        now = [weight.numpy() for weight in model.trainable_weights]
        expected = now if expected is None else [0.75 * a + 0.25 * b for a, b in zip(expected, now, strict=True)]
    before, state = everything(model), [variable.numpy() for variable in optimizer.variables]
    with averaged(model, optimizer):
        inside = [weight.numpy() for weight in model.trainable_weights]
    for ours, theirs in zip(inside, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    for variable, value in zip(optimizer.variables, state, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_an_error_inside_the_block_brings_the_weights_back(toy):
    model = toy.model()
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    for _ in range(2):
        optimizer.apply([tf.ones(weight.shape) for weight in model.trainable_weights], model.trainable_weights)
    before = toy.digest(model)
    with pytest.raises(ZeroDivisionError), averaged(model, optimizer):
        assert toy.digest(model) != before
        raise ZeroDivisionError
    assert toy.digest(model) == before


def test_keras_own_swap_rounds(toy):
    """Why its callback is not used: it would leave a run with other weights than one that did not validate."""
    model = toy.model()
    model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9), "mse")
    for seed in range(2):
        gradients = [tf.random.normal(weight.shape, seed=seed) for weight in model.trainable_weights]
        model.optimizer.apply(gradients, model.trainable_weights)
    before, swap = toy.digest(model), keras.callbacks.SwapEMAWeights()
    swap.set_model(model)
    swap.on_test_begin()
    swap.on_test_end()
    assert toy.digest(model) != before


def test_optimizers_without_averages_are_refused(toy):
    model = toy.model()
    with pytest.raises(ArgumentError, match="must keep averages of the weights"), averaged(model, Lookahead("sgd")):
        pass
    with (
        pytest.raises(ArgumentError, match="must have made an update"),
        averaged(model, keras.optimizers.SGD(use_ema=True)),
    ):
        pass


# The statistics of batch norms


def net(**norm):
    tensor = keras.Input((3,))
    x = keras.layers.BatchNormalization(name="first", **norm)(tensor)
    x = keras.layers.Dropout(0.5, seed=1, name="drop")(x)
    x = keras.layers.Dense(4, name="dense")(x)
    x = keras.layers.LayerNormalization(name="other_norm")(x)
    x = keras.layers.BatchNormalization(name="frozen", trainable=False)(x)
    return keras.Model(tensor, x)


def batches(count=4, size=6, last=None):
    rng = np.random.default_rng(0)
    sizes = [size] * (count - 1) + [last or size]
    return [rng.normal(2.0, 3.0, size=(each, 3)).astype(np.float32) for each in sizes]


@pytest.mark.parametrize("kind", ["equal batches", "a short last batch", "NaN before", "renormalising"])
def test_statistics_are_the_means_over_batches(kind):
    model, data = net(renorm=kind == "renormalising"), batches(last=2 if kind.startswith("a short") else None)
    norm = model.get_layer("first")
    if kind == "NaN before":
        norm.moving_mean.assign([np.nan] * 3)
    assert estimate_statistics(model, [(x, None) for x in data]) == 4
    np.testing.assert_allclose(norm.moving_mean.numpy(), np.mean([x.mean(0) for x in data], 0), rtol=1e-5)
    if kind == "renormalising":
        deviations = np.mean([np.sqrt(x.var(0) + norm.epsilon) for x in data], 0)
        np.testing.assert_allclose(norm.moving_stddev.numpy(), deviations, rtol=1e-5)
    else:
        np.testing.assert_allclose(norm.moving_variance.numpy(), np.mean([x.var(0) for x in data], 0), rtol=1e-5)
    assert norm.momentum == 0.99


def test_statistics_of_one_full_batch_make_its_outputs_standard():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5), keras.layers.BatchNormalization(epsilon=1e-6)])
    (x,) = batches(1, 64)
    estimate_statistics(model, tf.data.Dataset.from_tensors(x))
    outputs = model.predict(x, verbose=0)
    np.testing.assert_allclose(outputs.mean(0), 0.0, atol=1e-4)
    np.testing.assert_allclose(outputs.std(0), 1.0, rtol=1e-3)


def test_a_later_norm_is_estimated_behind_an_earlier_one():
    """As in training: the input of the second has been normalised by the batch, not by the first one's statistics."""
    model = keras.Sequential([keras.Input((3,)), *(keras.layers.BatchNormalization(epsilon=1e-6) for _ in range(2))])
    model.layers[0].gamma.assign([2.0, 3.0, 4.0])
    model.layers[0].beta.assign([5.0, 6.0, 7.0])
    estimate_statistics(model, batches())
    np.testing.assert_allclose(model.layers[1].moving_mean.numpy(), [5.0, 6.0, 7.0], rtol=1e-5)
    np.testing.assert_allclose(model.layers[1].moving_variance.numpy(), [4.0, 9.0, 16.0], rtol=1e-4)


def test_nothing_else_changes():
    model = net()
    model.compile("sgd", "mse", metrics=["mae"])
    model.fit(batches(1)[0], np.zeros((6, 4)), verbose=0)
    names = [variable.path for variable in model.variables]
    assert any("seed" in name for name in names)
    elsewhere = [*model.optimizer.variables, *(each for metric in model.metrics for each in metric.variables)]
    before, others = everything(model), [np.array(variable.numpy()) for variable in elsewhere]
    assert len(others) > 4
    estimate_statistics(model, batches(), steps=2)
    changed = {
        name
        for name, variable, value in zip(names, model.variables, before, strict=True)
        if not np.array_equal(variable.numpy(), value)
    }
    assert changed == {"first/moving_mean", "first/moving_variance"}
    for variable, value in zip(elsewhere, others, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_an_error_on_the_way_leaves_all_as_it_was():
    model, data = net(), batches()
    before = everything(model)

    def broken():
        yield data[0]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        estimate_statistics(model, broken())
    with pytest.raises(ArgumentError, match="from one batch or more"):
        estimate_statistics(model, [])
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert model.get_layer("first").momentum == 0.99


def test_a_model_without_batch_norms_needs_no_data(toy):
    assert estimate_statistics(toy.model(), iter([])) == 0


def test_batches_without_end_are_refused():
    given = keras.Input((4,))
    model = keras.Model(given, keras.layers.BatchNormalization()(given))
    batches = tf.data.Dataset.from_tensors(np.ones((2, 4), "float32")).repeat()
    with pytest.raises(ArgumentError, match=r"batches to estimate statistics from must end.*steps="):
        estimate_statistics(model, batches)
    assert estimate_statistics(model, batches, steps=2) == 2
