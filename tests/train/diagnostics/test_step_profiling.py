"""`profile_step`: its verdict on steps that are far apart, its rule and its advice, and that it leaves no trace."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError, DataError
from kerasdl.train.diagnostics import step_profiler
from kerasdl.train.diagnostics.step_profiler import StepProfile, profile_step, verdict_of
from kerasdl.train.engine.train_steps import make_train_step

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def net(inputs, *widths):
    x = tensor = keras.Input((inputs,))
    for width in widths:
        x = keras.layers.Dense(width, "relu")(x)
    return keras.Model(tensor, keras.layers.Dense(2)(x))


def held(inputs, examples):
    x = np.random.default_rng(0).normal(size=(examples, inputs)).astype("float32")
    return tf.data.Dataset.from_tensors((x, (x[:, 0] > 0).astype("int32"))).cache().repeat()


def delayed(x, y):
    def wait(values):
        time.sleep(0.05)
        return values

    return tf.ensure_shape(tf.numpy_function(wait, [x], tf.float32), x.shape), y


def profiled(wanted, *arguments, **settings):
    """Profiles again, twice at most, where the verdict is another: work of other processes may have fallen into it."""
    for _ in range(3):
        profile = profile_step(*arguments, loss=LOSS, **settings)
        if profile.verdict == wanted:
            break
    assert profile.verdict == wanted, str(profile)
    return profile


def times(**values):
    given = {"input": 1.0, "compute": 10.0, "looped": 9.0, "step": 11.0, **values}
    return {f"{name}_seconds": value / 1000 for name, value in given.items()}


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({}, "compute-bound"),
        ({"step": 13.2}, "compute-bound"),  # 24 % beyond computation
        ({"step": 13.5}, "input-bound"),  # 26 %
        ({"looped": 7.0}, "overhead-bound"),  # 3 of 11
        ({"looped": 7.5}, "compute-bound"),
        ({"looped": 2.0, "step": 15.0}, "overhead-bound"),  # 8 of the host against 5 of the input
        ({"looped": 2.0, "step": 20.0}, "input-bound"),  # 8 against 10
        ({"step": 9.0, "looped": 11.0}, "compute-bound"),  # nothing but noise
    ],
)
def test_the_rule(values, verdict):
    assert verdict_of(**times(**values)) == verdict


def test_shares():
    profile = StepProfile(64, **times(looped=4.0, step=16.0), verdict="", advice=(), bfloat16_gain=None)
    assert profile.examples_per_second == pytest.approx(4000)
    assert profile.input_share == pytest.approx(6 / 16)
    assert profile.overhead_share == pytest.approx(6 / 16)


@pytest.mark.slow
def test_a_slow_pipeline():
    pipeline = held(4, 8).map(delayed)
    profile = profiled("input-bound", net(4, 4), pipeline, steps=6)
    assert profile.input_seconds == pytest.approx(0.05, rel=0.5)
    assert profile.input_share > 0.7
    assert "prefetch(tf.data.AUTOTUNE)" in profile.advice[0]
    assert profile.batch_size == 8


def test_a_tiny_net():
    profile = profiled("overhead-bound", net(4, 4), held(4, 8), steps=100)
    assert profile.looped_seconds < 0.75 * profile.compute_seconds
    assert "steps_per_execution" in profile.advice[0]


@pytest.mark.slow
def test_a_large_matrix_product():
    profile = profiled("compute-bound", net(1200, 1200), held(1200, 400), optimizer="sgd", steps=6)
    assert profile.examples_per_second == pytest.approx(400 / profile.step_seconds)


def test_ten_updates_in_one_call_are_ten(toy):
    """Else the overhead would be a fiction."""
    model = toy.model()
    model.compile(keras.optimizers.SGD(0.1), loss=LOSS)
    step = make_train_step(model, None)
    stream = iter(tf.data.Dataset.from_tensors(toy.data(8)).repeat())
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    clone.compile(keras.optimizers.SGD(0.1), loss=LOSS)
    step_profiler._steps_in_one_call(step)(stream)
    assert int(model.optimizer.iterations) == step_profiler.STEPS_PER_CALL
    for _ in range(step_profiler.STEPS_PER_CALL):
        make_train_step(clone, None)(stream)
    for ours, theirs in zip(model.get_weights(), clone.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_it_leaves_no_trace(toy, task):
    model = toy.model(dropout=0.5, norm=True)
    model.compile("sgd", "mse")
    before, optimizer = toy.digest(model), model.optimizer
    profile_step(model, toy.data(), task=task, steps=2)
    assert toy.digest(model) == before
    assert model.optimizer is optimizer
    assert model.loss == "mse"


def test_mixed_precision_and_augmentation_are_those_of_the_run(task):
    seen = []

    class Looking(keras.layers.Layer):
        def call(self, x):
            seen.append(x.dtype)
            return x

    tensor = keras.Input((4, 4, 1))
    model = keras.Model(tensor, keras.layers.Dense(2)(keras.layers.Flatten()(Looking()(tensor))))
    data = np.ones((16, 4, 4, 1), "float32"), np.arange(16, dtype="int32") % 2
    drawn = []

    def augment(image, seed):
        drawn.append(seed.shape)
        return image

    seen.clear()
    profile = profile_step(model, data, task=task, batch_size=8, steps=1, mixed_precision="bfloat16", augment=augment)
    assert {tf.as_dtype(each) for each in seen} == {tf.bfloat16}
    assert drawn
    assert profile.batch_size == 8
    assert model.layers[1].dtype_policy.name == "float32"


@pytest.mark.parametrize(("flags", "measured"), [("fpu amx_bf16", True), ("fpu avx512_bf16", True), ("fpu sse", False)])
def test_bfloat16_is_tried_where_the_cpu_has_it(tmp_path, monkeypatch, flags, measured):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(step_profiler, "CPU", tmp_path / "cpuinfo")
    monkeypatch.setattr(step_profiler, "SIDE", 64)
    gain = step_profiler.bfloat16_gain()
    assert (gain is not None) == measured


@pytest.mark.parametrize(
    ("precision", "gain", "said"),
    [
        (None, None, "cannot multiply in bfloat16"),
        (None, 1.1, "brings little"),
        (None, 2.0, 'profile again with mixed_precision="bfloat16"'),
        ("bfloat16", 2.0, "in bfloat16 already"),
    ],
)
def test_advice_on_bfloat16_follows_the_measurement(precision, gain, said):
    assert said in step_profiler._on_bfloat16(precision, gain)


def test_it_prints_a_table_and_draws(tmp_path):
    profile = StepProfile(64, **times(), verdict="compute-bound", advice=("Do this.",), bfloat16_gain=None)
    lines = str(profile).splitlines()
    assert lines[0] == "compute-bound: 5,818 examples/s at batch size 64"
    assert lines[3].split()[:5] == ["10", "in", "one", "call", "9"]
    assert lines[-1] == "- Do this."
    axes = profile.plot(tmp_path / "profile.png").axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([1, 9, 1, 11])
    assert (tmp_path / "profile.png").stat().st_size > 5000


def test_refusals(toy, task):
    for settings in ({"steps": 0}, {"batch_size": 0}, {"mixed_precision": "int8"}):
        with pytest.raises(ArgumentError):
            profile_step(toy.model(), toy.data(), task=task, **settings)
    with pytest.raises(DataError, match="no batches"):
        profile_step(toy.model(), held(4, 8).take(0), loss=LOSS)
