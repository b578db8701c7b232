"""`find_batch_size`: what it suggests, how it ends a process that takes too much, and what cannot go to one."""

import os
import sys
import textwrap
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError, TrainingError
from kerasdl.train.diagnostics import batch_size_finder, batch_size_worker
from kerasdl.train.diagnostics.batch_size_finder import (
    BatchMeasurement,
    BatchSearch,
    find_batch_size,
    measure_rising_sizes,
)

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def row(size, speed, memory=10**9):
    return BatchMeasurement(size, speed, memory, True, "")


def too_large(size):
    return BatchMeasurement(size, None, None, False, "does not fit: it took 9 MB")


@pytest.mark.parametrize(
    ("speeds", "wanted"),
    [([100, 200, 400, 410, 415], 32), ([100, 200, 100, 100], 16), ([100, 94, 105, 99], 8), ([400], 8)],
)
def test_suggests_the_smallest_with_95_percent_of_the_best_speed(speeds, wanted):
    rows = [row(8 * 2**k, speed) for k, speed in enumerate(speeds)]
    assert BatchSearch(tuple(rows), None).suggestion == wanted
    assert BatchSearch((*rows, too_large(1024)), None).suggestion == wanted


def test_nothing_fits():
    found = BatchSearch((too_large(8),), 9 * 10**6)
    assert found.suggestion is None
    assert "no size fitted" in str(found)
    found.plot()


@pytest.mark.parametrize(
    ("speeds", "largest", "tried"),
    [
        ([1, 2, 4, 8, 16], 64, [8, 16, 32, 64]),
        ([1, 2, 4, 8, 16], 100, [8, 16, 32, 64]),
        ([10, 10.4, 10.2, 20], 4096, [8, 16, 32]),  # two doublings without 5 %
        ([10, 10.4, 12, 12, 12, 20], 4096, [8, 16, 32, 64, 128]),
        ([10, None, 20], 4096, [8, 16]),
    ],
)
def test_how_far_it_rises(speeds, largest, tried):
    speed = {8 * 2**k: each for k, each in enumerate(speeds)}
    rows = measure_rising_sizes(lambda size: row(size, speed[size]) if speed[size] else too_large(size), 8, largest)
    assert [each.batch_size for each in rows] == tried


def test_a_batch_is_made_of_the_examples_again_and_again():
    examples, seen = (tf.constant([[1.0], [2.0], [3.0]]), tf.constant([1, 2, 3])), []

    def step(stream):
        seen.append(stream.get_next())
        return {"loss": tf.constant(0.0)}

    assert batch_size_worker.seconds_per_update(step, examples, 7, 0.0) > 0
    assert len(seen) == 1 + batch_size_worker.FEWEST
    for x, y in seen:
        np.testing.assert_array_equal(x[:, 0], [1, 2, 3, 1, 2, 3, 1])
        np.testing.assert_array_equal(y, x[:, 0])


@pytest.mark.slow
def test_the_process_is_ended_over_the_memory_and_the_rest_is_kept(toy, task):
    x = tensor = keras.Input((4,))
    for _ in range(3):
        x = keras.layers.Dense(4)(keras.layers.Dense(10_000, "tanh")(x))
    model = keras.Model(tensor, keras.layers.Dense(2)(x))
    before = toy.digest(model)
    data = toy.data(8192)
    # What a process takes before examples count, of which each takes 0.16 to 0.36 MB more.
    (first,) = find_batch_size(model, data, task=task, smallest=8, largest=8, seconds=0.0).rows
    limit = first.memory + 250 * 10**6
    found = find_batch_size(model, data, task=task, smallest=512, largest=8192, seconds=0.0, memory=limit)
    *fitting, last = found.rows
    assert fitting
    assert all(each.fits and each.memory <= limit for each in fitting)
    assert not last.fits
    assert "it took" in last.why
    assert last.batch_size in (1024, 2048)
    assert found.suggestion in [each.batch_size for each in fitting]
    assert str(last.batch_size) in str(found)
    assert toy.digest(model) == before
    assert not model.compiled


def test_too_little_memory_for_anything(toy, task):
    with pytest.raises(TrainingError, match="before the first batch"):
        find_batch_size(toy.model(), toy.data(), task=task, memory=50 * 10**6)


