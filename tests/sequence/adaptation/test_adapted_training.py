"""Tuned models in training and delivery: resume, mixed precision, bundle files, exports and QAT after merging."""

import keras
import numpy as np
import pytest
from test_weight_changes import drawn, image_net, numbers, text_net

import kerasdl
from kerasdl import deploy, sequence
from kerasdl.bundles.format.model_file import load_model_file, save_model_file
from kerasdl.train import RunConfig, fit


class Crash(keras.callbacks.Callback):
    """Breaks a run off after so many steps; nothing is saved by it."""

    def __init__(self, steps):
        super().__init__()
        self.steps = iter(range(1, steps))  # a plain number would be kept in checkpoints

    def on_train_batch_end(self, batch, logs=None):
        if next(self.steps, None) is None:
            raise ZeroDivisionError


def tuned_net(make=text_net, **settings):
    keras.utils.set_random_seed(5)
    return sequence.lora(make(), 2, trained="head", **settings)


def run(net, **settings):
    x = np.random.default_rng(0).integers(1, 20, (24, 6)).astype("int32")
    y = (x[:, 0] > 9).astype("int32")
    settings = {"epochs": 2, "batch_size": 8, "learning_rate": 0.05, "progress": "off", **settings}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    callbacks = settings.pop("callbacks", ())
    return fit(net, (x, y), loss=loss, config=RunConfig(**settings), callbacks=callbacks)


def test_killed_run_goes_on_bit_for_bit(tmp_path):
    whole, broken, resumed = tuned_net(), tuned_net(), tuned_net()
    frozen = [weight.numpy() for weight in whole.non_trainable_weights]
    before = [weight.numpy() for weight in whole.trainable_weights]
    run(whole)
    with pytest.raises(ZeroDivisionError):
        run(broken, folder=tmp_path, save_every=2, callbacks=[Crash(4)])
    assert run(resumed, folder=tmp_path, save_every=2, callbacks=[Crash(100)]).resumed
    for one, other in zip(whole.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert all(np.array_equal(a, w.numpy()) for a, w in zip(frozen, whole.non_trainable_weights, strict=True))
    assert all(np.any(a != w.numpy()) for a, w in zip(before, whole.trainable_weights, strict=True))


def test_mixed_precision_computes_what_the_merged_model_computes():
    net = tuned_net()
    run(net, mixed_precision="bfloat16")
    assert all(weight.dtype == "float32" for weight in net.weights)
    x = drawn(net)
    for layer in net.layers:
        for each in layer._flatten_layers():
            each.dtype_policy = "mixed_bfloat16"
    merged = sequence.merge_lora(net)
    assert merged.get_layer("block1_attention_query").compute_dtype == "bfloat16"
    np.testing.assert_array_equal(numbers(merged, x), numbers(net, x))


def test_bundle_file_holds_a_tuned_model(tmp_path):
    net = sequence.dora(image_net(), 2)
    save_model_file(net, tmp_path / "model.keras")
    loaded = load_model_file(tmp_path / "model.keras")
    np.testing.assert_array_equal(numbers(loaded, drawn(net)), numbers(net, drawn(net)))
    assert [w.path for w in loaded.trainable_weights] == [w.path for w in net.trainable_weights]


def test_merged_model_exports_and_the_tuned_one_gives_the_same_file(tmp_path):
    net = tuned_net()
    run(net)
    answers = []
    for name, each in (("tuned", net), ("merged", sequence.merge_lora(net))):
        report = deploy.export_tflite(each, tmp_path / f"{name}.tflite")
        answers.append(numbers(lambda x, path=report.path: deploy.run_exported(path, x), drawn(net)))
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5)
    np.testing.assert_allclose(answers[1], numbers(net, drawn(net)), atol=1e-4)


@pytest.mark.slow
def test_merged_model_is_quantised_in_training():
    spec = kerasdl.spec("vit_tiny")
    net = kerasdl.build("vit_tiny", **spec.tiny)
    tuned = sequence.lora(net, 2, trained="head")
    x = np.random.default_rng(0).uniform(-1, 1, (16, *net.input_shape[1:])).astype("float32")
    y = np.arange(16) % net.output_shape[-1]
    config = RunConfig(epochs=1, batch_size=8, progress="off")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    fit(tuned, (x, y), loss=loss, config=config)
    merged = sequence.merge_lora(tuned)
    quantised = deploy.quantize_aware(merged, (x, y), epochs=1, loss=loss)
    assert np.abs(np.asarray(quantised.predict(x)) - np.asarray(merged(x))).max() < 1.0
