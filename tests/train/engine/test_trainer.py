"""`Trainer`: a GAN and a VAE on it, and what `fit` asks of it."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from toy_trainers import GAN, LATENT, ONE, WIDTH, data, gan, mlp, settings, vae

from kerasdl.core.errors import ArgumentError
from kerasdl.train import RunCallback, Trainer, distill, fit


def assert_close(first, second, tolerance):
    for ours, theirs in zip(first.weights, second.weights, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=tolerance, err_msg=ours.path)


# What trains


def test_each_optimizer_changes_its_own_network():
    trainer, frozen = gan(), gan(compiled=False)
    frozen.compile({"generator": "sgd", "discriminator": keras.optimizers.SGD(0.0)})
    run, other = (fit(each, data(), config=settings()) for each in (trainer, frozen))
    assert (run.model, run.trainer) == (trainer.networks["generator"], trainer)
    assert set(run.history) == {"d_loss", "g_loss", "generator_learning_rate", "discriminator_learning_rate"}
    assert other.history["discriminator_learning_rate"] == [0.0] * 3
    before = gan()
    assert_close(frozen.networks["discriminator"], before.networks["discriminator"], 0.0)
    for network in (trainer.networks["generator"], trainer.networks["discriminator"], frozen.networks["generator"]):
        old = before.networks["generator" if "generator" in network.name else "discriminator"].get_weights()
        assert all(np.any(ours != theirs) for ours, theirs in zip(network.get_weights(), old, strict=True))
    with pytest.raises(ArgumentError, match=r"but its networks can; got 'GAN'. Save trainer.networks\['generator'\]"):
        trainer.save("gan.keras")


def test_a_loss_of_its_own_needs_no_step_of_its_own():
    trainer = vae()
    run = fit(trainer, data(), validation=data(16), config=settings(epochs=12, learning_rate=0.02))
    assert run.history["loss"][-1] < 0.2 * run.history["loss"][0]
    assert run.best.value == min(run.history["val_loss"])
    assert {"kl", "val_kl", "learning_rate"} <= set(run.history)
    assert run.model is trainer.networks["decoder"]
    again = fit(trainer, data(), config=settings(epochs=1, learning_rate=0.3))  # compiled by fit alone: compiled anew
    assert again.history["learning_rate"] == [pytest.approx(0.3)]
    trainer.compile(keras.optimizers.SGD(0.25))  # by its user: kept
    assert fit(trainer, data(), config=settings(epochs=1)).history["learning_rate"] == [0.25]


def test_without_a_loss_of_its_own_it_is_its_main_network(toy, task):
    class Plain(Trainer):
        pass

    models = [toy.model(), toy.model()]
    models[1].set_weights(models[0].get_weights())
    fit(models[0], toy.data(), task=task, config=settings(remat=True, accumulation=2))
    run = fit(Plain({"net": models[1]}), toy.data(), task=task, config=settings(remat=True, accumulation=2))
    assert run.model is models[1]
    assert toy.digest(models[0]) == toy.digest(models[1])


def test_the_gan_of_the_documentation_runs(tmp_path, monkeypatch):
    text = (Path(__file__).parents[3] / "docs/training.md").read_text().split("## Trainers")[1]
    code = re.search(r"```python\n(.*?)```", text, flags=re.S)[1]
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "docs"}
    exec(code, names)
    assert len(names["run"].history["g_loss"]) == 2
    generator = keras.models.load_model("generator.keras")
    made = generator(np.random.default_rng(0).normal(size=(50, 4))).numpy()
    assert np.isfinite(made).all()
    np.testing.assert_array_equal(made, names["gan"].main(np.random.default_rng(0).normal(size=(50, 4))).numpy())


# What `fit` asks of it


class Break(RunCallback):
    def __init__(self, step):
        self.left = step

    def end_step(self, batch):
        self.left -= 1
        if not self.left:
            raise ZeroDivisionError
        return False


@pytest.mark.parametrize("made", [lambda: gan(dropout=0.3), vae], ids=["gan", "vae"])
def test_a_resumed_run_ends_with_the_same_weights(toy, tmp_path, made):
    def run(folder, step):
        config = settings(folder=tmp_path / folder, save_every=2)
        return fit(made(), data(), callbacks=[Break(step)], config=config)

    whole = run("whole", 99)
    with pytest.raises(ZeroDivisionError):
        run("broken", 10)
    again = run("broken", 99)
    assert toy.digest(again.trainer) == toy.digest(whole.trainer)
    for name, values in whole.history.items():  # TensorFlow adds a metric's terms in an order that a trace may change
        np.testing.assert_allclose(again.history[name], values, rtol=1e-6, err_msg=name)


def test_checkpoints_name_the_networks_and_their_settings_tell_runs_apart(tmp_path):
    config = settings(folder=tmp_path, epochs=1)
    fit(gan(), data(), config=config)
    names = np.load(next(tmp_path.glob("checkpoints/step_*/variables.npz"))).files
    assert [sum(name.startswith(role) for name in names) for role in ("generator/", "discriminator/", "trainer/")] == [
        4,
        4,
        1,
    ]
    assert fit(gan(), data(), config=config).resumed
    other = gan(compiled=False)
    other.compile({"generator": keras.optimizers.Adam(1e-3), "discriminator": keras.optimizers.Adam(1e-2)})
    with pytest.raises(ArgumentError, match=r"trainer.optimizers.generator.learning_rate is 0.019\d+ there, 0.0010"):
        fit(other, data(), config=config)
    fit(vae(), data(), config=settings(folder=tmp_path / "vae", epochs=1))
    with pytest.raises(ArgumentError, match=r"trainer.beta is 0.001 there, 2.0 here"):
        fit(vae(beta=2.0), data(), config=settings(folder=tmp_path / "vae", epochs=1))


@pytest.mark.parametrize("made", [gan, vae], ids=["gan", "vae"])
def test_under_a_strategy_it_is_made_again_and_learns_the_same(made):
    plain, moved = made(), made()
    first, second = fit(plain, data(), config=settings()), fit(moved, data(), config=settings(strategy=ONE))
    assert second.trainer is moved
    assert moved.distribute_strategy is not ONE
    assert_close(moved, plain, 1e-5)
    for name, values in first.history.items():
        np.testing.assert_allclose(second.history[name], values, rtol=1e-4, err_msg=name)
    if made is gan:
        for role, (optimizer, _) in moved.optimizers.items():
            for ours, theirs in zip(optimizer.variables, plain.optimizers[role][0].variables, strict=True):
                np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-5)


def test_a_batch_in_parts_is_the_whole_batch():
    class Still(GAN):
        """Without a draw, which would be another in each part."""

        gradients_first = True

        def train_step(self, data):
            real, (generator, judge) = data[0], self.networks.values()
            ones = ops.ones((ops.shape(real)[0], 1))
            with tf.GradientTape(persistent=True) as tape:
                made = judge(generator(real[:, :LATENT]))
                g_loss, d_loss = (
                    self.entropy(ones, made),
                    self.entropy(ones, judge(real)) + self.entropy(0 * ones, made),
                )
            self.minimize(d_loss, tape, "discriminator")
            self.minimize(g_loss, tape, "generator")
            return {"d_loss": d_loss, "g_loss": g_loss}

    trainers, runs = [], []
    for parts in (1, 3):
        keras.utils.set_random_seed(5)
        trainers.append(Still(mlp("generator", LATENT, WIDTH), mlp("discriminator", WIDTH, 1)))
        trainers[-1].compile({"generator": keras.optimizers.SGD(0.2), "discriminator": keras.optimizers.SGD(0.1)})
        runs.append(fit(trainers[-1], data(), config=settings(accumulation=parts)))
    assert_close(*trainers, 1e-5)
    np.testing.assert_allclose(runs[1].history["g_loss"], runs[0].history["g_loss"], rtol=1e-4)


def test_averages_that_its_optimizers_keep_are_what_is_kept():
    trainer = gan(compiled=False)
    averaging = keras.optimizers.Adam(2e-2, use_ema=True, ema_momentum=0.9)
    trainer.compile({"generator": averaging, "discriminator": "adam"})
    variables = trainer.networks["generator"].trainable_variables
    seen = []

    class Look(RunCallback):
        def measure(self, epoch):
            averages = averaging._model_variables_moving_average
            seen.extend(np.array_equal(a.numpy(), v.numpy()) for a, v in zip(averages, variables, strict=True))
            return {}

        def end_epoch(self, epoch, figures):
            seen.append(not np.array_equal(averaging._model_variables_moving_average[0].numpy(), variables[0].numpy()))

    fit(trainer, data(), callbacks=[Look()], config=settings())
    assert len(seen) == 3 * 5
    assert all(seen)
    for average, variable in zip(averaging._model_variables_moving_average, variables, strict=True):
        np.testing.assert_array_equal(average.numpy(), variable.numpy())


def test_averages_of_the_settings_are_what_is_validated_and_kept():
    trainer = vae()
    run = fit(trainer, data(), validation=data(16), config=settings(ema=0.8, restore_best=False))
    for average, variable in zip(
        trainer.optimizer._model_variables_moving_average, trainer.trainable_variables, strict=True
    ):
        np.testing.assert_array_equal(average.numpy(), variable.numpy())
    seeds = trainer.seeds.state.numpy()
    trainer.seeds.state.assign(seeds - [0, 2])  # the two batches of the last validation, drawn again
    found = trainer.evaluate(*data(16), batch_size=8, verbose=0, return_dict=True)
    assert run.history["val_loss"][-1] == pytest.approx(found["loss"], rel=1e-4)


def test_mixed_precision_computes_in_16_bits_and_leaves_outputs_alone():
    trainer = gan()
    seen = set()

    class Look(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            for network in self.model.networks.values():
                head, hidden = network.layers[-1], network.layers[1]
                seen.add(
                    (head.compute_dtype, hidden.compute_dtype, network(np.ones((1, *network.input_shape[1:])))[0].dtype)
                )

    fit(trainer, data(), callbacks=[Look()], config=settings(mixed_precision="bfloat16"))
    assert seen == {("float32", "bfloat16", tf.float32)}
    assert {layer.dtype_policy.name for layer in trainer._flatten_layers()} == {"float32"}


def test_a_sequential_model_gives_32_bits_in_mixed_precision(toy, task):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.extend([self.model.layers[0].compute_dtype, self.model(np.ones((1, 4))).dtype])

    fit(model, toy.data(), task=task, callbacks=[Look()], config=settings(epochs=1, mixed_precision="bfloat16"))
    assert seen == ["bfloat16", tf.float32]


def test_a_distilled_student_stays_compiled_and_its_run_has_the_trainer(toy, task):
    student, teacher = toy.model(), toy.model(width=8)
    run = distill(student, teacher, toy.data(), task=task, config=settings())
    assert run.model is student
    assert run.trainer.networks["student"] is student
    assert len(run.trainer.variables) == len(student.variables)
