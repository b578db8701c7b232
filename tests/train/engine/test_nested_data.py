"""`fit` on nested data, weights and inputs alone: the same updates and figures as Keras's own, or a refusal."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core import ArgumentError
from kerasdl.data import as_dataset
from kerasdl.train import RunConfig, fit

rng = np.random.default_rng(0)
X, OTHER = rng.normal(size=(12, 3)).astype("float32"), rng.normal(size=(12, 2)).astype("float32")
KINDS, SIZES = rng.integers(0, 3, 12), rng.normal(size=(12, 1)).astype("float32")
WEIGHTS = rng.uniform(0, 2, 12).astype("float32")
CLASSES = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
PLAIN = {"optimizer": "sgd", "learning_rate": 0.1, "shuffle": False, "strategy": None, "progress": "off"}


def config(**settings):
    return RunConfig(**{"epochs": 2, "batch_size": 4, **PLAIN, **settings})


def one(units=3):
    keras.utils.set_random_seed(1)
    entry = keras.Input((3,), name="first")
    return keras.Model(entry, keras.layers.Dense(units, name="head")(entry))


def two():
    keras.utils.set_random_seed(1)
    entries = [keras.Input((3,), name="first"), keras.Input((2,), name="second")]
    joined = keras.layers.Concatenate()(entries)
    return keras.Model(
        entries, [keras.layers.Dense(3, name="kind")(joined), keras.layers.Dense(1, name="size")(joined)]
    )


def of_keras(model, x, y, weights=None, loss=CLASSES, metrics=None, validation=None):
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=metrics)
    settings = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0, "validation_data": validation}
    return model.fit(x, y, sample_weight=weights, **settings).history


def assert_equal(run, model, history):
    for ours, theirs in zip(run.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)
    for name, values in history.items():
        np.testing.assert_allclose(run.history[name], values, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("form", ["arrays", "pipeline", "column", "in parts"])
def test_sample_weights_weigh_the_loss_as_in_keras(form):
    data = (X, KINDS, WEIGHTS[:, None] if form == "column" else WEIGHTS)
    given = tf.data.Dataset.from_tensor_slices(data).batch(4) if form == "pipeline" else data
    settings = config(accumulation=2 if form == "in parts" else 1)
    run = fit(one(), given, validation=data, loss=CLASSES, metrics=["accuracy"], config=settings)
    own = one()
    assert_equal(run, own, of_keras(own, *data, metrics=["accuracy"], validation=data))


def test_sample_weights_multiply_those_of_classes():
    run = fit(one(), (X, KINDS, WEIGHTS), loss=CLASSES, config=config(class_weights={0: 2.0}))
    own = one()
    assert_equal(run, own, of_keras(own, X, KINDS, WEIGHTS * np.where(KINDS == 0, 2, 1)))


@pytest.mark.parametrize("shape", [(12, 3), (12, 12), (12, 1, 1)])
def test_weights_of_another_shape_are_refused_where_keras_spreads_them(shape):
    with pytest.raises(ArgumentError, match=r"weights of data must have the shape \(B,\)"):
        fit(one(), (X, KINDS, np.ones(shape)), loss=CLASSES, config=config())


def test_weights_of_steps_are_refused_for_a_loss_of_whole_examples():
    """Keras would multiply losses (B,) with weights (B, T) along T where both are equal."""

    def mean_of_steps(truth, outputs):
        return keras.ops.mean(keras.ops.square(truth - outputs), axis=(1, 2))

    entry = keras.Input((4, 2))
    x, y = np.ones((4, 4, 2), "float32"), np.zeros((4, 4, 3), "float32")
    weights = np.arange(16, dtype="float32").reshape(4, 4)
    with pytest.raises(ArgumentError, match="weights of data must have no more axes than the loss, 1"):
        fit(keras.Model(entry, keras.layers.Dense(3)(entry)), (x, y, weights), loss=mean_of_steps, config=config())


@pytest.mark.parametrize("weights", [np.arange(1.0, 5.0), np.arange(1.0, 5.0)[:, None]])
def test_a_compute_loss_gets_one_weight_an_example(weights):
    class MeanWeight(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            assert sample_weight.shape.rank == 1
            return keras.ops.mean(sample_weight) + 0 * keras.ops.sum(y_pred)

    entry = keras.Input((3,))
    model = MeanWeight(entry, keras.layers.Dense(3)(entry))
    settings = config(epochs=1, learning_rate=0.0, class_weights={0: 10.0})
    run = fit(model, (X[:4], np.array([0, 1, 2, 1]), weights), loss=CLASSES, config=settings)
    assert run.history["loss"][0] == pytest.approx((10 + 2 + 3 + 4) / 4)


@pytest.mark.parametrize("weights", [(WEIGHTS,), {"kind": WEIGHTS}, {"size": WEIGHTS, "none": WEIGHTS}])
def test_weights_of_some_outputs_are_refused(weights):
    with pytest.raises(ArgumentError, match="weights of data must"):
        fit(two(), ((X, OTHER), (KINDS, SIZES), weights), loss=[CLASSES, "mse"], config=config())


def steps(labels_axis):
    keras.utils.set_random_seed(1)
    entry = keras.Input((4, 3))
    y = (rng.random((12, 4)) < 0.3).astype("float32")
    return keras.Model(entry, keras.layers.Dense(1)(entry)), (y[..., None] if labels_axis else y)


@pytest.mark.parametrize("labels_axis", [False, True])
def test_weights_of_classes_at_each_step_weigh_that_step(labels_axis):
    x, loss = rng.normal(size=(12, 4, 3)).astype("float32"), keras.losses.BinaryCrossentropy(from_logits=True)
    model, y = steps(labels_axis)
    logits = keras.ops.convert_to_numpy(model(x))[..., 0].astype("float64")
    truth = y.reshape(12, 4)
    each = np.logaddexp(0, logits) - truth * logits
    run = fit(model, (x, y), loss=loss, config=config(epochs=1, batch_size=12, class_weights={0: 0.5, 1: 3.0}))
    np.testing.assert_allclose(run.history["loss"], np.mean(each * np.where(truth, 3.0, 0.5)), rtol=1e-5)


def test_weights_of_steps_need_labels_with_an_axis_of_their_own():
    x, weights = np.zeros((12, 4, 3), "float32"), np.ones((12, 4))
    model, y = steps(labels_axis=True)
    fit(model, (x, y, weights), loss="mse", config=config(epochs=1))
    model, y = steps(labels_axis=False)
    with pytest.raises(ArgumentError, match=r"must have the shape \(B,\)"):
        fit(model, (x, y, weights), loss="mse", config=config(epochs=1))


@pytest.mark.parametrize("form", ["arrays", "dicts", "pipeline"])
@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("shape", [(3, 2), (4, 2), (4, 4, 2), (3, 4, 2)])
def test_a_weight_of_an_example_weighs_all_its_predictions(shape, column, form):
    """Also where a batch has as many examples as an example has steps: Keras would weigh steps there."""
    x, y = rng.normal(size=(4, *shape)).astype("float32"), rng.normal(size=(4, *shape[:-1], 3)).astype("float32")
    weights = np.arange(1.0, 5.0, dtype="float32")
    entry = keras.Input(shape)
    model = keras.Model(entry, keras.layers.Dense(3, name="out")(entry))
    losses = np.square(keras.ops.convert_to_numpy(model(x)) - y).mean(-1).reshape(4, -1)
    given = weights[:, None] if column else weights
    data = (x, {"out": y}, {"out": given}) if form == "dicts" else (x, y, given)
    data = tf.data.Dataset.from_tensor_slices(data).batch(4) if form == "pipeline" else data
    still = config(epochs=1, batch_size=4, learning_rate=0.0)
    run = fit(model, data, validation=data, loss="mse", config=still)
    expected = (losses * weights[:, None]).mean()
    np.testing.assert_allclose([run.history["loss"][0], run.history["val_loss"][0]], expected, rtol=1e-5)


@pytest.mark.parametrize("weights", [WEIGHTS, WEIGHTS[:, None]])
def test_a_column_of_weights_multiplies_those_of_classes(weights):
    settings = config(epochs=1, batch_size=12, learning_rate=0.0, class_weights={0: 2.0})
    run = fit(one(), (X, KINDS, weights), loss=CLASSES, config=settings)
    logits = keras.ops.convert_to_numpy(one()(X)).astype("float64")
    losses = np.log(np.exp(logits).sum(-1)) - logits[np.arange(12), KINDS]
    expected = (losses * WEIGHTS * np.where(KINDS == 0, 2, 1)).mean()
    np.testing.assert_allclose(run.history["loss"][0], expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 2), (4, 2)])
def test_a_weight_of_an_example_multiplies_those_of_its_labels_at_each_step(shape):
    x, y = rng.normal(size=(4, *shape)).astype("float32"), (rng.random((4, *shape)) < 0.5).astype("uint8")
    weights = np.arange(1.0, 5.0, dtype="float32")
    entry = keras.Input(shape)
    model = keras.Model(entry, keras.layers.Dense(2, name="out")(entry))
    logits = keras.ops.convert_to_numpy(model(x)).astype("float64")
    losses = (np.logaddexp(0, logits) - y * logits) * [0.5, 3.0]  # a weight of each label
    settings = config(epochs=1, batch_size=4, learning_rate=0.0, class_weights={0: 0.5, 1: 3.0})
    run = fit(model, (x, y, weights), loss=keras.losses.BinaryCrossentropy(from_logits=True), config=settings)
    np.testing.assert_allclose(run.history["loss"][0], (losses * weights[:, None, None]).mean(), rtol=1e-5)


def test_weights_of_labels_see_the_logits_of_saturated_outputs():
    """Keras computes losses of a sigmoid from its logits: probabilities of exactly 0 and 1 would stop at log(1e-7)."""
    entry = keras.Input((3,))
    head = keras.layers.Dense(2, activation="sigmoid", name="out", kernel_initializer=keras.initializers.Constant(40.0))
    model = keras.Model(entry, head(entry))
    x, y = np.ones((4, 3), "float32"), np.zeros((4, 2), "float32")  # logits of 120 for labels of 0
    settings = config(epochs=1, batch_size=4, learning_rate=0.0, class_weights={0: 0.5, 1: 3.0})
    run = fit(model, (x, y), loss=keras.losses.BinaryCrossentropy(), config=settings)
    np.testing.assert_allclose(run.history["loss"][0], 120 * 3.5 / 2, rtol=1e-5)


@pytest.mark.parametrize("loss", ["mse", ["mse"], {"out": "mse"}])
@pytest.mark.parametrize("label", [lambda y: {"out": y}, lambda y: (y,), lambda y: y])
def test_labels_of_the_only_output_may_be_nested(label, loss):
    histories = []
    for labels, objective in ((label(OTHER), loss), (OTHER, "mse")):
        keras.utils.set_random_seed(2)
        entry = keras.Input(X.shape[1:])
        model = keras.Model(entry, keras.layers.Dense(OTHER.shape[-1], name="out")(entry))
        histories.append(fit(model, (X, labels), loss=objective, config=config(epochs=1)).history["loss"])
    assert histories[0] == histories[1]


def test_labels_of_an_output_that_is_not_there_are_refused():
    entry = keras.Input(X.shape[1:])
    model = keras.Model(entry, keras.layers.Dense(OTHER.shape[-1], name="out")(entry))
    with pytest.raises(ArgumentError, match="labels of data must name the output of the model, 'out'"):
        fit(model, (X, {"other": OTHER}), loss="mse", config=config(epochs=1))


NESTED = {
    "tuples": lambda: ((X, OTHER), (KINDS, SIZES)),
    "lists": lambda: ([X, OTHER], [KINDS, SIZES]),
    "dicts": lambda: ({"first": X, "second": OTHER}, {"kind": KINDS, "size": SIZES}),
    "weighted": lambda: ((X, OTHER), (KINDS, SIZES), (WEIGHTS, np.ones(12))),
    "one weight": lambda: ((X, OTHER), (KINDS, SIZES), WEIGHTS),
    "pipeline": lambda: tf.data.Dataset.from_tensor_slices(((X, OTHER), (KINDS, SIZES))).batch(4),
}


@pytest.mark.parametrize("form", NESTED)
def test_two_inputs_and_two_outputs_train_as_in_keras(form):
    data = NESTED[form]()
    by_name = form == "dicts"
    loss = {"kind": CLASSES, "size": "mse"} if by_name else [CLASSES, "mse"]
    metrics = {"kind": ["accuracy"], "size": ["mae"]} if by_name else [["accuracy"], ["mae"]]
    run = fit(two(), data, validation=data, loss=loss, metrics=metrics, config=config())
    own = two()
    weights = data[2] if form in ("weighted", "one weight") else None
    weights = list(weights) if form == "weighted" else weights
    validation = ([X, OTHER], [KINDS, SIZES]) + (() if weights is None else (weights,))
    metrics = [["accuracy"], ["mae"]]
    history = of_keras(own, [X, OTHER], [KINDS, SIZES], weights, [CLASSES, "mse"], metrics, validation)
    assert_equal(run, own, history)


def test_one_output_of_two_picks_the_best_epoch():
    settings = config(epochs=3, monitor=("val_kind_accuracy", "max"), patience=2)
    data = ((X, OTHER), (KINDS, SIZES))
    run = fit(two(), data, validation=data, loss=[CLASSES, "mse"], metrics=[["accuracy"], []], config=settings)
    assert run.best.value == max(run.history["val_kind_accuracy"])


def test_inputs_alone_need_a_loss_of_the_model():
    with pytest.raises(ArgumentError, match=r"data must have labels, which the loss of .* compares"):
        fit(one(), X, loss="mse", config=config())
    with pytest.raises(ArgumentError, match="got 'inputs alone'"):
        fit(one(), (X, KINDS), validation=X, loss=CLASSES, config=config())

    class Shrinking(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return keras.ops.mean(keras.ops.square(y_pred))

    entry = keras.Input((3,))
    model = Shrinking(entry, keras.layers.Dense(2)(entry))
    run = fit(model, X, validation=as_dataset(X), config=config(epochs=3))
    assert run.history["loss"][0] > run.history["loss"][2] > 0
    assert run.history["val_loss"][2] < run.history["val_loss"][0]


def test_classes_that_no_weight_names_weigh_one_where_the_loss_knows_no_classes():
    model = one(units=1)
    y = np.arange(12, dtype="int32").reshape(12, 1) % 4
    error = (keras.ops.convert_to_numpy(model(X)) - y) ** 2
    run = fit(model, (X, y), loss="mse", config=config(epochs=1, batch_size=12, class_weights={1: 5.0}))
    np.testing.assert_allclose(run.history["loss"], np.mean(error * np.where(y == 1, 5.0, 1.0)), rtol=1e-5)