@pytest.mark.slow
def test_a_trainer_of_an_importable_class_goes_with_its_losses(tmp_path, monkeypatch, toy):
    (tmp_path / "own_trainer.py").write_text(
        textwrap.dedent("""
        import keras, tensorflow as tf
        @keras.saving.register_keras_serializable("tests")
        class Trainer(keras.Model):
            def __init__(self, width, **settings):
                super().__init__(**settings)
                self.width, self.head = width, keras.layers.Dense(width)
            def build(self, shape):
                self.head.build(shape)
            def call(self, x):
                return self.head(x)
            def get_config(self):
                return {**super().get_config(), "width": self.width}
            def train_step(self, data):
                x, y = data
                with tf.GradientTape() as tape:
                    loss = self.compute_loss(x, y, self(x))
                weights = self.trainable_weights
                self.optimizer.apply(tape.gradient(loss, weights), weights)
                return {"loss": loss}
        """)
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import own_trainer

    model = own_trainer.Trainer(2)
    model(np.zeros((1, 4), "float32"))
    with pytest.raises(ArgumentError, match="must be compiled"):
        find_batch_size(model, toy.data())
    model.compile("sgd", LOSS)
    found = find_batch_size(model, toy.data(), smallest=4, largest=8, seconds=0.0)
    assert [each.batch_size for each in found.rows if each.fits] == [4, 8]
    sys.modules.pop("own_trainer")


@pytest.mark.slow
def test_classes_that_another_process_cannot_find_are_refused(toy, task):
    class Local(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    tensor = keras.Input((4,))
    model = keras.Model(tensor, keras.layers.Dense(2)(Local()(tensor)))
    with pytest.raises(ArgumentError, match=r"another process.*Local.*module that can be imported"):
        find_batch_size(model, toy.data(), task=task)


@pytest.mark.slow
def test_an_error_in_an_update_is_told(toy):
    tensor = keras.Input((4,))
    model = keras.Model(tensor, keras.layers.Dense(3)(tensor))
    x, _ = toy.data()
    form = (tf.TensorSpec((None, 4)), tf.TensorSpec((None, None)))  # what has no known width is not refused before
    data = tf.data.Dataset.from_generator(lambda: [(x, np.zeros((64, 7), "float32"))], output_signature=form)
    with pytest.raises(TrainingError, match=r"update failed in the process.*shape"):
        find_batch_size(model, data, loss=keras.losses.CategoricalCrossentropy(from_logits=True))


def test_on_a_gpu_it_trains_here_and_leaves_no_trace(toy, task, monkeypatch):
    """With TensorFlow's memory figures and its error put in, since this needs no GPU."""
    model, sizes = toy.model(norm=True, dropout=0.5), []
    before = toy.digest(model)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU:0"])
    memory = SimpleNamespace(
        reset_memory_stats=lambda device: sizes.append(device),
        get_memory_info=lambda device: {"peak": 1000 * len(sizes)},
    )
    monkeypatch.setattr(tf.config, "experimental", memory)
    found = find_batch_size(model, toy.data(), task=task, smallest=2, largest=8, seconds=0.0)
    assert [(each.batch_size, each.memory) for each in found.rows] == [(2, 1000), (4, 2000), (8, 3000)]
    assert found.memory is None
    sizes.clear()
    found = find_batch_size(model, toy.data(), task=task, smallest=2, largest=8, seconds=0.0, memory=1500)
    assert [each.fits for each in found.rows] == [True, False]

    def out_of_memory(step, examples, size, seconds, original=batch_size_worker.seconds_per_update):
        if size > 4:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nmore")
        return original(step, examples, size, seconds)

    monkeypatch.setattr(batch_size_finder, "seconds_per_update", out_of_memory)
    found = find_batch_size(model, toy.data(), task=task, smallest=2, largest=8, seconds=0.0)
    assert [each.fits for each in found.rows] == [True, True, False]
    assert found.rows[-1].why == "does not fit: OOM when allocating tensor"
    assert toy.digest(model) == before


def test_free_memory_heeds_the_control_group(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:   5000 kB\n")
    monkeypatch.setattr(batch_size_finder, "PROC", tmp_path)
    monkeypatch.setattr(batch_size_finder, "GROUP", tmp_path)
    assert batch_size_finder.free_memory() == 5000 * 1024
    (tmp_path / "memory.current").write_text("1000\n")
    for limit, free in {"max": 5000 * 1024, "301000": 300_000, "900": 0}.items():
        (tmp_path / "memory.max").write_text(limit + "\n")
        assert batch_size_finder.free_memory() == free
    monkeypatch.setattr(batch_size_finder, "PROC", tmp_path / "none")
    (tmp_path / "memory.max").write_text("max\n")
    assert batch_size_finder.free_memory() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_plot(tmp_path):
    found = BatchSearch((row(8, 100.0), row(16, 190.0), row(32, 191.0, 2 * 10**9), too_large(64)), None)
    figure = found.plot(tmp_path / "sizes.png")
    speed, memory = figure.axes
    assert list(speed.lines[0].get_ydata()) == [100, 190, 191]
    assert list(memory.lines[0].get_ydata()) == [1000, 1000, 2000]
    assert [text.get_text() for text in speed.texts] == ["suggested: 16", "64 does not fit"]
    assert (tmp_path / "sizes.png").stat().st_size > 5000


@pytest.mark.parametrize(
    "settings",
    [{"smallest": 0}, {"largest": 4}, {"memory": 0}, {"memory": 0.5}, {"seconds": -1}],
)
def test_refusals(toy, task, settings):
    with pytest.raises(ArgumentError):
        find_batch_size(toy.model(), toy.data(), task=task, **settings)
