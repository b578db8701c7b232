"""Labels that a loss would take for something else are refused in one line; all right forms train."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError, DataError, KerasdlError
from kerasdl.data import as_dataset
from kerasdl.data.augment import Mixup
from kerasdl.train import RunConfig, fit
from kerasdl.train.objectives.label_checks import check_labels

QUIET = {"progress": "off", "strategy": None, "epochs": 1, "steps_per_execution": 1, "batch_size": 4}
X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
NUMBERS = np.arange(12) % 3
ONE_HOT = np.eye(3, dtype=np.float32)[NUMBERS]
SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
CATEGORICAL = keras.losses.CategoricalCrossentropy(from_logits=True)
BINARY = keras.losses.BinaryCrossentropy(from_logits=True)


def net(*outputs, shape=(4,)):
    tensor = keras.Input(shape)
    heads = [keras.layers.Dense(size, name=f"out{place}")(tensor) for place, size in enumerate(outputs or (3,))]
    return keras.Model(tensor, heads[0] if len(heads) == 1 else heads)


def pipeline(labels):
    return tf.data.Dataset.from_tensor_slices((X[: len(labels)], labels)).batch(4)


def checked(labels, loss, outputs=3, metrics=()):
    for data in ((X[: len(labels)], labels), pipeline(labels)):
        check_labels(loss, metrics, net(outputs), as_dataset(data))


WRONG = {
    "one-hot into sparse": (SPARSE, ONE_HOT, 3, "class numbers.*CategoricalCrossentropy"),
    "one-hot integers into sparse": (SPARSE, ONE_HOT.astype(int), 3, "class numbers"),
    "one-hot into sparse by name": ("sparse_categorical_crossentropy", ONE_HOT, 3, "class numbers"),
    "numbers into categorical": (CATEGORICAL, NUMBERS, 3, "shares of 3 classes.*SparseCategorical"),
    "a column into categorical": (CATEGORICAL, NUMBERS[:, None], 3, "shares of 3 classes"),
    "other classes": (CATEGORICAL, ONE_HOT[:, :2], 3, "shares of 3 classes"),
    "one output for classes": (SPARSE, NUMBERS * 0, 1, "2 classes or more"),
    "numbers into several": (BINARY, NUMBERS, 3, "shape of the outputs"),
    "a column into several": (BINARY, NUMBERS[:, None], 3, "shape of the outputs"),
    "a column into three figures": ("mse", X[:, :1], 3, "shape of the outputs"),
    "a vector into three figures": ("mse", X[:3, 0], 3, "shape of the outputs"),
    "three figures into one": ("mae", X[:, :3], 1, "shape of the outputs"),
    "texts": (SPARSE, np.array(["cat", "dog", "hen"] * 4), 3, "must be numbers.*np.unique"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_form_is_refused_in_a_line(name):
    loss, labels, outputs, words = WRONG[name]
    for data in ((X[: len(labels)], labels), pipeline(labels)):
        with pytest.raises(ArgumentError, match=words) as caught:
            check_labels(loss, (), net(outputs), as_dataset(data))
        assert "\n" not in str(caught.value)


RIGHT = {
    "column": (SPARSE, NUMBERS[:, None], 3),
    "floats": (SPARSE, NUMBERS.astype(np.float32), 3),
    "bytes": (SPARSE, NUMBERS.astype(np.uint8), 300),
    "one-hot bool": (CATEGORICAL, ONE_HOT.astype(bool), 3),
    "yes": (BINARY, NUMBERS > 0, 1),
    "yes column": (BINARY, (NUMBERS > 0)[:, None], 1),
    "several": (BINARY, ONE_HOT.astype(int), 3),
    "figures": ("mse", X[:, 0], 1),
    "figures column": ("mse", X[:, :1], 1),
    "figures of 3": ("huber", X[:, :3], 3),
    "hinge": ("hinge", 2 * (NUMBERS > 0) - 1, 1),
    "foreign": (lambda y, p: keras.ops.mean(p - keras.ops.sum(y), -1), NUMBERS, 3),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_form_passes(name):
    checked(RIGHT[name][1], RIGHT[name][0], RIGHT[name][2])


OUTSIDE = {
    "above": (SPARSE, NUMBERS + 1, 3, "0 to 2.*3"),
    "negative": (SPARSE, NUMBERS - 1, 3, "0 to 2.*-1"),
    "fractions": (SPARSE, NUMBERS + 0.5, 3, "whole numbers"),
    "pixels": (BINARY, ONE_HOT * 255, 3, "between 0 and 1"),
    "minus one": (BINARY, 2 * (NUMBERS > 0) - 1, 1, "between 0 and 1"),
    "shares": (CATEGORICAL, ONE_HOT * 2, 3, "between 0 and 1"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_wrong_value_is_refused_in_memory_and_in_a_pipeline(name):
    loss, labels, outputs, words = OUTSIDE[name]
    labels = labels.astype(np.float32) if labels.dtype.kind == "f" else labels
    with pytest.raises(ArgumentError, match=words):
        check_labels(loss, (), net(outputs), as_dataset((X, labels)))
    with pytest.raises(DataError, match=words) as caught:
        fit(net(outputs), pipeline(labels), loss=loss, config=RunConfig(**QUIET))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=words):
        right = pipeline(right_ones(loss, outputs))
        fit(net(outputs), right, loss=loss, validation=pipeline(labels), config=RunConfig(**QUIET))


def right_ones(loss, outputs):
    return NUMBERS if loss is SPARSE else ONE_HOT if outputs == 3 else NUMBERS > 0


def test_a_class_that_the_loss_ignores_may_lie_outside():
    for ignored in (-1, 255):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=ignored)
        labels = np.where(NUMBERS == 2, ignored, NUMBERS)
        for data in ((X, labels), pipeline(labels)):
            run = fit(net(), data, loss=loss, config=RunConfig(**QUIET))
            assert np.isfinite(run.history["loss"][0])


def test_labels_that_are_not_finite_are_refused():
    labels = X[:, 0].copy()
    labels[3] = np.nan
    with pytest.raises(DataError, match="labels must be finite; 1 of 12"):
        fit(net(1), (X, labels), loss="mse", config=RunConfig(**QUIET))


def test_labels_of_an_unknown_number_of_axes_are_refused():
    data = tf.data.Dataset.from_generator(lambda: iter([(X, NUMBERS)]), output_types=(tf.float32, tf.int32))
    data = data.map(lambda x, y: (tf.ensure_shape(x, (None, 4)), y))
    with pytest.raises(ArgumentError, match=r"known number of axes.*output_signature"):
        fit(net(), data, loss=SPARSE, config=RunConfig(**QUIET))


SUMS = {  # the gradient of TensorFlow is that of the loss for shares that sum to 1 alone
    "two at once": np.eye(3, dtype="float32")[NUMBERS] + np.eye(3, dtype="float32")[(NUMBERS + 1) % 3],
    "two at once, bool": np.eye(3, dtype=bool)[NUMBERS] | np.eye(3, dtype=bool)[(NUMBERS + 1) % 3],
    "none": np.eye(3, dtype="int32")[NUMBERS] * (NUMBERS > 0)[:, None],
}


@pytest.mark.parametrize("name", SUMS)
def test_shares_that_do_not_sum_to_1_are_refused(name):
    with pytest.raises(ArgumentError, match=r"shares of a prediction sum to 1; got .*sums from .*BinaryCross"):
        check_labels(CATEGORICAL, (), net(), as_dataset((X, SUMS[name])))
    with pytest.raises(DataError, match=r"shares of a prediction sum to 1; got .* with sums from [02]"):
        fit(net(), pipeline(SUMS[name]), loss=CATEGORICAL, config=RunConfig(**QUIET))
    check_labels(CATEGORICAL, (), net(), as_dataset((X, np.full((12, 3), 1 / 3, "float16"))))


def test_places_under_a_mask_may_have_no_class():
    tokens, labels = np.array([[1, 2, 0]] * 4), np.eye(3, dtype="float32")[[[0, 1, 2]] * 4]
    labels[:, 2] = 0
    given = keras.Input((3,), dtype="int32")
    for masked in (True, False):
        out = keras.layers.Dense(3)(keras.layers.Embedding(3, 2, mask_zero=masked)(given))
        model = keras.Model(given, out)
        if masked:
            check_labels(CATEGORICAL, (), model, as_dataset((tokens, labels)))
        else:
            with pytest.raises(ArgumentError, match="sum to 1"):
                check_labels(CATEGORICAL, (), model, as_dataset((tokens, labels)))


@pytest.mark.parametrize(
    ("loss", "labels", "metric", "words"),
    [
        (CATEGORICAL, ONE_HOT, keras.metrics.SparseCategoricalAccuracy(), "class numbers"),
        (CATEGORICAL, ONE_HOT, "sparse_categorical_accuracy", "class numbers"),
        ("mse", X[:, :3], keras.metrics.SparseTopKCategoricalAccuracy(2), "class numbers"),
        (SPARSE, NUMBERS, keras.metrics.CategoricalAccuracy(), "shares of 3 classes"),
        (SPARSE, NUMBERS, keras.metrics.TopKCategoricalAccuracy(2), "shares of 3 classes"),
        (SPARSE, NUMBERS, keras.metrics.BinaryAccuracy(threshold=0.0), "shape of the outputs"),
    ],
)
def test_a_metric_gets_labels_of_its_form(loss, labels, metric, words):
    for data in ((X, labels), pipeline(labels)):
        with pytest.raises(ArgumentError, match=f"the metric .* must be .*{words}"):
            fit(net(), data, loss=loss, metrics=[metric], config=RunConfig(**QUIET))


def test_metrics_of_several_outputs_get_labels_of_their_form():
    data = tf.data.Dataset.from_tensors((X, (NUMBERS, X[:, :2])))
    with pytest.raises(ArgumentError, match=r"labels of 'out1' for the metric .* must be .*class numbers"):
        metrics = [["accuracy"], ["sparse_categorical_accuracy"]]
        fit(net(3, 2), data, loss=[SPARSE, "mse"], metrics=metrics, config=RunConfig(**QUIET))


YES = (NUMBERS > 0).astype("float32")[:, None]


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("accuracy", "threshold 0.5"),
        (keras.metrics.BinaryAccuracy(), "binary_accuracy .threshold 0.5"),
        (keras.metrics.Precision(), "threshold 0.5"),
        (keras.metrics.AUC(), "from_logits=False"),
        (keras.metrics.BinaryCrossentropy(), "from_logits=False"),
        ("binary_crossentropy", "from_logits=False"),
    ],
)
def test_a_metric_over_probabilities_is_refused_for_logits(metric, words):
    with pytest.raises(ArgumentError, match=f"metrics of a model that gives logits.*{words}.*threshold=0.0"):
        fit(net(1), (X, YES), loss=BINARY, metrics=[metric], config=RunConfig(**QUIET))


def test_metrics_over_logits_and_of_figures_pass():
    right = [keras.metrics.BinaryAccuracy(threshold=0.0), keras.metrics.AUC(from_logits=True)]
    right += [keras.metrics.Precision(thresholds=0.0), "mae"]
    logits = keras.losses.BinaryCrossentropy(from_logits=True)
    found = fit(net(1), (X, YES), loss=logits, metrics=right, config=RunConfig(**QUIET | {"learning_rate": 0.0}))
    assert len(found.history) == 6
    fit(net(1), (X, YES), loss="mse", metrics=["accuracy"], config=RunConfig(**QUIET))  # no logits: figures from 0 to 1


def test_a_metric_that_compares_one_by_one_is_held_to_the_shape():
    with pytest.raises(ArgumentError, match="the metric mae must be of the shape"):
        fit(net(), (X, NUMBERS), loss=SPARSE, metrics=["mae"], config=RunConfig(**QUIET))


def test_labels_to_be_mixed_are_class_numbers_for_any_loss():
    images = np.random.default_rng(0).normal(size=(12, 2, 2, 1)).astype(np.float32)
    tensor = keras.Input((2, 2, 1))
    model = keras.Model(tensor, keras.layers.Dense(3)(keras.layers.Flatten()(tensor)))
    run = fit(model, (images, NUMBERS), loss=CATEGORICAL, metrics=[], config=RunConfig(**QUIET, mix=Mixup(classes=3)))
    assert np.isfinite(run.history["loss"][0])


def test_the_task_of_the_data_gives_way_to_the_loss():
    run = fit(net(1), (X, (NUMBERS > 0).astype(int)), loss=BINARY, config=RunConfig(**QUIET))
    assert "accuracy" not in run.history  # which would rank the classes of one output
    run = fit(net(), (X, NUMBERS.astype(np.float32)), loss=SPARSE, config=RunConfig(**QUIET))
    assert "mae" not in run.history
    run = fit(net(), (X, NUMBERS), loss=SPARSE, config=RunConfig(**QUIET))
    assert "accuracy" in run.history


# Two outputs


def two(named=False):
    data = tf.data.Dataset.from_tensor_slices((X, (NUMBERS, X[:, :1]))).batch(4)
    return data.map(lambda x, y: (x, {"out0": y[0], "out1": y[1]})) if named else data


@pytest.mark.parametrize(
    "metrics",
    [
        [["accuracy"], ["mae"]],
        [["accuracy"], None],
        {"out0": ["accuracy"], "out1": [keras.metrics.MeanAbsoluteError(name="mae")]},
        {"out1": "mae"},
    ],
)
def test_metrics_of_two_outputs_are_those_of_compile(metrics):
    model = net(3, 1)
    config = RunConfig(**QUIET, learning_rate=0.0, weight_decay=0.0)
    run = fit(model, two(), validation=two(), loss=[SPARSE, "mse"], metrics=metrics, config=config)
    scores, figures = model.predict(X, verbose=0)
    right = {
        "out0_accuracy": np.mean(scores.argmax(1) == NUMBERS),
        "out1_mae": np.mean(np.abs(figures - X[:, :1])),
    }
    for name, value in right.items():
        if any(name.startswith(key) for key in ("out0", "out1")) and name in run.history:
            assert run.history[name][0] == pytest.approx(value, rel=1e-4)
            assert run.history[f"val_{name}"][0] == pytest.approx(value, rel=1e-4)
    wanted = {"out1_mae"} if metrics == {"out1": "mae"} else {"out0_accuracy"}
    assert wanted <= set(run.history)


def test_a_metric_of_two_outputs_is_monitored_by_its_full_name():
    config = RunConfig(**QUIET, monitor=("val_out1_mae", "min"))
    loss = {"out0": SPARSE, "out1": "mse"}
    data = {"train": two(named=True), "validation": two(named=True)}
    run = fit(net(3, 1), **data, loss=loss, metrics={"out1": ["mae"]}, config=config)
    assert run.best.value == run.history["val_out1_mae"][0]


def test_what_does_not_tell_its_output_is_refused_in_a_line():
    cases = [
        ({"metrics": ["accuracy"]}, "metrics of a model of 2 outputs must have 2 parts"),
        ({"metrics": {"head": ["accuracy"]}}, "metrics must name outputs"),
        ({"metrics": "accuracy"}, "metrics must be a list"),
        ({"loss": SPARSE}, "must have a loss for each"),
        ({"loss": [SPARSE]}, "loss of a model of 2 outputs must have 2 parts"),
        ({"loss": {"head": SPARSE}}, "loss must name outputs"),
    ]
    for more, words in cases:
        with pytest.raises(KerasdlError, match=words) as caught:
            fit(net(3, 1), two(), **{"loss": [SPARSE, "mse"], **more}, config=RunConfig(**QUIET))
        assert "\n" not in str(caught.value)
    with pytest.raises(ArgumentError, match="labels must be one for each of the 2 outputs"):
        fit(net(3, 1), pipeline(NUMBERS), loss=[SPARSE, "mse"], config=RunConfig(**QUIET))
    with pytest.raises(ArgumentError, match=r"labels of 'out0' for .* must be class numbers"):
        swapped = two().map(lambda x, y: (x, (y[1] * [[1.0, 1.0, 1.0]], y[1])))
        fit(net(3, 1), swapped, loss=[SPARSE, "mse"], config=RunConfig(**QUIET))


@pytest.mark.parametrize("name", ["crossentropy", "CE"])
def test_the_cross_entropy_by_its_short_name_is_checked_as_the_one_it_stands_for(name):
    tensor = keras.Input((4,))
    ends = {end: keras.Model(tensor, keras.layers.Dense(3, end)(tensor)) for end in (None, "sigmoid", "softmax")}
    config = RunConfig(**QUIET | {"learning_rate": 0.0, "batch_size": 12})
    with pytest.raises(ArgumentError, match="from_logits=False must have a model that gives probabilities"):
        fit(ends[None], (X, NUMBERS), loss=name, config=config)
    with pytest.raises(ArgumentError, match="categorical_crossentropy must have a model that ends in a softmax"):
        fit(ends["sigmoid"], (X, ONE_HOT), loss=name, config=config)
    run = fit(ends["softmax"], (X, ONE_HOT), loss=name, config=config)
    expected = -np.log((ends["softmax"](X).numpy() * ONE_HOT).sum(-1)).mean()
    assert run.history["loss"][0] == pytest.approx(expected, rel=1e-5)
