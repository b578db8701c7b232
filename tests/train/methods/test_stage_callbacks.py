"""Callbacks, losses and metrics of calls that train in stages: every stage gets them, and trackers one run each."""

import csv

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.train import RunConfig, finetune, fit_progressively, tracking

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(16, 4)).astype("float32"), RNG.integers(0, 3, 16).astype("int32")
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def net():
    keras.utils.set_random_seed(0)
    x = entry = keras.Input((4,))
    for name in ("first", "second"):
        x = keras.layers.Dense(5, activation="tanh", name=name)(x)
    return keras.Model(entry, keras.layers.Dense(3, name="head")(x))


def quiet(epochs=4, **settings):
    return RunConfig(epochs=epochs, batch_size=8, progress="off", **settings)


class Count(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.epochs = 0

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1


def epochs_in(path):
    with open(path, newline="") as file:
        return len(list(csv.DictReader(file)))


def test_loss_metrics_and_callbacks_reach_every_stage():
    count = Count()
    run = finetune(net(), (X, Y), loss=LOSS, metrics=["accuracy"], callbacks=[count], config=quiet())
    assert count.epochs == 4
    assert "accuracy" in run.history
    assert run.model.loss is LOSS


def test_trackers_log_a_run_for_each_stage(tmp_path):
    def log(stage):
        return [tracking.CSVLog(tmp_path / f"{stage}.csv")]

    finetune(net(), (X, Y), loss=LOSS, freeze="gradual", groups=2, callbacks=log, config=quiet())
    written = {path.stem: epochs_in(path) for path in tmp_path.glob("*.csv")}
    assert written == {"head": 1, "stage1": 1, "stage2": 2}


def test_a_tracker_for_several_stages_is_refused(tmp_path):
    tracker = tracking.CSVLog(tmp_path / "all.csv")
    with pytest.raises(ArgumentError, match=r"each of 2 stages must have a tracker of its own; got \['CSVLog'\]"):
        finetune(net(), (X, Y), loss=LOSS, callbacks=[tracker], config=quiet())
    finetune(net(), (X, Y), loss=LOSS, callbacks=[tracker], freeze="backbone", config=quiet())
    assert epochs_in(tmp_path / "all.csv") == 4


def test_growing_images_are_tracked_by_size(tmp_path):
    model = kerasdl.build("resnet18", image_shape=(None, None, 1), channels=4, stages=(1, 1), classes=10)
    count = Count()

    def log(stage):
        return [count, tracking.CSVLog(tmp_path / f"{stage}.csv")]

    digits = kerasdl.data.load("digits").take(16)
    fit_progressively(model, digits, (16, 24), metrics=[], callbacks=log, config=quiet(epochs=2))
    assert sorted(path.stem for path in tmp_path.glob("*.csv")) == ["size16", "size24"]
    assert count.epochs == 2


@pytest.mark.parametrize(
    ("freeze", "stages"), [("staged", ["head", "stage1"]), ("backbone", ["head"]), ("none", ["stage1"])]
)
def test_a_bundle_is_tuned_under_a_tracker(freeze, stages, tmp_path):
    few = kerasdl.data.load("iris").take(16)
    model = kerasdl.build("mlp", features=4, classes=3)
    settings = {"mean": [5.8, 3.1, 3.8, 1.2], "std": [0.8, 0.4, 1.8, 0.8]}
    bundle = kerasdl.bundles.Bundle.of(
        model, name="iris", task="tabular_classification", preprocess=settings, labels=few.class_names
    )

    def log(stage):
        return [tracking.CSVLog(tmp_path / f"{stage}.csv")]

    bundle.finetune(few, epochs=2, freeze=freeze, callbacks=log, config=quiet())
    assert sorted(path.stem for path in tmp_path.glob("*.csv")) == stages
