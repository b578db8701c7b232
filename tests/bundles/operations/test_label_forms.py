"""Labels in every form that people have, from arrays and pipelines: right, or refused in one line."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.bundles import Bundle
from kerasdl.core import ArgumentError, BundleError, DataError
from kerasdl.data import as_dataset
from kerasdl.train import RunConfig

L = keras.layers
QUIET = RunConfig(progress="off", strategy=None)
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(31, 4)).astype("float32"), np.arange(31) % 3
DTYPES = ("int8", "int64", "uint8", "bool", "float16", "float32", "float64")


@pytest.fixture(scope="module")
def bundle():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, L.Dense(3, name="head")(inputs))
    model.set_weights([RNG.normal(size=(4, 3)), np.zeros(3)])
    settings = {"mean": [0.0] * 4, "std": [1.0] * 4}
    return Bundle.of(
        model, name="rows", task="tabular_classification", preprocess=settings, labels=("cat", "dog", "hen")
    )


@pytest.fixture(scope="module")
def right(bundle):
    """Loss and accuracy of a plain NumPy loop."""
    logits = bundle.model.predict(X, verbose=0).astype("float64")
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(31), Y]
    return {"loss": losses.mean(), "accuracy": (logits.argmax(axis=1) == Y).mean()}


def pipeline(labels, batch=7):
    return tf.data.Dataset.from_tensor_slices((X, labels)).batch(batch)


FORMS = {
    "whole numbers": Y,
    "a column": Y[:, None],
    "floats": Y.astype("float64"),
    "bytes": Y.astype("uint8"),
    **{f"one-hot {dtype}": np.eye(3)[Y].astype(dtype) for dtype in DTYPES},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_figures(form, bundle, right):
    for data in ((X, FORMS[form]), [X, FORMS[form]], pipeline(FORMS[form])):
        assert bundle.evaluate(data) == pytest.approx(right, rel=1e-4)


def test_names_of_classes_are_labels_too(bundle, right):
    names = np.array(bundle.labels)[Y]
    for labels in (names, names.astype(object), list(names)):
        assert bundle.evaluate((X, labels)) == pytest.approx(right, rel=1e-4)
    with pytest.raises(ArgumentError, match=r"among the classes .*; got \"'cow'\""):
        bundle.evaluate((X, np.where(Y == 0, "cow", names)))


@pytest.mark.parametrize("batch", [1, 7, 31, 64])
def test_a_last_batch_that_is_smaller_weighs_less(batch, bundle, right):
    assert bundle.evaluate((X, Y), batch_size=batch) == pytest.approx(right, rel=1e-4)
    assert bundle.evaluate(pipeline(Y, batch)) == pytest.approx(right, rel=1e-4)
    unknown = pipeline(Y, batch).filter(lambda x, y: True)
    assert bundle.evaluate(unknown) == pytest.approx(right, rel=1e-4)


def test_one_example_is_enough(bundle):
    assert set(bundle.evaluate((X[:1], Y[:1]))) == {"loss", "accuracy"}


BAD = {
    "beyond the classes": (np.where(Y == 0, 7, Y), "whole numbers from 0 to 2"),
    "negative": (np.where(Y == 0, -1, Y), "whole numbers from 0 to 2"),
    "two ones in a row": (np.ones((31, 3), int), "one-hot rows"),
    "no one in a row": (np.zeros((31, 3), "float32"), "one-hot rows"),
    "shares": (np.full((31, 3), 1 / 3, "float32"), "one-hot rows"),
    "of more classes": (np.eye(5)[Y], "one-hot rows of 3"),
    "of fewer classes": (np.eye(2)[Y % 2], "one-hot rows of 3"),
    "of another rank": (np.zeros((31, 3, 3)), "one-hot rows of 3"),
    "a row that sums to 1 by chance": (np.tile([1.0, 1.0, -1.0], (31, 1)), "one-hot rows"),
    "not a number": (np.where(Y == 0, np.nan, Y), "whole numbers from 0 to 2"),
}


@pytest.mark.parametrize("name", BAD)
def test_other_labels_are_refused_in_one_line(name, bundle):
    labels, said = BAD[name]
    for data in ((X, labels), pipeline(labels)):
        for ask in (bundle.evaluate, lambda data: bundle.finetune(data, epochs=1, config=QUIET)):
            with pytest.raises(ArgumentError) as caught:
                ask(data)
            assert said in str(caught.value)
            assert "\n" not in str(caught.value)


def test_fractions_are_no_classes(bundle):
    for data in ((X, Y / 2), pipeline(Y / 2)):
        with pytest.raises(ArgumentError, match="whole numbers"):
            bundle.evaluate(data)


@pytest.mark.parametrize("form", FORMS)
def test_a_pipeline_that_tells_no_shapes_is_read_alike(form, bundle, right):
    def hidden(x, y):
        kinds = (x.dtype, y.dtype)
        inputs, labels = tf.numpy_function(lambda x, y: (x, y), (x, y), kinds)
        inputs.set_shape((None, 4))
        return inputs, labels

    data = pipeline(FORMS[form]).map(hidden)
    assert data.element_spec[1].shape.rank is None
    assert bundle.evaluate(data) == pytest.approx(right, rel=1e-4)
    with pytest.raises(ArgumentError, match="from 0 to 2"):
        bundle.evaluate(pipeline(FORMS[form] * 5.0).map(hidden))


def test_labels_that_no_bundle_may_have_are_refused_before_training(bundle, monkeypatch):
    monkeypatch.setattr(
        "kerasdl.bundles.bundle.finetuning.finetune_networks", lambda *args, **kwargs: pytest.fail("trained")
    )
    for labels, text in ((("a", "a", "b"), "differ"), ((0, 1, 2), "a text"), (("a", "b", ""), "a text")):
        with pytest.raises(BundleError, match=text):
            bundle.finetune((X, Y), labels=labels, config=QUIET)


def test_classes_without_names_are_numbers(bundle):
    numbered = as_dataset((X, Y))
    with pytest.raises(ArgumentError, match=r"as_dataset\(data, class_names=bundle.labels\)"):
        bundle.evaluate(numbered)
    plain = Bundle.of(bundle.model, name="rows", task=bundle.task, preprocess=bundle.preprocess)
    assert plain.evaluate(numbered) == pytest.approx(bundle.evaluate((X, Y)))


def test_texts_are_labels_of_arrays_in_every_task():
    assert as_dataset((X, np.array(["a", "b"])[Y % 2]), task="tabular_classification").class_names == ()


@pytest.mark.parametrize("form", [Y, np.eye(3, dtype="uint8")[Y]])
def test_labels_name_the_classes_of_a_pipeline(form, bundle):
    tuned = bundle.finetune(pipeline(form), epochs=1, labels=("a", "b", "c"), config=QUIET)
    assert tuned.labels == ("a", "b", "c")
    assert tuned.model.output_shape == (None, 3)
    kept = bundle.finetune(pipeline(form), pipeline(form), epochs=1, config=QUIET)
    assert kept.labels == bundle.labels
    assert set(kept.manifest.metrics["data validation"]) == {"loss", "accuracy"}


def test_labels_must_fit_the_data(bundle):
    for data in (pipeline(Y), (X, Y)):
        with pytest.raises(ArgumentError, match="whole numbers from 0 to 1"):
            bundle.finetune(data, epochs=1, labels=("a", "b"), config=QUIET)
    more = bundle.finetune((X, Y), epochs=1, labels=("a", "b", "c", "d"), config=QUIET)
    assert more.model.output_shape == (None, 4)
    named = as_dataset((X, Y), class_names=("x", "y", "z"))
    with pytest.raises(ArgumentError, match=r"labels must name the classes of data, \('x', 'y', 'z'\)"):
        bundle.finetune(named, labels=("a", "b", "c"), config=QUIET)
    renamed = bundle.finetune(as_dataset((X, Y)), epochs=1, labels=("a", "b", "c"), config=QUIET)
    assert renamed.labels == ("a", "b", "c")


def test_data_without_end_or_content_are_refused_by_name(bundle):
    for endless in (pipeline(Y).repeat(), pipeline(Y).repeat().filter(lambda x, y: True)):
        with pytest.raises(ArgumentError, match="must end"):
            bundle.evaluate(endless)
        with pytest.raises(ArgumentError, match="must end"):
            bundle.finetune((X, Y), endless, epochs=1, config=QUIET)
    with pytest.raises(DataError, match="holds none"):
        bundle.evaluate(pipeline(Y).take(0))


def test_several_labels_are_refused_by_name(bundle):
    named = tf.data.Dataset.from_tensor_slices((X, {"kind": Y, "size": X[:, 0]})).batch(7)
    for ask in (bundle.evaluate, bundle.finetune):
        with pytest.raises(ArgumentError, match=r"one tensor.*\['kind', 'size'\]"):
            ask(named)


def test_inputs_of_another_shape_are_refused_in_one_line(bundle):
    wide = tf.data.Dataset.from_tensor_slices((np.zeros((6, 5), "float32"), Y[:6])).batch(2)
    for ask in (bundle.evaluate, lambda data: bundle.finetune(data, config=QUIET)):
        with pytest.raises(ArgumentError, match=r"\(None, 4\) float32; got '\(None, 5\) float32'"):
            ask(wide)


def test_a_regression_has_a_value_for_each_output():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, L.Dense(1)(inputs))
    settings = {"mean": [0.0] * 4, "std": [1.0] * 4}
    dose = Bundle.of(model, name="dose", task="tabular_regression", preprocess=settings)
    truth = X.sum(axis=1)
    error = np.mean((model.predict(X, verbose=0)[:, 0] - truth) ** 2)
    for values in (truth, truth[:, None], truth.astype("float64")):
        assert dose.evaluate((X, values))["loss"] == pytest.approx(error, rel=1e-4)
    with pytest.raises(ArgumentError, match="1 value an example"):
        dose.evaluate((X, np.stack([truth, truth], axis=1)))
    for missing in ((X, np.where(X[:, 0] > 0, np.nan, truth)), pipeline(np.where(X[:, 0] > 0, np.inf, truth))):
        with pytest.raises(ArgumentError, match="must be finite"):
            dose.evaluate(missing)


def test_figures_and_answers_that_are_no_numbers_are_refused(bundle):
    with pytest.raises(DataError, match="the loss over data must be a finite number; got nan"):
        bundle.evaluate(tf.data.Dataset.from_tensor_slices((np.where(X > 2, np.nan, X), Y)).batch(7))
    broken = Bundle.of(
        keras.models.clone_model(bundle.model), name="broken", task=bundle.task, preprocess=bundle.preprocess
    )
    broken.model.set_weights([np.full((4, 3), np.nan), np.zeros(3)])
    with pytest.raises(DataError, match=r"finite numbers; .* gives \[nan, nan, nan\] for input 0"):
        broken.predict(X)


RAW = {
    "a row alone": (X[0], r"\(B, 4\); got 'shape \(4,\)'. Give one row a first axis"),
    "other features": (X[:, :3], r"\(B, 4\); got 'shape \(31, 3\)'"),
    "texts": ([["a", "b", "c", "d"]], r"numbers \(B, 4\); got \"list"),
    "rows of unlike length": ([[1, 2, 3, 4], [1, 2]], r"numbers \(B, 4\)"),
    "a dict": ({"a": 1}, r"numbers \(B, 4\)"),
    "a gap": ([[1, 2, 3, None]], "nan in row 0, feature 3"),
}


@pytest.mark.parametrize("name", RAW)
def test_rows_that_the_model_cannot_take_are_refused_in_one_line(name, bundle):
    raw, said = RAW[name]
    for ask in (bundle.predict, bundle.logits, lambda raw: bundle.evaluate((raw, Y[: len(raw)]))):
        with pytest.raises(ArgumentError, match=said) as caught:
            ask(raw)
        assert "\n" not in str(caught.value)
    with pytest.raises(ArgumentError, match="batch_size must be"):
        bundle.predict(X, batch_size=0)
