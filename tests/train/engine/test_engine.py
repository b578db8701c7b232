"""The engine beyond plain steps: micro-batches, averages, several updates in one call, and failing disks."""

import errno
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError, TrainingError
from kerasdl.data.augment import Mixup
from kerasdl.train import Distiller, Lookahead, Preempted, RunCallback, RunConfig, SharpnessAware, fit
from kerasdl.train.distribute import workers
from kerasdl.train.loop import steps_per_execution


def pair(toy, **settings):
    """Gives two models with the same weights and the same random state."""
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(4)
        models.append(toy.model(**settings))
    return models


def trained(model, toy, task, validation=True, **settings):
    config = RunConfig(**{"epochs": 3, "batch_size": 16, "learning_rate": 0.05, "progress": "off", **settings})
    data = toy.data()
    return fit(model, data, validation=data if validation else None, task=task, config=config)


def assert_close(first, second, tolerance=1e-6):
    for ours, theirs in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


class Counting(keras.layers.Layer):
    """Counts the traces of its call in training."""

    traces = 0

    def call(self, x, training=False):
        self.traces += training is True
        return x


@pytest.mark.parametrize("kind", ["plain", "mixed labels", "two outputs", "sequential", "distiller"])
def test_the_step_is_traced_once(toy, kind):
    """Metrics and optimizer are there before: a step that creates variables is traced a second time."""
    x, y = toy.data()
    layer, tensor = Counting(), keras.Input((4,))
    loss, metrics = keras.losses.SparseCategoricalCrossentropy(from_logits=True), ["accuracy"]
    model = keras.Model(tensor, keras.layers.Dense(2, name="a")(layer(tensor)))
    settings = {}
    if kind == "mixed labels":
        loss, settings = keras.losses.CategoricalCrossentropy(from_logits=True), {"mix": Mixup(classes=2)}
    elif kind == "two outputs":
        model = keras.Model(tensor, {"a": model.output, "b": keras.layers.Dense(1, name="b")(tensor)})
        loss, metrics, y = {"a": loss, "b": "mse"}, {"a": ["accuracy"], "b": ["mae"]}, {"a": y, "b": x[:, :1]}
    elif kind == "sequential":
        model = keras.Sequential([keras.Input((4,)), layer, keras.layers.Dense(2)])
    elif kind == "distiller":
        model = Distiller(model, toy.model())
    config = RunConfig(batch_size=16, progress="off", **settings)
    run = fit(model, (x, y), loss=loss, metrics=metrics, config=config)
    assert layer.traces == 1
    figures = {"loss", "a_loss", "b_loss", "a_accuracy", "b_mae"} if kind == "two outputs" else {"loss", "accuracy"}
    assert figures <= set(run.history)


@pytest.mark.parametrize("parts", [2, 3, 20])
def test_a_batch_in_parts_is_the_whole_batch(toy, task, parts):
    whole, cut = pair(toy)
    first = trained(whole, toy, task, clip_norm=0.3)
    second = trained(cut, toy, task, clip_norm=0.3, accumulation=parts)
    assert_close(whole, cut)
    for name, values in first.history.items():
        np.testing.assert_allclose(second.history[name], values, atol=1e-5, err_msg=name)


def test_parts_need_a_train_step_that_applies_once(toy):
    class Twice(keras.Model):
        def train_step(self, data):
            for _ in range(2):
                with tf.GradientTape() as tape:
                    loss = self.compute_loss(*data, self(data[0], training=True))
                weights = self.trainable_weights
                self.optimizer.apply(tape.gradient(loss, weights), weights)
            return {"loss": loss}

    tensor = keras.Input((4,))
    model = Twice(tensor, keras.layers.Dense(2)(tensor))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(ArgumentError, match="applies each optimizer once"):
        fit(model, toy.data(), config=RunConfig(epochs=1, accumulation=2, progress="off"))
    assert "apply" not in vars(model.optimizer)  # nothing of us stays in it


def test_predictions_that_do_not_count_are_refused_in_parts(toy):
    ignoring = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)
    config = RunConfig(epochs=1, batch_size=16, accumulation=2, strategy=None, progress="off")
    with pytest.raises(ArgumentError, match="a batch in parts needs a loss that counts every prediction; got 'ignore_"):
        fit(toy.model(), toy.data(), loss=ignoring, config=config)
    tokens = keras.Input((5,), dtype="int32")
    outputs = keras.layers.Dense(2)(keras.layers.Embedding(4, 3, mask_zero=True)(tokens))
    ids = np.random.default_rng(0).integers(0, 4, (16, 5))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with pytest.raises(ArgumentError, match="a batch in parts needs outputs without a mask"):
        fit(keras.Model(tokens, outputs), (ids, ids % 2), loss=loss, config=config)


