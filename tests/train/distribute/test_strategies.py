"""Strategies by name, what is refused, and models that move into a scope and back."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError, TrainingError, UnknownNameError
from kerasdl.data import as_dataset
from kerasdl.data.batching import sharding
from kerasdl.train import RunConfig, distill, fit
from kerasdl.train.distribute import strategies
from kerasdl.train.distribute.placement import model_in_scope
from kerasdl.train.distribute.replicas import ReplicaContext, TrainingWarning
from kerasdl.train.trainer import step_seed

ONE = tf.distribute.OneDeviceStrategy("/cpu:0")
SIZES = [(64, 16, 2), (61, 16, 4), (33, 8, 8), (10, 10, 3), (5, 4, 4), (15, 8, 5), (25, 13, 8)]


def trained(model, data, task, **settings):
    config = RunConfig(**{"epochs": 3, "batch_size": 16, "learning_rate": 0.05, "progress": "off", **settings})
    return fit(model, data, validation=data, task=task, config=config)


# Seeds


def test_noise_is_new_in_each_step_and_on_each_replica(monkeypatch):
    seeds, drawn = keras.random.SeedGenerator(0), []
    for training in (True, True, False, False):
        before = seeds.state.numpy()
        for replica in (0, 1):
            seeds.state.assign(before)
            own = SimpleNamespace(replica_id_in_sync_group=replica)
            monkeypatch.setattr(tf.distribute, "get_replica_context", lambda own=own: own)
            drawn.append(tuple(step_seed(seeds, training).numpy()))
    assert len({*drawn[:4]}) == 4
    assert drawn[4:6] == drawn[6:] == [(0, 0), (1_000_003, 0)]


# Names


def test_one_device_is_the_default_strategy():
    assert strategies.strategy("auto") is strategies.plain()
    assert strategies.strategy("cpu") is strategies.plain()
    with ONE.scope():
        assert strategies.plain() is not tf.distribute.get_strategy()


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("parameter_server", ArgumentError, "Use 'multi_worker'"),
        ("central_storage", ArgumentError, "Use 'mirrored'"),
        ("miror", UnknownNameError, "'mirrored'"),
        ("mirrored", ArgumentError, "needs 2 devices or more.*kerasdl launch"),
        ("multi_worker", ArgumentError, "needs a cluster in the environment.*kerasdl launch"),
        ("gpu", ArgumentError, "needs a GPU"),
    ],
)
def test_what_is_not_there_is_refused_with_what_to_do(name, error, says):
    if name == "gpu" and tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    with pytest.raises(error, match=says):
        strategies.strategy(name)


def test_a_setting_is_checked_before_anything_runs():
    with pytest.raises(ArgumentError, match="Use 'multi_worker'"):
        RunConfig(strategy="parameter_server")
    with pytest.raises(ArgumentError, match=r"a name, a tf\.distribute\.Strategy or None"):
        RunConfig(strategy=3)
    with pytest.raises(ArgumentError, match="batch_size must be at least 8"):
        replica_context = ReplicaContext(ONE)
        replica_context.num_replicas = 8
        replica_context.check_batch_size(4, as_dataset((np.zeros((4, 2)), np.zeros(4))))


def test_keras_distribution_is_refused_since_it_shards_nothing(toy, task):
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=["cpu:0"]))
    try:
        with pytest.raises(ArgumentError, match="on TensorFlow it shards nothing"):
            trained(toy.model(), toy.data(), task)
    finally:
        keras.distribution.set_distribution(None)


def test_float16_is_refused_on_a_cpu(toy, task):
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    with pytest.raises(ArgumentError, match='On a CPU use "bfloat16"'):
        trained(toy.model(), toy.data(), task, mixed_precision="float16")


def test_a_tpu_is_found_connected_and_initialised_in_this_order(monkeypatch):
    calls = []
    monkeypatch.setenv("TPU_NAME", "local")
    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", lambda: calls.append("find") or "tpu")
    monkeypatch.setattr(tf.config, "experimental_connect_to_cluster", lambda found: calls.append(f"connect {found}"))
    monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", lambda found: calls.append(f"start {found}"))
    monkeypatch.setattr(tf.distribute, "TPUStrategy", lambda found: calls.append(f"strategy {found}") or ONE)
    strategies._tpu.cache_clear()
    try:
        assert strategies.strategy("auto") is ONE
        assert strategies.strategy("tpu") is ONE
    finally:
        strategies._tpu.cache_clear()
    assert calls == ["find", "connect tpu", "start tpu", "strategy tpu"]


def test_it_is_too_late_to_join_once_something_was_computed():
    task = {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 0}}
    program = "import kerasdl, tensorflow as tf; tf.zeros(1); kerasdl.train.strategy('multi_worker')"
    environment = {**os.environ, "TF_CONFIG": json.dumps(task), "KERASDL_STRATEGY": ""}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "workers must join before TensorFlow computes anything" in done.stderr
    assert TrainingError.__name__ in done.stderr


# Models that move


@pytest.mark.parametrize("norm", [False, True])
def test_a_model_built_outside_trains_in_the_scope_as_on_one_device(toy, task, norm):
    keras.utils.set_random_seed(1)
    plain = toy.model(norm=norm)
    moved = keras.models.clone_model(plain)
    moved.set_weights(plain.get_weights())
    first = trained(plain, toy.data(), task, strategy=None)
    second = trained(moved, toy.data(), task, strategy=ONE)
    assert second.model is moved
    assert moved.distribute_strategy is not ONE
    np.testing.assert_allclose(second.history["val_loss"], first.history["val_loss"], rtol=1e-5)
    for ours, theirs in zip(moved.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert int(moved.optimizer.iterations.numpy()) == 12
    for ours, theirs in zip(moved.optimizer.variables, plain.optimizer.variables, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-6)


def test_a_model_built_in_a_scope_trains_there_without_a_setting(toy, task):
    with ONE.scope():
        model = toy.model()
    before = model.get_weights()
    run = trained(model, toy.data(), task)
    assert run.model is model
    assert model.distribute_strategy is ONE
    assert np.abs(before[0] - model.get_weights()[0]).max() > 0.01
    with pytest.raises(ArgumentError, match="must train under it"):
        trained(model, toy.data(), task, strategy=tf.distribute.OneDeviceStrategy("/cpu:0"))


class Halving(keras.Model):
    """A trainer of its own kind: no graph, and a loss that it takes itself."""

    def __init__(self, width=3, **settings):
        super().__init__(**settings)
        self.width = width
        self.dense = keras.layers.Dense(2, name="dense")
        self.seen = keras.Variable(0, trainable=False, dtype="int32", name="seen")

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def compiled_trainer(kind=Halving):
    model = kind()
    model.build((None, 4))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.05), loss=loss)
    return model


def test_a_compiled_trainer_moves_with_the_state_of_its_optimizer(toy):
    models = [compiled_trainer(), compiled_trainer()]
    models[1].set_weights(models[0].get_weights())
    x, y = toy.data()
    for model in models:  # Adam's averages are not zero when it moves
        trained(model, (x, y), None, strategy=None, learning_rate=None)
    histories = [
        trained(model, (x, y), None, strategy=strategy, learning_rate=None).history["loss"]
        for model, strategy in zip(models, (None, ONE), strict=True)
    ]
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-5)
    assert int(models[1].optimizer.iterations.numpy()) == 24
    for ours, theirs in zip(models[1].optimizer.variables, models[0].optimizer.variables, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-6)


def test_a_trainer_without_a_config_is_told_where_to_build_it(toy):
    class Closed(Halving):
        def __init__(self, secret):
            super().__init__()

    model = compiled_trainer(lambda: Closed("secret"))
    with pytest.raises(ArgumentError, match=r"built again from its config.*\.scope\(\)"):
        trained(model, toy.data(), None, strategy=ONE, learning_rate=None)


def test_what_was_learnt_comes_back_even_if_the_block_fails(toy):
    model = toy.model()
    with pytest.raises(ZeroDivisionError), model_in_scope(model, ONE) as copy:
        copy.weights[0].assign(copy.weights[0] + 1)
        kept = copy.weights[0].numpy()
        raise ZeroDivisionError
    np.testing.assert_array_equal(model.weights[0].numpy(), kept)


def test_distillation_moves_both_models(toy, task):
    teacher = toy.model(width=8)
    students = [toy.model(), toy.model()]
    students[1].set_weights(students[0].get_weights())
    for student, strategy in zip(students, (None, ONE), strict=True):
        config = RunConfig(epochs=2, batch_size=16, progress="off", strategy=strategy)
        distill(student, teacher, toy.data(), task=task, config=config)
    for ours, theirs in zip(students[1].get_weights(), students[0].get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_norms_that_normalise_by_replica_are_warned_of_once(toy):
    replica_context = ReplicaContext(ONE)
    replica_context.num_replicas = 2
    with pytest.warns(TrainingWarning, match="synchronized=True") as warned:
        replica_context.warn_about_batch_norms(toy.model(norm=True))
    assert len(warned) == 1
    replica_context.warn_about_batch_norms(toy.model())  # nothing to say, and a warning would be an error


# Parts of batches


@pytest.mark.parametrize(
    ("size", "batch", "of"), [(64, 16, 2), (61, 16, 4), (33, 8, 8), (10, 10, 3), (5, 4, 4), (15, 8, 5), (25, 13, 8)]
)
@pytest.mark.parametrize("foreign", [False, True])
def test_parts_hold_every_example_once_and_weigh_it_equally(size, batch, of, foreign):
    x = np.arange(size, dtype=np.float32)[:, None]
    data = as_dataset((x, np.arange(size) % 2))
    if foreign:
        data = as_dataset(tf.data.Dataset.from_tensor_slices((x, np.arange(size) % 2)).batch(batch))
    whole = [inputs.numpy() for inputs, _ in data.batches(batch, shuffle=True, seed=3, epoch=2, start=1)]
    parts = [
        list(data.batches(batch, shuffle=True, seed=3, epoch=2, start=1, share=sharding.Share(part, 1, of)))
        for part in range(of)
    ]
    assert {len(each) for each in parts} == {len(whole)}
    for place, expected in enumerate(whole):
        rows = [each[place][0] for each in parts]
        counted = [inputs.numpy() for (inputs, _), weight in rows if weight > 0]
        np.testing.assert_array_equal(np.concatenate(counted), expected)
        mean = sum(float(weight) * inputs.numpy().mean() for (inputs, _), weight in rows) / of
        assert mean == pytest.approx(expected.mean(), abs=1e-4)
        assert all(len(inputs) for (inputs, _), _ in rows)


def test_a_process_with_several_replicas_reads_all_their_parts():
    data = as_dataset((np.arange(12, dtype=np.float32)[:, None], np.arange(12) % 2))
    (first, _), (second, _) = next(iter(data.batches(8, share=sharding.Share(2, 2, 4))))
    assert [first[0].numpy().ravel().tolist(), second[0].numpy().ravel().tolist()] == [[4, 5], [6, 7]]


def test_a_stream_gives_the_epochs_one_after_the_other():
    def jitter(image, seed):
        return image + tf.random.stateless_normal(image.shape, seed)

    data = as_dataset((np.arange(20, dtype=np.float32)[:, None], np.arange(20) % 2))
    for share in (None, sharding.Share(1, 2, 3)):
        settings = {"shuffle": True, "seed": 4, "augment": jitter, "share": share}
        one_by_one = [list(data.batches(8, epoch=epoch, start=1 if epoch == 5 else 0, **settings)) for epoch in (5, 6)]
        expected = [batch for epoch in one_by_one for batch in epoch]
        found = list(data.stream(8, epoch=5, start=1, **settings).take(len(expected)))
        for ours, theirs in zip(map(tf.nest.flatten, found), map(tf.nest.flatten, expected), strict=True):
            for value, wanted in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(value.numpy(), wanted.numpy())
