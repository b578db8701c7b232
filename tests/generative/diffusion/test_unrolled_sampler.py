"""Unrolled sampler: equal to the compiled loop, flat, and as files of TFLite and ONNX."""

import keras
import numpy as np
import pytest
from keras import layers

import kerasdl
from kerasdl.core.errors import ArgumentError
from kerasdl.deploy import export_onnx, export_tflite
from kerasdl.generative import ClassConditioning, Diffusion, DiscreteSchedule, unrolled_sampler
from kerasdl.generative.samplers import DDIM, DPMSolver, UniPC

UNET = dict(image_shape=(8, 8, 1), widths=(8, 16), blocks=1, attention=(4,), groups=4, dropout=0.0)


def trained(name="diffusion_mlp", schedule="linear", target="eps", classes=None, **arguments):
    """A trainer whose network is no longer zero."""
    network = kerasdl.build(name, classes=classes, **(arguments or dict(width=8, depth=1, waves=4)))
    rng = np.random.default_rng(0)
    for weight in network.trainable_weights:
        weight.assign(weight + 0.05 * rng.normal(size=weight.shape))
    conditioning = None if classes is None else ClassConditioning(classes=classes)
    return Diffusion(network, schedule, target, conditioning)


@pytest.mark.parametrize(
    ("schedule", "target", "sampler"),
    [
        ("linear", "v", DDIM()),
        ("ve", "edm", DPMSolver(order=3)),
        ("flow", "flow", UniPC(order=2)),
        ("cosine", "eps", DPMSolver(order=2)),
    ],
)
def test_it_equals_the_loop(schedule, target, sampler):
    trainer = trained(schedule=schedule, target=target, classes=3)
    noise, label = np.random.default_rng(1).normal(size=(4, 2)).astype("float32"), np.array([0, 1, 2, 3], "int32")
    model = unrolled_sampler(trainer, 5, sampler=sampler)
    expected = trainer.sample(noise=noise, labels=label, steps=5, sampler=sampler)
    np.testing.assert_allclose(model({"noise": noise, "label": label}), expected, rtol=1e-4, atol=1e-4)
    assert all(isinstance(each, keras.Layer) and not isinstance(each, keras.Model) for each in model.operations)
    assert model.count_params() == trainer.main.count_params()  # shared by the steps


def test_learned_variance_is_left_out():
    small = dict(image_shape=(4, 4, 1), depth=1, width=16, heads=2, learned_variance=True)
    trainer = trained("dit_s", DiscreteSchedule(steps=100), **small)
    noise = np.random.default_rng(1).normal(size=(2, 4, 4, 1)).astype("float32")
    expected = trainer.sample(noise=noise, steps=3)
    np.testing.assert_allclose(unrolled_sampler(trainer, 3)({"noise": noise}), expected, rtol=1e-4, atol=1e-4)


def test_random_and_two_stage_samplers_are_refused():
    for sampler in ("ancestral", "heun", DDIM(eta=0.5)):
        with pytest.raises(ArgumentError, match="deterministic"):
            unrolled_sampler(trained(), 3, sampler=sampler)


@pytest.mark.bars
def test_ten_steps_are_one_file_with_parity(tmp_path):
    trainer = trained("diffusion_unet", "cosine", "v", classes=3, **UNET)
    model = unrolled_sampler(trainer, 10)
    rng = np.random.default_rng(2)
    samples = {"noise": rng.normal(size=(32, 8, 8, 1)).astype("float32"), "label": np.arange(32, dtype="int32") % 4}
    lite = export_tflite(model, tmp_path / "sampler.tflite", samples=samples)
    onnx = export_onnx(model, tmp_path / "sampler.onnx", samples=samples)
    assert max(lite.worst_relative, onnx.worst_relative) < 1e-4
    single = export_tflite(trainer.main, tmp_path / "step.tflite")
    assert lite.bytes < 3 * single.bytes + 500_000  # the weights stand in it once


def test_a_weighted_sum_needs_a_term():
    from kerasdl.generative.diffusion.unrolling import weighted_sum

    with pytest.raises(ArgumentError, match="factor"):
        weighted_sum([layers.Input((2,))], [0.0], name="sum")
