"""`fit`: learning, its step against a hand loop, and each setting against a closed form."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError, DataError, TrainingError, UnknownNameError
from kerasdl.train import RunConfig, fit, schedules

QUIET = {"progress": "off"}
SPARSE = {"from_logits": True}


def cross_entropy(logits, targets):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return -(targets * (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))).sum(axis=1)


def one_update(model, x, y, **settings):
    """Returns the change of every weight in one step of plain SGD over all examples."""
    before = [weight.numpy() for weight in model.trainable_weights]
    config = RunConfig(steps=1, batch_size=len(x), shuffle=False, optimizer="sgd", **QUIET, **settings)
    fit(model, (x, y), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=[], config=config)
    return [weight.numpy() - old for weight, old in zip(model.trainable_weights, before, strict=True)]


def linear_model(x, classes=3):
    model = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Dense(classes, name="head")])
    return model, model.predict(x, verbose=0)


def test_overfits_a_tiny_set(toy, task):
    x, y = toy.data(64)
    model = toy.model(width=32)
    config = RunConfig(epochs=60, learning_rate=0.05, schedule="cosine", optimizer="adam", **QUIET)
    run = fit(model, (x, y), task=task, config=config)
    assert run.history["accuracy"][-1] == 1.0
    assert run.history["loss"][-1] < 0.05 * run.history["loss"][0]
    assert (run.steps, run.stopped, run.resumed, run.best) == (120, "finished", False, None)
    assert model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"] == 1.0


def test_equals_a_hand_written_loop(toy, task):
    x, y = toy.data(40)
    model, oracle = toy.model(), toy.model()
    oracle.set_weights(model.get_weights())
    config = RunConfig(epochs=1, batch_size=8, shuffle=False, optimizer="sgd", learning_rate=0.1, momentum=0.9, **QUIET)
    run = fit(model, (x, y), task=task, config=config)

    loss_of, velocity, losses = task.loss(), [0.0] * 4, []
    for start in range(0, 40, 8):
        with tf.GradientTape() as tape:
            loss = loss_of(y[start : start + 8], oracle(x[start : start + 8], training=True))
        gradients = tape.gradient(loss, oracle.trainable_weights)
        velocity = [0.9 * v - 0.1 * g for v, g in zip(velocity, gradients, strict=True)]
        for weight, change in zip(oracle.trainable_weights, velocity, strict=True):
            weight.assign_add(change)
        losses.append(float(loss))
    for ours, theirs in zip(model.get_weights(), oracle.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert run.history["loss"][0] == pytest.approx(np.mean(losses), rel=1e-5)


def test_validation_figures_are_those_of_evaluate(toy, task):
    train, validation = toy.data(32), toy.data(50, seed=1)
    config = RunConfig(epochs=2, restore_best=False, **QUIET)
    run = fit(toy.model(norm=True, dropout=0.5), train, validation=validation, task=task, config=config)
    expected = run.model.evaluate(*validation, batch_size=32, verbose=0, return_dict=True)
    assert run.history["val_loss"][-1] == pytest.approx(expected["loss"], rel=1e-5)
    assert run.history["val_accuracy"][-1] == pytest.approx(expected["accuracy"], rel=1e-5)


def test_clip_norm_caps_the_update(toy):
    x, y = toy.data(32)
    x = 100 * x
    model, logits = linear_model(x)
    softmax = np.exp(logits - logits.max(1, keepdims=True))
    softmax /= softmax.sum(1, keepdims=True)
    error = (softmax - np.eye(3)[y]) / len(x)
    gradients = [x.T @ error, error.sum(0)]
    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
    assert norm > 1
    changes = one_update(model, x, y, learning_rate=0.5, clip_norm=0.01)
    for change, gradient in zip(changes, gradients, strict=True):
        np.testing.assert_allclose(change, -0.5 * 0.01 * gradient / norm, atol=1e-7)


def test_weight_decay_shrinks_weights(toy):
    x, y = toy.data(16)
    model, _ = linear_model(x)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    kernel = model.get_weights()[0]
    plain = one_update(model, x, y, learning_rate=0.1)[0]
    decayed = one_update(clone, x, y, learning_rate=0.1, weight_decay=0.5)[0]
    np.testing.assert_allclose(decayed - plain, -0.1 * 0.5 * kernel, atol=1e-6)


def history_loss(model, x, y, **settings):
    config = RunConfig(steps=1, batch_size=len(x), shuffle=False, optimizer="sgd", **QUIET, **settings)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return fit(model, (x, y), loss=loss, metrics=[], config=config).history["loss"][0]


def test_class_weights_by_closed_form(toy):
    x, _ = toy.data(30)
    y = np.repeat([0, 1, 2], [20, 8, 2]).astype(np.int32)
    for weights, table in (
        ({0: 0.5, 2: 4.0}, np.array([0.5, 1.0, 4.0])),
        ("balanced", np.array([30 / (3 * 20), 30 / (3 * 8), 30 / (3 * 2)])),
    ):
        model, logits = linear_model(x)
        each = cross_entropy(logits, np.eye(3)[y])
        assert history_loss(model, x, y, class_weights=weights) == pytest.approx((table[y] * each).mean(), rel=1e-5)


def test_classes_without_a_weight_have_one(toy):
    """Also where only the model tells that there are more."""
    x, _ = toy.data(30)
    y = (np.arange(30) % 3).astype(np.int32)
    model, _ = linear_model(x)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    whole = history_loss(clone, x, y, class_weights={0: 1.0, 1: 3.0, 2: 1.0})
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    config = RunConfig(steps=1, batch_size=30, progress="off", class_weights={1: 3.0}, shuffle=False)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(30)
    assert fit(model, batches, loss=loss, metrics=[], config=config).history["loss"][0] == pytest.approx(whole)


def test_label_smoothing_by_closed_form(toy):
    x, _ = toy.data(30)
    y = (np.arange(30) % 3).astype(np.int32)
    model, logits = linear_model(x)
    targets = np.eye(3)[y] * 0.8 + 0.2 / 3
    expected = cross_entropy(logits, targets).mean()
    assert history_loss(model, x, y, label_smoothing=0.2) == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_refuses_another_loss(toy):
    with pytest.raises(ArgumentError, match="label_smoothing needs a cross-entropy"):
        fit(toy.model(), toy.data(), loss="mse", config=RunConfig(label_smoothing=0.1))


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step"])
def test_learning_rate_in_history_follows_the_schedule(toy, task, schedule):
    config = RunConfig(epochs=4, batch_size=16, learning_rate=0.01, schedule=schedule, **QUIET)
    run = fit(toy.model(), toy.data(64), task=task, config=config)
    last = np.array([3, 7, 11, 15])  # 16 steps; the rate of an epoch is that of its last
    expected = {
        "constant": np.full(4, 0.01),
        "cosine": 0.005 * (1 + np.cos(np.pi * last / 16)),
        "step": 0.01 * np.array([1, 1, 0.1, 0.01]),
    }[schedule]
    np.testing.assert_allclose(run.history["learning_rate"], expected, rtol=1e-5)


def test_takes_over_the_settings_of_a_keras_optimizer(toy, task):
    given = keras.optimizers.Adam(learning_rate=0.03, beta_1=0.5)
    model = toy.model()
    run = fit(model, toy.data(), task=task, config=RunConfig(epochs=1, optimizer=given, clip_norm=2.0, **QUIET))
    assert run.history["learning_rate"] == [pytest.approx(0.03)]
    assert (model.optimizer.beta_1, model.optimizer.global_clipnorm) == (0.5, 2.0)
    assert not given.built


class FallsThenRises(keras.callbacks.Callback):
    """Sets the only weight, so that the validation loss of each epoch is known."""

    def __init__(self, values):
        super().__init__()
        self.values = values

    def on_test_begin(self, logs=None):
        self.model.layers[-1].kernel.assign([[self.values.pop(0)]])


def scripted(values, **settings):
    """Runs epochs whose validation loss (mean squared error against 0 at input 1) is the square of each value."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    one = np.ones((4, 1), np.float32), np.zeros((4, 1), np.float32)
    config = RunConfig(
        epochs=len(values), optimizer="sgd", learning_rate=settings.pop("rate", 0.0), **QUIET, **settings
    )
    callbacks = [FallsThenRises(list(values))]
    return fit(model, one, validation=one, loss="mse", metrics=[], callbacks=callbacks, config=config)


