"""Bundles of models that end in a softmax or sigmoid: their outputs are taken as they are."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerasdl.bundles import Bundle, load_bundle
from kerasdl.core import ArgumentError, BundleError
from kerasdl.train import RunConfig

L = keras.layers
ROWS = {"mean": [0.0] * 4, "std": [1.0] * 4}
QUIET = RunConfig(progress="off", strategy=None)
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(30, 4)).astype("float32"), np.arange(30) % 3


def end(kind, x):
    if kind == "dense":
        return L.Dense(3, activation="softmax", name="head")(x)
    logits = L.Dense(3, name="head")(x)
    if kind == "reshape":
        return L.Reshape((3,))(L.Activation("softmax")(L.Reshape((1, 3))(logits)))
    return L.Softmax()(logits) if kind == "layer" else logits


def rows(kind):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, end(kind, inputs))
    kernel = np.random.default_rng(1).normal(size=(4, 3))
    model.set_weights([kernel, np.zeros(3)])
    return Bundle.of(model, name=kind, task="tabular_classification", preprocess=ROWS, labels="rgb")


@pytest.fixture(scope="module")
def linear():
    return rows("linear")


@pytest.mark.parametrize("kind", ["dense", "layer", "reshape"])
def test_a_softmax_at_the_end_changes_no_answer(kind, linear, tmp_path):
    bundle, outputs = rows(kind), rows(kind).model.predict(X, verbose=0)
    assert (bundle.manifest.outputs, linear.manifest.outputs) == ("probabilities", "logits")
    for found, wanted, row in zip(bundle.predict(X), linear.predict(X), outputs, strict=True):
        assert found["label"] == wanted["label"] == "rgb"[row.argmax()]
        assert found["score"] == pytest.approx(float(row.max()), abs=1e-6)
        assert found["scores"] == pytest.approx(wanted["scores"], abs=1e-6)
    shift = bundle.logits(X) - linear.logits(X)
    np.testing.assert_allclose(shift, shift[:, :1].repeat(3, axis=1), atol=1e-5)
    assert bundle.evaluate((X, Y)) == pytest.approx(linear.evaluate((X, Y)), abs=1e-5)
    bundle.save(tmp_path / "soft.zip")
    assert load_bundle(tmp_path / "soft.zip").manifest.outputs == "probabilities"


@pytest.mark.parametrize("kind", ["dense", "layer"])
def test_fine_tuning_goes_on_from_probabilities_or_with_a_fresh_head(kind):
    bundle = rows(kind)
    same = bundle.finetune((X, Y), epochs=1, learning_rate=1e-9, config=QUIET)
    assert same.manifest.outputs == "probabilities"
    assert same.evaluate((X, Y))["loss"] == pytest.approx(bundle.evaluate((X, Y))["loss"], abs=1e-4)
    other = bundle.finetune((X, Y % 2), labels=("a", "b"), epochs=1, config=QUIET)
    assert other.manifest.outputs == "logits"
    assert other.model.output_shape == (None, 2)


def test_a_sigmoid_at_the_end_finds_the_labels_that_the_model_finds():
    inputs = keras.Input((2, 2, 3))
    dense = L.Dense(3, activation="sigmoid")
    model = keras.Model(inputs, dense(L.GlobalAveragePooling2D()(inputs)))
    dense.set_weights([40 * np.eye(3, dtype="float32"), np.full(3, -20)])
    settings = {"image_shape": (2, 2, 3), "scale": (0, 1)}
    bundle = Bundle.of(model, name="s", task="multi_label_classification", preprocess=settings, labels="rgb")
    pixels = np.zeros((3, 2, 2, 3), np.uint8)
    pixels[0, ..., 0], pixels[1, ..., 1:] = 255, 255
    assert [each["labels"] for each in bundle.predict(pixels)] == [["r"], ["g", "b"], []]
    truth = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0]])
    for labels in (truth, truth.astype(bool), truth.astype("float64"), truth.astype(np.uint8)):
        figures = bundle.evaluate((pixels, labels))
        assert figures["accuracy"] == 1
        assert figures["loss"] < 1e-3
    with pytest.raises(ArgumentError, match="rows of 3 numbers 0 and 1"):
        bundle.evaluate((pixels, np.array([0, 1, 2])))


def test_a_regressor_that_ends_in_a_sigmoid_gives_its_value():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, L.Dense(1, activation="sigmoid")(inputs))
    bundle = Bundle.of(model, name="dose", task="tabular_regression", preprocess=ROWS)
    assert bundle.manifest.outputs == "values"
    given = [each["value"] for each in bundle.predict(X)]
    np.testing.assert_allclose(given, model.predict(X, verbose=0)[:, 0], rtol=1e-5)
    np.testing.assert_allclose(bundle.logits(X), model.predict(X, verbose=0), rtol=1e-5)


def test_a_manifest_that_says_otherwise_is_refused(linear):
    said = dataclasses.replace(rows("layer").manifest, outputs="logits")
    with pytest.raises(BundleError, match=r"what the model gives, probabilities \(softmax"):
        dataclasses.replace(rows("layer"), manifest=said)
    with pytest.raises(BundleError, match=r"what the model gives, logits \(head ends in linear"):
        dataclasses.replace(linear, manifest=dataclasses.replace(linear.manifest, outputs="probabilities"))
    with pytest.raises(BundleError, match="outputs must be one of"):
        dataclasses.replace(linear.manifest, outputs="scores")


def test_a_bundle_of_an_earlier_version_is_taken_by_its_graph(linear):
    values = {**dataclasses.asdict(rows("layer").manifest), "schema": 1}
    del values["outputs"]
    old = type(linear.manifest).from_json(json.dumps(values))
    assert old.outputs == ""
    assert dataclasses.replace(rows("layer"), manifest=old).manifest.outputs == "probabilities"


def test_a_net_of_one_sigmoid_is_no_classifier():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, L.Dense(1, activation="sigmoid")(inputs))
    with pytest.raises(BundleError, match="an output for each class, 2 or more"):
        Bundle.of(model, name="binary", task="tabular_classification", preprocess=ROWS, labels=("ill",))


def test_served_files_have_the_score_of_predict(tmp_path):
    inputs = keras.Input((2, 2, 3))
    model = keras.Model(inputs, L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(inputs)))
    settings = {"image_shape": (2, 2, 3), "scale": (0, 1)}
    bundle = Bundle.of(model, name="s", task="image_classification", preprocess=settings, labels="rgb")
    bundle.export(tmp_path / "served", image_bytes=True)
    pixels = RNG.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    serve = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_bytes"]
    given = serve(image_bytes=tf.constant([(tmp_path / "one.png").read_bytes()]))
    assert float(given["score"][0]) == pytest.approx(bundle.predict(pixels)[0]["score"], abs=1e-5)


def test_models_of_several_outputs_are_refused_by_name():
    inputs = keras.Input((4,))
    outputs = [L.Dense(3, name="head")(inputs), L.Dense(1, name="size")(inputs)]
    bundle = Bundle.of(
        keras.Model(inputs, outputs), name="two", task="tabular_classification", preprocess=ROWS, labels="rgb"
    )
    for ask in (lambda: bundle.predict(X), lambda: bundle.evaluate((X, Y)), lambda: bundle.finetune((X, Y))):
        with pytest.raises(ArgumentError, match=r"a model of one output; got \['head', 'size'\]"):
            ask()
    with pytest.raises(ArgumentError, match=r"must have one output; got \['head', 'size'\]"):
        bundle.task.replace_head(bundle.model, 5)


def test_probabilities_on_another_scale_are_neither_logits_nor_probabilities():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, L.Rescaling(100.0, name="per_cent")(L.Dense(3, activation="softmax")(inputs)))
    with pytest.raises(BundleError, match=r"logits or probabilities; got 'rescaled probabilities of per_cent'"):
        Bundle.of(model, name="rows", task="tabular_classification", preprocess=ROWS, labels="rgb")


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_served_files_of_several_labels_name_no_single_one(activation, tmp_path):
    inputs = keras.Input((2, 2, 3))
    model = keras.Model(inputs, L.Dense(3, activation=activation, name="head")(L.GlobalAveragePooling2D()(inputs)))
    settings = {"image_shape": (2, 2, 3), "scale": (0, 1)}
    bundle = Bundle.of(model, name="s", task="multi_label_classification", preprocess=settings, labels="rgb")
    bundle.export(tmp_path / "served", image_bytes=True)
    serve = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_bytes"]
    assert set(serve.structured_outputs) == {"head"}


def test_an_output_may_stand_in_a_dict():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, {"kind": end("dense", inputs)})
    bundle = Bundle.of(model, name="rows", task="tabular_classification", preprocess=ROWS, labels="rgb")
    wanted = model.predict(X, verbose=0)["kind"]
    assert [each["score"] for each in bundle.predict(X)] == pytest.approx(wanted.max(axis=1).tolist())
    assert bundle.evaluate((X, Y))["accuracy"] == pytest.approx((wanted.argmax(axis=1) == Y).mean())
