"""Sums that Keras computes along another axis: every shape against NumPy, mended, and refused by the layer's name."""

from itertools import product

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from keras.src import backend

from kerasdl.bundles import Bundle
from kerasdl.core.errors import ExportError, TrainingError
from kerasdl.core.outputs.broadcast_sums import is_misread, mended_sums, refused_sums
from kerasdl.deploy import export_onnx, export_saved_model, export_tflite
from kerasdl.deploy.keras2.bridge import bridge
from kerasdl.train import RunConfig, fit

EXPORTS = {"model.tflite": export_tflite, "model.onnx": export_onnx, "model": export_saved_model}
SIZES = (1, 2, 3)
SHAPES = [shape for rank in (1, 2, 3) for shape in product(SIZES, repeat=rank)] + [(2, 3, 3, 3), (2, 3, 3, 1)]
NEIGHBOURS = (ops.subtract, ops.multiply, ops.maximum, ops.divide)


def addable(first, second):
    return all(1 in pair or pair[0] == pair[1] for pair in zip(first[::-1], second[::-1], strict=False))


PAIRS = [pair for pair in product(SHAPES, repeat=2) if addable(*pair)]


def numbers(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32") + 3


def level_of(count=4):
    """A model that adds a level (B, 1, 1) to steps (B, count, 1), the level second."""
    steps = keras.Input((count, 1), name="steps")
    mean = keras.layers.Dense(1, name="level")(keras.layers.Reshape((1, count))(steps))
    return keras.Model(steps, keras.layers.Add(name="levelled")([steps, mean]))


def rows_of(size=4):
    """A model with a weight for each row of a square, which Keras adds to its columns at every batch size."""

    @keras.saving.register_keras_serializable("test_broadcast_sums")
    class RowBias(keras.layers.Layer):
        def build(self, shape):
            self.bias = self.add_weight((shape[1], 1), "random_normal", name="bias")

        def call(self, x):
            return ops.add(x, self.bias)

        def compute_output_shape(self, shape):
            return shape

    x = keras.Input((size, size), name="square")
    return keras.Model(x, keras.layers.Dense(2, name="head")(RowBias(name="rows")(x)))


def bundles_of_levels():
    """Returns a forecaster and a classifier of four numbers, which add a level to each."""
    series = {"channels": ["a"], "future": [], "targets": 1, "length": 4, "horizon": 4, "mean": [0.0], "std": [1.0]}
    numbers_in = keras.Input((4,), name="numbers")
    steps = keras.layers.Reshape((4, 1))(numbers_in)
    mean = keras.layers.Dense(1, name="level")(keras.layers.Reshape((1, 4))(steps))
    levelled = keras.layers.Reshape((4,))(keras.layers.Add(name="levelled")([steps, mean]))
    model = keras.Model(numbers_in, keras.layers.Dense(3, name="head")(levelled))
    table = {"mean": [0.0] * 4, "std": [1.0] * 4}
    return (
        Bundle.of(level_of(), name="levels", labels=("a",), task="forecasting", preprocess=series),
        Bundle.of(model, name="rows", labels=("a", "b", "c"), task="tabular_classification", preprocess=table),
    )


def sum_of(first, second):
    return np.asarray(ops.add(numbers(first), numbers(second, 1)))


def test_the_shapes_are_exactly_those_that_keras_gets_wrong():
    wrong = set()
    for first, second in PAIRS:
        expected = numbers(first) + numbers(second, 1)
        result = sum_of(first, second)
        if result.shape != expected.shape or np.abs(result - expected).max() > 1e-5:
            wrong.add((first, second))
    assert wrong == {pair for pair in PAIRS if is_misread(*pair)}
    assert len(wrong) > 20


def test_neighbours_of_the_sum_have_no_such_case():
    for function, (first, second) in product(NEIGHBOURS, PAIRS):
        expected = getattr(np, function.__name__)(numbers(first), numbers(second, 1))
        np.testing.assert_allclose(np.asarray(function(numbers(first), numbers(second, 1))), expected, rtol=1e-5)


def test_mended_sums_are_those_of_numpy():
    with mended_sums() as sums:
        for first, second in PAIRS:
            np.testing.assert_allclose(sum_of(first, second), numbers(first) + numbers(second, 1), rtol=1e-6)
    assert len(sums) == sum(is_misread(*pair) for pair in PAIRS)
    assert sums[0].endswith("in a function outside any layer")


def test_mended_sums_of_a_model_do_not_depend_on_its_batch():
    model, steps = level_of(), numbers((4, 4, 1))
    single = np.concatenate([np.asarray(model(steps[index : index + 1])) for index in range(4)])
    assert np.abs(np.asarray(model(steps)) - single).max() > 0.1
    with mended_sums() as sums:
        np.testing.assert_allclose(np.asarray(model(steps)), single, rtol=1e-5)
    assert sums == ["(4, 4, 1) + (4, 1, 1) in layer 'levelled'"]


def test_refused_sums_name_shapes_and_layer():
    expected = r"\(4, 4, 1\) \+ \(4, 1, 1\) in layer 'levelled'.*smaller summand first"
    with pytest.raises(TrainingError, match=expected), refused_sums(TrainingError):
        level_of()(numbers((4, 4, 1)))
    with refused_sums(TrainingError):
        level_of()(numbers((3, 4, 1)))


def test_blocks_may_end_in_any_order():
    usual, first, second = backend.numpy.add, mended_sums(), refused_sums(ExportError)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with pytest.raises(ExportError, match=r"\(3, 3\) \+ \(3, 1\)"):
        sum_of((3, 3), (3, 1))
    second.__exit__(None, None, None)
    assert backend.numpy.add is usual


@pytest.mark.parametrize("asked_before", [False, True])
def test_a_bundle_answers_as_for_single_examples(asked_before):
    forecaster, classifier = bundles_of_levels()
    raw = numbers((4, 4, 1))
    for bundle, answers, given in ((forecaster, _forecasts, raw), (classifier, Bundle.logits, raw[..., 0])):
        if asked_before:  # compiled for this batch without the mend
            bundle.model.predict(given, verbose=0)
        single = np.concatenate([answers(bundle, given[index : index + 1]) for index in range(4)])
        np.testing.assert_allclose(answers(bundle, given), single, rtol=1e-4)
    rows, labels = raw[..., 0], np.array([0, 1, 2, 0])
    loss = np.mean([classifier.evaluate((rows[k : k + 1], labels[k : k + 1]))["loss"] for k in range(4)])
    assert classifier.evaluate((rows, labels))["loss"] == pytest.approx(loss, rel=1e-4)
    forecasts = forecaster.evaluate((raw, raw))["mae"]
    assert forecasts == pytest.approx(np.abs(_forecasts(forecaster, raw) - raw[..., 0]).mean(), rel=1e-4)


def _forecasts(bundle, raw):
    return np.array([each["forecast"]["a"] for each in bundle.predict(raw)])


@pytest.mark.parametrize("model", [rows_of, lambda: level_of(2)], ids=["always", "of two examples"])
def test_the_bridge_refuses_it(model):
    with pytest.raises(ExportError, match=r"in layer '(rows|levelled)'"):
        bridge(model())


@pytest.mark.parametrize("suffix", EXPORTS)
def test_exports_compute_what_single_examples_give(suffix, tmp_path):
    model = level_of(8)  # as many steps as the examples that an export runs at once
    assert EXPORTS[suffix](model, tmp_path / suffix).worst_absolute < 1e-4


@pytest.mark.parametrize("suffix", EXPORTS)
def test_exports_refuse_a_model_whose_sum_keras_always_misreads(suffix, tmp_path):
    with pytest.raises(ExportError, match=r"\(None, 4, 4\) \+ \(4, 1\) in layer 'rows'"):
        EXPORTS[suffix](rows_of(), tmp_path / suffix)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("model", "layer"), [(rows_of, "rows"), (level_of, "levelled")])
def test_fit_refuses_to_train_it(model, layer):
    model = model()
    x, y = numbers((8, *model.input_shape[1:])), numbers((8, *model.output_shape[1:]))
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(4, drop_remainder=True)
    with pytest.raises(TrainingError, match=f"in layer '{layer}'"):
        fit(model, batches, loss="mse", config=RunConfig(epochs=1, progress="off"))


def test_fit_trains_it_in_batches_of_a_free_size():
    model = level_of()
    run = fit(model, (numbers((8, 4, 1)),) * 2, loss="mse", config=RunConfig(epochs=1, batch_size=4, progress="off"))
    assert len(run.history["loss"]) == 1