def test_early_stopping_and_best_weights():
    run = scripted([4.0, 2.0, 3.0, 3.0, 1.0], patience=2)
    assert run.stopped == "early"
    assert run.history["val_loss"] == [16.0, 4.0, 9.0, 9.0]
    assert run.best[:2] == (4.0, 2)
    assert float(run.model.layers[-1].kernel[0, 0]) == 2.0


def test_min_delta_counts_only_large_steps():
    assert len(scripted([4.0, 3.99, 3.98, 1.0], patience=2, min_delta=0.5).history["loss"]) == 3
    assert len(scripted([4.0, 3.99, 3.98, 1.0], patience=2).history["loss"]) == 4


def test_keeps_the_last_weights_when_asked():
    run = scripted([4.0, 2.0, 3.0], restore_best=False)
    assert run.best[:2] == (4.0, 2)
    assert float(run.model.layers[-1].kernel[0, 0]) == 3.0


def test_plateau_lowers_the_rate():
    plateau = schedules.Plateau(factor=0.1, patience=2, floor=2e-5)
    run = scripted([4.0, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0], schedule=plateau, rate=1e-3)
    np.testing.assert_allclose(run.history["learning_rate"], [1e-3] * 4 + [1e-4] * 2 + [2e-5] * 2, rtol=1e-5)


