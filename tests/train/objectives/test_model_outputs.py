"""Models without a graph: what they give is looked at before a run as it is of functional ones."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError
from kerasdl.data import as_dataset
from kerasdl.train import RunConfig, fit
from kerasdl.train.objectives.model_outputs import outputs_of

QUIET = RunConfig(progress="off", strategy=None, epochs=1, batch_size=4, optimizer="sgd")
X = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
NUMBERS = (np.arange(8) % 3).astype(np.int32)
SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Net(keras.Model):
    def __init__(self, units=3, activation=None, built=False):
        super().__init__()
        self.last = keras.layers.Dense(units, activation)
        if built:
            self(np.zeros((1, 4), np.float32))

    def call(self, x):
        return self.last(x)


def sequential(units=3, activation=None, built=False):
    entry = [keras.Input((4,))] if built else []
    return keras.Sequential([*entry, keras.layers.Dense(units, activation)])


KINDS = [(build, built) for build in (Net, sequential) for built in (False, True)]


@pytest.mark.parametrize(("build", "built"), KINDS)
def test_outputs_of_a_model_without_a_graph_are_known(build, built):
    model = build(built=built)
    assert [tuple(each.shape) for each in outputs_of(model, as_dataset((X, NUMBERS))).outputs] == [(None, 3)]
    assert model.built


@pytest.mark.parametrize(("build", "built"), KINDS)
@pytest.mark.parametrize(
    ("labels", "loss", "activation", "words"),
    [
        (X[:, 0], "mse", None, "shape of the outputs"),  # would be spread over three outputs
        (np.eye(3, dtype="float32")[NUMBERS], SPARSE, None, "class numbers"),
        (NUMBERS + 1, SPARSE, None, "whole numbers from 0 to 2"),
        (NUMBERS, SPARSE, "softmax", "from_logits=True must have a model that gives logits"),
        (NUMBERS, "sparse_categorical_crossentropy", None, "from_logits=False must have a model that gives prob"),
    ],
)
def test_labels_and_losses_are_checked_for_a_model_without_a_graph(build, built, labels, loss, activation, words):
    with pytest.raises(ArgumentError, match=words):
        fit(build(activation=activation, built=built), (X, labels), loss=loss, config=QUIET)


@pytest.mark.parametrize("built", [False, True])
def test_data_that_a_model_does_not_take_are_refused_in_a_line(built):
    data = tf.data.Dataset.from_tensor_slices((X, NUMBERS))  # not batched
    with pytest.raises(ArgumentError, match=r"data must be batches that 'net.*takes.*float32") as caught:
        fit(Net(built=built), data, loss=SPARSE, config=QUIET)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("build", [Net, sequential])
def test_a_loss_by_the_name_of_its_output_trains_a_model_without_names(build):
    run = fit(build(), (X, NUMBERS), loss={"out": SPARSE}, metrics={"out": "accuracy"}, config=QUIET)
    assert "accuracy" in run.history


def test_a_task_takes_the_probabilities_of_a_model_without_a_graph(task):
    model = Net(activation="softmax", built=True)
    run = fit(model, (X, NUMBERS), task=task, config=RunConfig(**{**vars(QUIET), "learning_rate": 0.0}))
    shares = model(X).numpy()
    assert run.history["loss"][0] == pytest.approx(-np.log(shares[np.arange(8), NUMBERS]).mean(), rel=1e-5)


def test_outputs_in_a_dict_take_losses_and_labels_by_name():
    tensor = keras.Input((4,))
    outputs = {name: keras.layers.Dense(size, name=name)(tensor) for name, size in (("one", 1), ("all", 3))}
    model, losses = keras.Model(tensor, outputs), {"one": "mse", "all": SPARSE}
    named = tf.data.Dataset.from_tensors((X, {"one": X[:, :1], "all": NUMBERS}))
    assert fit(model, named, loss=losses, config=QUIET).history["loss"][0] > 0
    with pytest.raises(ArgumentError, match="loss of a model with outputs in a dict must name them"):
        fit(model, named, loss=["mse", SPARSE], config=QUIET)
    with pytest.raises(ArgumentError, match="labels of a model with outputs in a dict must name them"):
        fit(model, tf.data.Dataset.from_tensors((X, (X[:, :1], NUMBERS))), loss=losses, config=QUIET)
