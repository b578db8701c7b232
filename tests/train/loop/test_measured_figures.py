"""Figures that callbacks measure: in the history, as the monitored figure, with gaps, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError
from kerasdl.train import LoopConfig, RunCallback, RunConfig, State, fit, run_steps
from kerasdl.train.distribute import workers
from kerasdl.train.loop.coordination import Coordinator


class Measured(RunCallback):
    """Gives the figures that it was made with, one dict an epoch."""

    def __init__(self, *figures):
        self.figures, self.epochs = figures, []

    def measure(self, epoch):
        self.epochs.append(epoch)
        return self.figures[epoch]


def run(run_callbacks, epochs=4, monitor=("fid", "min"), coordinator=None, **settings):
    weight = tf.Variable(0.0)

    def step(stream):
        weight.assign_add(next(stream))
        return {"loss": 1.0}

    parts = {
        "figures": lambda: {"loss": 1.0},
        "run_callbacks": run_callbacks,
        "coordinator": coordinator or Coordinator(),
    }
    state = State(None, {"weight": weight}, {}, lambda epoch, batch: iter([1.0]), 1, **parts)
    config = LoopConfig(epochs=epochs, monitor=monitor, progress="off", **settings)
    return run_steps(step, state, config), float(weight)


def test_they_stand_in_history_and_log_and_say_which_epoch_is_best(tmp_path):
    callback = Measured({}, {"fid": 7.0}, {}, {"fid": np.float32(9.0), "count": 3})
    found, weight = run([callback], folder=tmp_path)
    np.testing.assert_array_equal(found.history["fid"], [np.nan, 7.0, np.nan, 9.0])
    assert (found.best[:2], weight, callback.epochs) == ((7.0, 2), 2.0, [0, 1, 2, 3])
    assert (tmp_path / "log.csv").read_text().splitlines()[-2:] == ["3,1.0,,", "4,1.0,9.0,3.0"]
    again, weight = run([Measured()], folder=tmp_path)
    assert (again.best[:2], weight) == ((7.0, 2), 2.0)


def test_patience_counts_the_epochs_that_have_the_figure():
    figures = [{}, {"fid": 7.0}, {}, {"fid": 8.0}, {}, {}, {"fid": 7.5}, {"fid": 1.0}]
    found, _ = run([Measured(*figures)], epochs=8, patience=2)
    assert (found.stopped, len(found.history["loss"]), found.best.epoch) == ("early", 7, 2)


def test_a_figure_that_no_epoch_had_is_refused_at_the_end():
    with pytest.raises(ArgumentError, match=r"monitor must name one of \('loss', 'FID'\).*got 'fid'"):
        run([Measured({}, {"FID": 1.0}, {}, {})])


@pytest.mark.parametrize(
    ("run_callbacks", "text"),
    [
        ([Measured({"fid": "low"})], "measure of Measured must return a dict of numbers by name; got \"'fid': 'low'"),
        ([Measured({"fid": [1.0]})], "numbers by name"),
        ([Measured({"fid": None})], "numbers by name"),
        ([Measured({"fid": True})], "numbers by name"),
        ([Measured({3: 1.0})], "numbers by name"),
        ([Measured(None)], "Return {} for an epoch without figures"),
        ([Measured({"loss": 1.0})], r"names that are not taken; got 'loss'"),
        ([Measured({"fid": 1.0}), Measured({"fid": 2.0})], r"names that are not taken; got 'fid'"),
    ],
    ids=["text", "list", "none", "truth", "number as name", "nothing", "loss", "twice"],
)
def test_what_is_no_figure_is_refused_by_name(run_callbacks, text):
    with pytest.raises(ArgumentError, match=text):
        run(run_callbacks, epochs=1)


class Second(Coordinator):
    """One of two workers, not the chief, who hears that the chief measured 5."""

    chief = False

    def broadcast_from_chief(self, value):
        self.own = value
        return {"fid": 5.0}


def test_all_workers_measure_and_take_the_chiefs_figures():
    coordinator = Second()
    found, _ = run([Measured({"fid": 6.0})], epochs=1, coordinator=coordinator)
    assert (coordinator.own, found.history["fid"]) == ({"fid": 6.0}, [5.0])


def test_a_callback_that_writes_measures_on_the_chief_alone():
    coordinator, callback = Second(), Measured()
    callback.writes = True
    found, _ = run([callback], epochs=1, coordinator=coordinator)
    assert (coordinator.own, callback.epochs, found.history["fid"]) == ({}, [], [5.0])


@pytest.mark.parametrize("value", [{}, {"fid": 0.1 + 0.2, "mAP@50": 1e-300, "gap": float("nan"), "bleu π": -3.0}])
def test_what_travels_between_workers_arrives_bit_for_bit(value):
    chief, other = (workers.Workers.__new__(workers.Workers) for _ in range(2))
    chief.chief, other.chief = True, False
    lengths, sent = [], []

    def all_gather(number):
        lengths.append(number)
        return [lengths[0], 0.0]

    def total(mine):  # over two local replicas of each worker
        sent.append(mine.numpy())
        return tf.constant(2 * sum(sent))

    for each in (chief, other):
        each.local_replicas, each.all_gather, each._sum = 2, all_gather, total
    np.testing.assert_equal(chief.broadcast_from_chief(value), value)
    np.testing.assert_equal(other.broadcast_from_chief({"fid": 9.0}), value)


def test_fit_measures_under_the_weights_that_are_validated(toy, task):
    model = toy.model()

    class Norm(RunCallback):
        def measure(self, epoch):
            return {"norm": float(keras.ops.norm(model.get_layer("head").kernel))}

    config = RunConfig(epochs=3, ema=0.9, monitor=("norm", "max"), progress="off", strategy=None)
    found = fit(model, toy.data(), task=task, callbacks=[Norm()], config=config)
    assert found.best.value == max(found.history["norm"])
    assert Norm().measure(0)["norm"] == found.best.value  # the averages of that epoch are what is kept