def test_a_loss_that_is_no_number_stops_with_the_step(toy, task):
    x, y = toy.data(64)
    x[40] = np.nan  # batch 5 of 8 in an unshuffled epoch
    config = RunConfig(epochs=2, batch_size=8, shuffle=False, learning_rate=0.25, **QUIET)
    with pytest.raises(
        TrainingError, match=r"loss and gradient_norm not finite at step 6.*learning rate 0\.25"
    ) as raised:
        fit(toy.model(), (x, y), task=task, config=config)
    last = float(str(raised.value).split("gradient_norm nan (last finite: ")[1].split(")")[0])
    assert 0 < last < 100


def test_a_loss_that_is_no_number_leaves_the_best_weights(toy, task, tmp_path):
    model = toy.model()

    class Break(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                self.model.layers[-1].kernel.assign(np.full((16, 2), np.nan))

    with pytest.raises(TrainingError, match=r"at step 5.*holds the weights of its best epoch, [12]\."):
        config = RunConfig(epochs=5, folder=tmp_path, **QUIET)
        fit(model, toy.data(), validation=toy.data(seed=1), task=task, callbacks=[Break()], config=config)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert list((tmp_path / "checkpoints").glob("best_*"))


def test_callbacks_are_called_in_the_order_of_keras(toy, task):
    class Record(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.calls = []

    def recorder(name):
        def hook(self, *args, logs=None):
            place = tuple(each for each in args if isinstance(each, int))
            given = [each for each in args if isinstance(each, dict)]
            self.calls.append((name, place, set(logs or (given and given[0]) or ())))

        return hook

    for part in ("train", "epoch", "train_batch", "test", "test_batch"):
        for end in ("begin", "end"):
            setattr(Record, f"on_{part}_{end}", recorder(f"on_{part}_{end}"))

    train, validation = toy.data(40), toy.data(40, seed=1)
    ours, theirs = Record(), Record()
    fit(toy.model(), train, validation=validation, task=task, callbacks=[ours], config=RunConfig(epochs=2, **QUIET))
    model = toy.model()
    model.compile("sgd", loss=task.loss(), metrics=task.metrics())
    model.fit(*train, validation_data=validation, batch_size=32, epochs=2, verbose=0, callbacks=[theirs])
    calls = [(name, args) for name, args, _ in ours.calls]
    assert calls == [(name, args) for name, args, _ in theirs.calls]
    for (name, _, logs), (_, _, expected) in zip(ours.calls, theirs.calls, strict=True):
        assert expected <= logs, name


def test_a_callback_can_stop_inside_an_epoch(toy, task):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    run = fit(toy.model(), toy.data(), task=task, callbacks=[Stop()], config=RunConfig(batch_size=8, **QUIET))
    assert (run.steps, run.stopped) == (2, "early")


def test_a_model_with_its_own_train_step_trains_by_it(toy):
    @keras.saving.register_keras_serializable("tests")
    class Halving(keras.Model):
        """Halves its weights in each step, and tells their sum as loss."""

        def train_step(self, batch):
            for weight in self.trainable_weights:
                weight.assign(weight / 2)
            return {"loss": keras.ops.sum(keras.ops.abs(self.trainable_weights[0]))}

    x = tensor = keras.Input((4,))
    model = Halving(tensor, keras.layers.Dense(2, use_bias=False)(x))
    model.compile()
    start = np.abs(model.get_weights()[0]).sum()
    run = fit(model, toy.data(64), config=RunConfig(epochs=2, **QUIET))
    np.testing.assert_allclose(run.history["loss"], [start / 4, start / 16], rtol=1e-5)


def test_a_subclassed_model_is_built_on_the_way(toy, task):
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = keras.layers.Dense(2)

        def call(self, x):
            return self.head(x)

    run = fit(Net(), toy.data(), task=task, config=RunConfig(epochs=8, learning_rate=0.05, **QUIET))
    assert run.history["loss"][-1] < 0.8 * run.history["loss"][0]


def test_steps_end_inside_an_epoch_and_endless_pipelines_need_a_length(toy, task):
    run = fit(toy.model(), toy.data(64), task=task, config=RunConfig(steps=7, batch_size=16, **QUIET))
    assert (run.steps, len(run.history["loss"])) == (7, 2)
    endless = tf.data.Dataset.from_tensor_slices(toy.data()).batch(8).repeat()
    with pytest.raises(ArgumentError, match="endless data need steps_per_epoch"):
        fit(toy.model(), endless, task=task, config=RunConfig(**QUIET))
    run = fit(toy.model(), endless, task=task, config=RunConfig(epochs=2, steps_per_epoch=5, **QUIET))
    assert run.steps == 10
    with pytest.raises(DataError, match="no batches"):
        fit(toy.model(), endless.take(0), task=task, config=RunConfig(**QUIET))


def test_mixed_precision_computes_in_bfloat16(toy, task):
    model = toy.model(norm=True, width=32)
    products = []

    class Look(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            concrete = tf.function(lambda x: self.model(x)).get_concrete_function(tf.TensorSpec((2, 4)))
            products.extend(op.outputs[0].dtype.name for op in concrete.graph.get_operations() if op.type == "MatMul")
            self.output = concrete.structured_outputs.dtype

    look = Look()
    config = RunConfig(epochs=12, learning_rate=0.02, mixed_precision="bfloat16", **QUIET)
    run = fit(model, toy.data(), task=task, callbacks=[look], config=config)
    assert products[:2] == ["bfloat16", "float32"]  # hidden layer, output layer
    assert look.output == tf.float32
    assert {variable.dtype for variable in model.trainable_weights} == {"float32"}
    assert {layer.dtype_policy.name for layer in [model, *model.layers]} == {"float32"}
    assert run.history["accuracy"][-1] > 0.9


def test_float16_is_refused_on_a_cpu(toy, task):
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    with pytest.raises(ArgumentError, match='use "bfloat16"'):
        fit(toy.model(), toy.data(), task=task, config=RunConfig(mixed_precision="float16"))


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"optimizer": "adamm"}, UnknownNameError, "Did you mean 'adam"),
        ({"schedule": "cosin"}, UnknownNameError, "Did you mean 'cosine'"),
        ({"epochs": 0}, ArgumentError, "epochs must be an integer of 1 or more"),
        ({"clip_norm": 0.0}, ArgumentError, "clip_norm must be above 0"),
        ({"monitor": ("val_loss", "low")}, ArgumentError, "monitor must be a pair"),
        ({"label_smoothing": 1.0}, ArgumentError, "label_smoothing must be a number from 0"),
        ({"class_weights": "even"}, ArgumentError, "class_weights must be one of"),
    ],
)
def test_wrong_settings_are_refused(settings, error, text):
    with pytest.raises(error, match=text):
        RunConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"patience": 2}, "patience needs a figure to monitor"),
        ({"schedule": "plateau"}, "'plateau' needs a figure to monitor"),
        ({"tensorboard": True}, "tensorboard=True needs a folder"),
        ({"optimizer": "adam", "momentum": 0.9}, "momentum must be None for Adam"),
        ({"monitor": ("val_loss", "min")}, "monitor must name one of"),
        ({"mixed_precision": None, "optimizer": keras.optimizers.SGD(use_ema=True)}, "use_ema=False"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(toy, task, settings, text):
    with pytest.raises(ArgumentError, match=text):
        fit(toy.model(), toy.data(), task=task, config=RunConfig(epochs=1, **QUIET, **settings))


def test_a_loss_is_asked_for_where_no_task_tells_it(toy):
    pipeline = tf.data.Dataset.from_tensor_slices(toy.data()).map(lambda x, y: (x, tf.cast(y, tf.float32))).batch(8)
    with pytest.raises(ArgumentError, match=r'loss must be given.*floats.*labels\.astype\("int32"\)'):
        fit(toy.model(), pipeline, config=RunConfig(**QUIET))
    two = pipeline.map(lambda x, y: (x, (y, y)))
    model = toy.model()
    outputs = [keras.layers.Dense(2, name=name)(model.outputs[0]) for name in ("one", "other")]
    with pytest.raises(ArgumentError, match=r"An example has 2 labels: pass loss=\[\.\.\.\]"):
        fit(keras.Model(model.inputs, outputs), two, config=RunConfig(**QUIET))
