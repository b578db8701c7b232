"""Models that their user compiled: `fit` keeps optimizer, loss and metrics, and does not inherit its own compile."""

import keras
import numpy as np
import pytest

from kerasdl.core import ArgumentError
from kerasdl.deploy import QuantizationScheme
from kerasdl.deploy.quantization.quantized_model import QuantizedModel
from kerasdl.train import RunConfig, finetune, fit
from kerasdl.train.engine.compilation import user_compile


def compiled(toy, **settings):
    model = toy.model()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metrics = [keras.metrics.SparseTopKCategoricalAccuracy(1, name="top1")]
    model.compile(**{"optimizer": keras.optimizers.SGD(0.25), "loss": loss, "metrics": metrics, **settings})
    return model


def test_the_users_compile_trains_like_keras_fit(toy, capsys):
    x, y = toy.data(64)
    model, oracle = compiled(toy), compiled(toy)
    oracle.set_weights(model.get_weights())
    run = fit(model, (x, y), config=RunConfig(epochs=2, shuffle=False))
    told = capsys.readouterr().out
    expected = oracle.fit(x, y, batch_size=32, epochs=2, shuffle=False, verbose=0).history
    for ours, theirs in zip(model.get_weights(), oracle.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(run.history["top1"], expected["top1"], rtol=1e-5)
    assert "keeps SGD, loss and metrics of the model's compile" in told


def test_a_second_call_keeps_the_users_compile_too_and_an_own_one_is_not_inherited(toy):
    data, model = toy.data(16), compiled(toy)
    quiet = {"epochs": 1, "progress": "off"}
    fit(model, data, config=RunConfig(optimizer="adam", **quiet))
    assert type(model.optimizer) is keras.optimizers.Adam  # for that call alone
    fit(model, data, config=RunConfig(**quiet))
    assert type(model.optimizer) is keras.optimizers.SGD
    assert float(model.optimizer.learning_rate) == 0.25
    plain = toy.model()
    fit(plain, data, task="tabular_classification", config=RunConfig(optimizer="adam", **quiet))
    assert user_compile(plain) is None
    fit(plain, data, task="tabular_classification", config=RunConfig(**quiet))
    assert type(plain.optimizer) is keras.optimizers.AdamW


def test_a_call_says_what_it_replaces(toy, capsys):
    config = RunConfig(epochs=1, optimizer="adam")
    run = fit(compiled(toy), toy.data(16), metrics=["accuracy"], config=config)
    told = capsys.readouterr().out
    assert "keeps loss of the model's compile" in told
    assert "replaces SGD and metrics of the model's compile" in told
    assert {"accuracy"} == set(run.history) - {"loss", "learning_rate"}


def test_eager_steps_of_a_compile_are_told_to_be_graphs(toy, capsys):
    fit(compiled(toy, run_eagerly=True), toy.data(16), config=RunConfig(epochs=1))
    assert "runs its steps as graphs, whatever run_eagerly" in capsys.readouterr().out


def test_a_task_of_the_call_replaces_loss_and_metrics(toy, capsys):
    model = compiled(toy, loss="mse")
    fit(model, toy.data(16), task="tabular_classification", config=RunConfig(epochs=1))
    told = capsys.readouterr().out
    assert "keeps SGD of the model's compile" in told
    assert "replaces loss and metrics of the model's compile" in told
    assert isinstance(model.loss, keras.losses.SparseCategoricalCrossentropy)


def two_outputs():
    tensor = keras.Input((4,))
    outputs = [keras.layers.Dense(2, name="kind")(tensor), keras.layers.Dense(1, name="size")(tensor)]
    model = keras.Model(tensor, outputs)
    losses = [keras.losses.SparseCategoricalCrossentropy(from_logits=True), "mse"]
    model.compile("sgd", losses, loss_weights=[1.0, 0.125], weighted_metrics=[[], ["mae"]])
    return model


@pytest.mark.parametrize(
    "nested",
    [lambda y, z: (y, z), lambda y, z: [y, z], lambda y, z: {"kind": y, "size": z}],
    ids=["tuple", "list", "dict"],
)
def test_two_compiled_losses_and_their_weights_hold(toy, nested):
    x, y = toy.data(32)
    z = x[:, :1] + 1
    model, oracle = two_outputs(), two_outputs()
    oracle.set_weights(model.get_weights())
    run = fit(model, (x, nested(y, z)), config=RunConfig(epochs=1, shuffle=False, progress="off"))
    expected = oracle.fit(x, {"kind": y, "size": z}, batch_size=32, epochs=1, shuffle=False, verbose=0).history
    assert run.history["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert run.history["size_mae"] == pytest.approx(expected["size_mae"], rel=1e-5)
    for ours, theirs in zip(model.get_weights(), oracle.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_finetuning_keeps_the_optimizer_of_the_compile(toy):
    model = compiled(toy)
    run = finetune(model, toy.data(16), groups=1, config=RunConfig(epochs=2, progress="off"))
    assert type(run.model.optimizer.inner_optimizer) is keras.optimizers.SGD


def test_a_loss_compiled_without_an_optimizer_is_kept(toy):
    x, y = toy.data(16)
    model = toy.model(classes=1)
    model.compile(None, loss="mse")
    run = fit(model, (x, y.astype("float32")), config=RunConfig(epochs=1, progress="off"))
    assert type(model.optimizer) is keras.optimizers.AdamW
    assert model.loss == "mse"
    assert set(run.history) == {"loss", "learning_rate"}


def test_the_compile_of_an_evaluation_is_not_the_users(toy):
    quantized = QuantizedModel(toy.model(), QuantizationScheme())
    quantized.calibrate(toy.data(64))
    quantized.evaluate(toy.data(16), task="tabular_classification")
    assert user_compile(quantized.model) is None


def test_a_compiled_optimizer_that_averages_is_refused_as_a_given_one_is(toy):
    model = compiled(toy, optimizer=keras.optimizers.SGD(0.1, use_ema=True))
    with pytest.raises(ArgumentError, match=r"use_ema=False.*RunConfig\(ema="):
        fit(model, toy.data(16), config=RunConfig(epochs=1, progress="off"))
