"""A tagger, whose model answers at each step, through the door of classifiers: bundle, evaluation, other labels."""

import keras
import numpy as np
import pytest
from keras import layers
from registering import registering

from kerasdl import Bundle
from kerasdl.blocks import replace_head
from kerasdl.core import ArgumentError, Task, register_task
from kerasdl.core.outputs.model_shapes import check_labels
from kerasdl.train import RunConfig

LENGTH, WORDS = 5, 9


def model_of(classes=3):
    tokens = keras.Input((LENGTH,), dtype="int32", name="tokens")
    x = layers.Embedding(WORDS, 8, name="embedding")(tokens)
    return keras.Model(tokens, layers.Dense(classes, name="head")(x), name="tagger")


TASK = Task(
    name="tagging_words",
    module=__name__,
    loss=lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=lambda: [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    monitor=("val_accuracy", "max"),
    check=lambda settings, labels, model: check_labels(labels, model),
    preprocess=lambda raw, settings: (np.asarray(raw, "int32"), None),
    preprocess_layers=lambda settings, shape: [],
    decode=lambda scores, labels, context: [{"tags": [labels[k] for k in row.argmax(-1)]} for row in scores],
    replace_head=replace_head,
    example=None,
    activation="softmax",
)


@pytest.fixture(scope="module", autouse=True)
def _registered():
    with registering():
        register_task(TASK)
        yield


@pytest.fixture
def bundle():
    return Bundle.of(model_of(), name="it", task="tagging_words", preprocess={}, labels=("noun", "verb", "other"))


def sentences(count=64):
    return np.random.default_rng(0).integers(0, WORDS, (count, LENGTH)).astype("int32")


def test_a_tagger_is_evaluated_and_tuned_to_other_labels_step_by_step(bundle):
    x = sentences()
    measured = bundle.evaluate((x, x % 3))
    logits = bundle.logits(x)
    assert measured["accuracy"] == pytest.approx((logits.argmax(-1) == x % 3).mean())
    config = RunConfig(progress="off", strategy=None, batch_size=8)
    tuned = bundle.finetune((x, x % 2), labels=("even", "odd"), epochs=12, learning_rate=0.1, config=config)
    assert tuned.manifest.provenance["fresh layers"] == "head"
    assert tuned.evaluate((x, x % 2))["accuracy"] == 1
    assert tuned.predict([[1, 2, 3, 4, 5]]) == [{"tags": ["odd", "even", "odd", "even", "odd"]}]


@pytest.mark.parametrize("labels", [np.zeros(64, int), np.zeros((64, 4), int), np.zeros((64, LENGTH, 3), int)])
def test_labels_that_are_none_for_each_step_are_refused(bundle, labels):
    with pytest.raises(ArgumentError, match=r"labels of arrays must have the shape \(None, 5\)"):
        bundle.evaluate((sentences(), labels))


@pytest.mark.parametrize("label", [-1, 3, 0.5])
def test_labels_that_name_no_class_are_refused(bundle, label):
    with pytest.raises(ArgumentError, match="whole numbers from 0 to 2"):
        bundle.evaluate((sentences(), np.full((64, LENGTH), label)))