def test_a_rate_of_0_moves_nothing_under_a_schedule(toy, task):
    model = toy.model()
    before = toy.digest(model)
    trained(model, toy, task, learning_rate=0.0, schedule="cosine", optimizer="sgd")
    assert toy.digest(model) == before


def test_a_sum_over_a_batch_is_refused_in_parts(toy, task):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    config = RunConfig(epochs=1, accumulation=2, progress="off")
    with pytest.raises(ArgumentError, match="sum_over_batch_size"):
        fit(toy.model(), toy.data(), loss=loss, config=config)


@pytest.mark.parametrize("settings", [{"steps": 20}, {"steps_per_epoch": 10, "epochs": 3}], ids=list)
def test_data_whose_end_is_not_known_go_step_by_step(toy, task, settings):
    pipeline = tf.data.Dataset.from_tensor_slices(toy.data(56)).batch(8).filter(lambda x, y: True)
    config = RunConfig(**settings, steps_per_execution=3, progress="off")
    run = fit(toy.model(), pipeline, task=task, config=config)
    assert run.steps == (20 if "steps" in settings else 21)


def test_a_run_that_is_over_when_it_is_asked_to_go_goes(toy, task, tmp_path):
    class Late(RunCallback):
        def end_step(self, batch):
            if batch == 7:
                signal.raise_signal(signal.SIGTERM)
            return False

    config = RunConfig(epochs=1, batch_size=8, folder=tmp_path, progress="off")
    with pytest.raises(Preempted):
        fit(toy.model(), toy.data(), task=task, callbacks=[Late()], config=config)
    again = fit(toy.model(), toy.data(), task=task, callbacks=[Late()], config=config)
    assert (again.stopped, again.steps) == ("finished", 8)


def test_the_average_of_the_weights_is_what_is_validated_and_kept(toy, task):
    model, _ = pair(toy)
    averages = [weight.numpy() for weight in model.trainable_weights]

    class Follow(RunCallback):
        def end_step(self, batch):
            for place, weight in enumerate(model.trainable_weights):
                share = 0.9 if self.seen else 0.0
                averages[place] = share * averages[place] + (1 - share) * weight.numpy()
            self.seen += 1
            return False

        seen = 0

    data = toy.data()
    config = RunConfig(
        epochs=2, batch_size=16, learning_rate=0.05, progress="off", ema=0.9, monitor=("val_loss", "min")
    )
    run = fit(model, data, validation=data, task=task, callbacks=[Follow()], config=config)
    assert run.best.epoch == 2
    for weight, expected in zip(model.trainable_weights, averages, strict=True):
        np.testing.assert_allclose(weight.numpy(), expected, atol=1e-5)
    measured = model.evaluate(*data, batch_size=16, verbose=0, return_dict=True)
    assert measured["loss"] == pytest.approx(run.history["val_loss"][-1], abs=1e-5)


def test_the_mean_of_the_last_epochs_is_what_a_run_ends_with(toy, task):
    model, _ = pair(toy, norm=True)
    ends = []

    class Follow(RunCallback):
        def end_epoch(self, epoch, figures):
            ends.append([weight.numpy() for weight in model.trainable_weights])

    config = RunConfig(epochs=4, batch_size=16, learning_rate=0.05, progress="off", swa=0.5)
    x, y = toy.data()
    fit(model, (x, y), validation=(x, y), task=task, callbacks=[Follow()], config=config)
    for place, weight in enumerate(model.trainable_weights):
        expected = np.mean([end[place] for end in ends[1:]], axis=0)
        np.testing.assert_allclose(weight.numpy(), expected, atol=1e-6)
    hidden = keras.Model(model.input, model.get_layer("hidden").output)(x).numpy()
    np.testing.assert_allclose(model.get_layer("norm").moving_mean.numpy(), hidden.mean(0), atol=1e-5)


@pytest.mark.parametrize("steps", [2, 3, 100])
def test_several_updates_a_call_change_no_bit(toy, task, steps):
    single, joined = pair(toy, dropout=0.3)
    first = trained(single, toy, task, steps_per_execution=1)
    second = trained(joined, toy, task, steps_per_execution=steps)
    assert toy.digest(single) == toy.digest(joined)
    assert first.history == second.history


def test_a_loss_that_is_no_number_is_named_by_its_very_step(toy, task):
    x, y = toy.data()
    x[40] = np.nan
    config = RunConfig(epochs=1, batch_size=8, shuffle=False, progress="off", steps_per_execution=4)
    with pytest.raises(TrainingError, match="not finite at step 6:"):
        fit(toy.model(), (x, y), task=task, config=config)


