"""Class weights in every form of labels, against a NumPy loop."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError
from kerasdl.data import as_dataset
from kerasdl.losses import SmoothedCrossEntropy
from kerasdl.train import RunConfig, fit
from kerasdl.train.objectives.class_weights import class_weights_of

WEIGHTS = {0: 1.0, 1: 3.0, 2: 9.0}
TABLE = np.array([1.0, 3.0, 9.0])
SIZE = 30
QUIET = {"progress": "off", "strategy": None, "epochs": 1, "steps_per_execution": 1}
X = np.random.default_rng(0).normal(size=(SIZE, 4)).astype(np.float32)
NUMBERS = np.array([0] * 21 + [1] * 6 + [2] * 3)
ONE_HOT = np.eye(3)[NUMBERS]
SEVERAL = np.random.default_rng(1).integers(0, 2, (SIZE, 3))
YES = (NUMBERS > 0).astype(int)
SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
CATEGORICAL = keras.losses.CategoricalCrossentropy(from_logits=True)
BINARY = keras.losses.BinaryCrossentropy(from_logits=True)


def net(outputs=3):
    keras.utils.set_random_seed(2)
    tensor = keras.Input((4,))
    return keras.Model(tensor, keras.layers.Dense(outputs)(tensor))


def logits(model):
    weights, bias = (each.astype(np.float64) for each in model.get_weights())
    return X @ weights + bias


def cross_entropy(scores, shares, smoothing=0.0):
    shares = shares * (1 - smoothing) + smoothing / scores.shape[-1]
    return (shares * (np.log(np.exp(scores).sum(-1, keepdims=True)) - scores)).sum(-1)


def binary_cross_entropy(scores, yes):
    return np.log1p(np.exp(-np.abs(scores))) + np.maximum(scores, 0) - scores * yes


CASES = {
    "numbers": (SPARSE, NUMBERS),
    "numbers, one column": (SPARSE, NUMBERS[:, None]),
    "float numbers": (SPARSE, NUMBERS.astype(np.float32)),
    "uint8": (SPARSE, NUMBERS.astype(np.uint8)),
    "one-hot int64": (CATEGORICAL, ONE_HOT.astype(np.int64)),
    "one-hot uint8": (CATEGORICAL, ONE_HOT.astype(np.uint8)),
    "one-hot bool": (CATEGORICAL, ONE_HOT.astype(bool)),
    "one-hot float16": (CATEGORICAL, ONE_HOT.astype(np.float16)),
    "one-hot, one row a class": (CATEGORICAL, ONE_HOT.astype(np.int64)),
    "shares": (CATEGORICAL, 0.8 * ONE_HOT + 0.1 * ONE_HOT[:, [1, 2, 0]] + 0.1 * ONE_HOT[:, [2, 0, 1]]),
    "smoothed numbers": (SmoothedCrossEntropy(0.1), NUMBERS),
    "smoothed one-hot": (SmoothedCrossEntropy(0.1), ONE_HOT.astype(np.int32)),
    "several": (BINARY, SEVERAL),
    "several bool": (BINARY, SEVERAL.astype(bool)),
    "several float": (BINARY, SEVERAL.astype(np.float32)),
    "yes": (BINARY, YES),
    "yes, one column": (BINARY, YES[:, None].astype(np.float32)),
    "yes bool": (BINARY, YES.astype(bool)),
}


def expected(name, loss, labels, scores):
    if loss is BINARY and labels.shape[-1] == 3:
        return (TABLE * binary_cross_entropy(scores, labels)).mean()
    if loss is BINARY:
        return (TABLE[YES] * binary_cross_entropy(scores[:, 0], YES)).mean()
    shares = labels.astype(float) if labels.shape[-1] == 3 else ONE_HOT
    return (shares @ TABLE * cross_entropy(scores, shares, 0.1 if "smoothed" in name else 0.0)).mean()


@pytest.mark.parametrize("name", CASES)
def test_a_weighted_loss_is_that_of_a_numpy_loop(name):
    loss, labels = CASES[name]
    model = net(1 if name.startswith("yes") else 3)
    right, size = expected(name, loss, labels, logits(model)), 3 if "row" in name else 15
    weights = {0: 1.0, 1: 3.0} if name.startswith("yes") else WEIGHTS
    config = RunConfig(**QUIET, batch_size=size, learning_rate=0.0, weight_decay=0.0, class_weights=weights)
    run = fit(model, (X, labels), loss=loss, config=config)
    assert run.history["loss"][0] == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize("kind", ["several", "one-hot"])
@pytest.mark.parametrize("more", [{}, {"accumulation": 4}], ids=["whole", "in parts"])
def test_an_update_follows_the_weighted_gradient(kind, more):
    loss, labels = (BINARY, SEVERAL) if kind == "several" else (CATEGORICAL, ONE_HOT.astype(np.int64))
    model = net()
    before, scores = model.get_weights()[0], logits(model)
    if kind == "several":
        slope = TABLE * (1 / (1 + np.exp(-scores)) - labels) / 3
    else:
        shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        slope = (ONE_HOT @ TABLE)[:, None] * (shares - labels)
    config = RunConfig(
        **QUIET, **more, batch_size=SIZE, optimizer="sgd", learning_rate=0.1, class_weights=WEIGHTS, shuffle=False
    )
    fit(model, (X, labels), loss=loss, metrics=["accuracy"], config=config)
    np.testing.assert_allclose(model.get_weights()[0], before - 0.1 * X.T @ slope / SIZE, atol=1e-5)


def test_validation_is_not_weighted():
    model = net()
    right = binary_cross_entropy(logits(model), SEVERAL).mean()
    config = RunConfig(**QUIET, learning_rate=0.0, weight_decay=0.0, class_weights=WEIGHTS)
    run = fit(model, (X, SEVERAL), validation=(X, SEVERAL), loss=BINARY, config=config)
    assert run.history["val_loss"][0] == pytest.approx(right, rel=1e-5)


def table(labels, loss, weights="balanced", outputs=3):
    return class_weights_of(weights, loss, net(outputs), as_dataset((X[: len(labels)], labels))).table


def test_balanced_weights_count_every_form():
    right = SIZE / (3 * np.bincount(NUMBERS))
    for labels in (NUMBERS, NUMBERS[:, None], NUMBERS.astype(float)):
        np.testing.assert_allclose(table(labels, SPARSE), right, rtol=1e-6)
    for dtype in (np.int64, bool, np.float32):
        np.testing.assert_allclose(table(ONE_HOT.astype(dtype), CATEGORICAL), right, rtol=1e-6)
    positive = SEVERAL.sum(0)
    np.testing.assert_allclose(table(SEVERAL, BINARY), positive.sum() / (3 * positive), rtol=1e-6)
    np.testing.assert_allclose(table(YES, BINARY, outputs=1), SIZE / (2 * np.bincount(YES)), rtol=1e-6)
    ignoring = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    np.testing.assert_allclose(table(np.array([0, 0, 1, 2, -1]), ignoring), [4 / 6, 4 / 3, 4 / 3], rtol=1e-6)
    np.testing.assert_allclose(table(np.array([0, 0, 0, 2]), SPARSE), [4 / 6, 0, 2], rtol=1e-6)  # class 1 never occurs


def test_balanced_weights_read_a_pipeline_of_any_form():
    for labels, loss in ((ONE_HOT.astype(np.int32), CATEGORICAL), (NUMBERS, SPARSE)):
        pipeline = as_dataset(tf.data.Dataset.from_tensor_slices((X, labels)).batch(7))
        found = class_weights_of("balanced", loss, net(), pipeline).table
        np.testing.assert_allclose(found, SIZE / (3 * np.bincount(NUMBERS)), rtol=1e-6)
    with pytest.raises(ArgumentError, match=r"must end|needs data that end"):
        class_weights_of("balanced", SPARSE, net(), as_dataset(pipeline.source.repeat()))


def test_sequences_weigh_each_place():
    tensor = keras.Input((5, 4))
    model = keras.Model(tensor, keras.layers.Dense(3)(tensor))
    numbers = np.random.default_rng(3).integers(0, 3, (2, 5))
    data = {"numbers": numbers, "column": numbers[..., None], "one-hot": np.eye(3, dtype=np.int64)[numbers]}
    for name, labels in data.items():
        loss = CATEGORICAL if name == "one-hot" else SPARSE
        found = class_weights_of(WEIGHTS, loss, model, as_dataset((np.zeros((2, 5, 4), np.float32), labels)))
        np.testing.assert_array_equal(found.of(tf.constant(labels)), TABLE[numbers])


def test_labels_that_tell_no_classes_are_refused_in_a_line():
    cases = [
        (ONE_HOT.astype(np.int64), SPARSE, "need class numbers"),
        (NUMBERS, CATEGORICAL, "need shares of the classes"),
        (ONE_HOT[:, :2], CATEGORICAL, "need shares of the classes"),
        (NUMBERS, BINARY, "need 0 or 1 for each of 3 labels"),
        (X[:, 0], "mse", "labels that are classes"),
        (ONE_HOT.astype(np.int64), lambda y, p: keras.ops.mean(p, -1), "labels that are classes"),
    ]
    for labels, loss, words in cases:
        with pytest.raises(ArgumentError, match=words) as caught:
            table(labels, loss, WEIGHTS)
        assert "\n" not in str(caught.value)
    with pytest.raises(ArgumentError, match="classes from 0 to 2; got 3"):
        table(NUMBERS, SPARSE, {3: 2.0})


def test_two_outputs_are_refused_by_name():
    tensor = keras.Input((4,))
    model = keras.Model(tensor, [keras.layers.Dense(3, name="a")(tensor), keras.layers.Dense(1, name="b")(tensor)])
    data = tf.data.Dataset.from_tensor_slices((X, (NUMBERS, X[:, :1]))).batch(8)
    for loss in ([SPARSE, "mse"], {"a": SPARSE, "b": "mse"}):
        named = data if isinstance(loss, list) else data.map(lambda x, y: (x, {"a": y[0], "b": y[1]}))
        with pytest.raises(ArgumentError, match="class_weights need a model of one output; got '2 outputs'"):
            fit(model, named, loss=loss, config=RunConfig(**QUIET, class_weights=WEIGHTS))