def test_the_second_pass_of_activations_changes_nothing(toy, task):
    plain, lean = pair(toy, dropout=0.3, norm=True)
    first, second = trained(plain, toy, task), trained(lean, toy, task, remat=True)
    assert_close(plain, lean)
    np.testing.assert_allclose(second.history["val_loss"], first.history["val_loss"], atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"ema": 0.9, "steps_per_execution": 3},
        *(
            pytest.param(settings, marks=pytest.mark.slow)
            for settings in (
                {"swa": 0.3},
                {"optimizer": Lookahead("adam", sync_period=3)},
                {"optimizer": SharpnessAware("sgd")},
                {"accumulation": 2, "remat": True},
            )
        ),
    ],
    ids=list,
)
def test_a_run_broken_off_goes_on_as_if_nothing_had_been(toy, task, tmp_path, settings):
    class StopAt(RunCallback):
        def __init__(self, step):
            self.step = step

        def wants(self, step):
            if step == self.step:
                raise ZeroDivisionError
            return False

        def inspect(self, seen):
            pass

    whole, broken = pair(toy, dropout=0.3, norm=True)
    trained(whole, toy, task, folder=tmp_path / "whole", save_every=2, **settings)
    data, config = toy.data(), {"epochs": 3, "batch_size": 16, "learning_rate": 0.05, "progress": "off", **settings}
    config = RunConfig(folder=tmp_path / "broken", save_every=2, **config)
    with pytest.raises(ZeroDivisionError):
        fit(broken, data, validation=data, task=task, callbacks=[StopAt(8)], config=config)
    _, again = pair(toy, dropout=0.3, norm=True)
    run = fit(again, data, validation=data, task=task, callbacks=[StopAt(10**6)], config=config)
    assert run.resumed
    assert toy.digest(again) == toy.digest(whole)
    _, once_more = pair(toy, dropout=0.3, norm=True)
    fit(once_more, data, validation=data, task=task, callbacks=[StopAt(10**6)], config=config)  # a finished run
    assert toy.digest(once_more) == toy.digest(whole)


def test_sigterm_saves_and_raises_an_exit_of_its_own(toy, task, tmp_path):
    class Preempt(RunCallback):
        def end_step(self, batch):
            if batch == 2:
                signal.raise_signal(signal.SIGTERM)
            return False

    config = RunConfig(epochs=2, batch_size=8, folder=tmp_path, progress="off")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted) as raised:
        fit(toy.model(), toy.data(), task=task, callbacks=[Preempt()], config=config)
    assert raised.value.code == 75
    assert [path.name for path in (tmp_path / "checkpoints").glob("step_*")] == ["step_00000003"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_disk_without_room_is_said_with_the_checkpoint_that_is_left(toy, task, tmp_path, monkeypatch):
    save, calls = np.savez, iter(range(3))

    def full(*args, **arrays):
        if next(calls, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(*args, **arrays)

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(TrainingError, match=r"after step 8: .*No space left.*The checkpoint of step 6 is whole"):
        trained(toy.model(), toy, task, validation=False, folder=tmp_path, batch_size=8, save_every=2)
    assert not list((tmp_path / "checkpoints").glob(".writing-*"))


# Steps per execution


def test_updates_are_joined_where_they_are_short_and_many():
    execution = steps_per_execution.StepsPerExecution(None, supported=True)
    said = [execution.record(0.001, steps_left=10_000, tracing=0.5) for _ in range(8)]
    assert said[:7] == [None] * 7
    assert said[7] == "50 steps a call, as one step takes 1.0 ms"
    assert [execution.next_count(room) for room in (None, 7, 200)] == [1, 7, 50]


@pytest.mark.parametrize(("seconds", "left", "tracing"), [(0.1, 10_000, 0.5), (0.001, 100, 0.5), (0.001, None, 0.5)])
def test_updates_stay_single_where_joining_would_not_pay(seconds, left, tracing):
    execution = steps_per_execution.StepsPerExecution(None, supported=True)
    assert [execution.record(seconds, left, tracing) for _ in range(8)] == [None] * 8
    assert execution.next_count(200) == 1
    assert steps_per_execution.StepsPerExecution(10, supported=False).next_count(200) == 1


def test_requests_survive_conversion_to_a_vector():
    for request in (
        workers.NO_REQUEST,
        workers.Request.SAVE,
        workers.Request.SAVE | workers.Request.PREEMPT,
        workers.Request(15),
    ):
        assert workers._to_request(workers._to_vector(request)) == request
