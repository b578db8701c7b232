"""Counts by their sums, halves that are the whole, refused networks, answers of trainers, exports of both halves."""

from itertools import pairwise

import keras
import numpy as np
import pytest
from exporting import export_as

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.data import load
from kerasdl.generative import ReconstructionTrainer, split_autoencoder
from kerasdl.train import RunConfig, fit

SMALL = {"image_shape": (16, 16, 1), "filters": (4, 8), "code": 3}


def test_counts_are_sums_of_the_layers():
    widths = (784, 1000, 500, 250, 30, 250, 500, 1000, 784)
    assert kerasdl.spec("autoencoder").params == sum(a * b + b for a, b in pairwise(widths))
    encoder = (9 * 1 * 32 + 32) + (9 * 32 * 64 + 64) + (49 * 64 * 32 + 32)
    decoder = (32 * 49 * 64 + 49 * 64) + (9 * 64 * 64 + 64) + (9 * 64 * 32 + 32) + (9 * 32 * 1 + 1)
    assert kerasdl.spec("conv_autoencoder").params == encoder + decoder


@pytest.mark.parametrize(
    ("name", "arguments"), [("autoencoder", {"widths": (12,), "code": 3}), ("conv_autoencoder", {})]
)
def test_halves_are_the_whole_and_learn_with_it(name, arguments):
    network = kerasdl.build(name, **({"image_shape": (16, 16, 1), **arguments} if arguments else SMALL))
    encoder, decoder = split_autoencoder(network)
    x = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16, 1)).astype("float32")
    np.testing.assert_allclose(decoder(encoder(x)), network(x), rtol=1e-5, atol=1e-5)
    assert encoder.count_params() + decoder.count_params() == network.count_params()
    network.set_weights([each + 0.1 for each in network.get_weights()])
    np.testing.assert_allclose(decoder(encoder(x)), network(x), rtol=1e-5, atol=1e-5)


def test_networks_that_are_no_autoencoder_are_refused():
    image = keras.Input((8, 8, 1))
    flat = keras.layers.Flatten()(image)
    bypass = keras.layers.Dense(2, name="code")(flat)
    cases = {
        "one output of the shape": keras.Model(image, bypass),
        "a layer 'code'": keras.Model(image, keras.layers.Conv2D(1, 1)(image)),
    }
    for words, network in cases.items():
        with pytest.raises(ArgumentError, match=words):
            ReconstructionTrainer(network)
    wide = keras.layers.Reshape((8, 8, 1))(keras.layers.Dense(64)(flat))
    network = keras.Model(image, [wide, bypass])
    with pytest.raises(ArgumentError, match="one output"):
        ReconstructionTrainer(network)
    network = keras.Model(image, keras.layers.Add()([wide, keras.layers.Rescaling(0.0)(image)]))
    with pytest.raises(ArgumentError, match="code"):
        split_autoencoder(network)
    with pytest.raises(ArgumentError, match="multiples of 4"):
        kerasdl.build("conv_autoencoder", image_shape=(30, 30, 1))
    with pytest.raises(ArgumentError, match="known sides"):
        kerasdl.build("autoencoder", image_shape=(None, 28, 1))


def test_answers_are_those_of_the_network():
    trainer = ReconstructionTrainer(kerasdl.build("conv_autoencoder", **SMALL))
    x = np.random.default_rng(0).uniform(-1, 1, (5, 16, 16, 1)).astype("float32")
    expected = np.asarray(trainer.main(x))
    np.testing.assert_allclose(trainer.reconstruct(x, batch_size=2), expected, atol=1e-6)
    np.testing.assert_allclose(trainer.predict(x, verbose=0), expected, atol=1e-6)
    np.testing.assert_allclose(trainer.decode(trainer.encode(x)), expected, atol=1e-5)
    np.testing.assert_allclose(trainer.errors(x), np.square(expected - x).mean((1, 2, 3)), rtol=1e-5)
    zeros = np.zeros((1, 16, 16, 1), "float32")
    assert trainer.encode(zeros).shape == (1, 3)
    for wrong in ((x * 255).astype("uint8"), x[:0], np.full_like(x, np.nan)):
        with pytest.raises(ArgumentError, match="finite floats"):
            trainer.encode(wrong)
    with pytest.raises(ArgumentError, match="shape"):
        trainer.encode(x[:, :8])


def test_loss_is_the_weighted_squared_error_and_labels_of_its_shape_are_targets():
    trainer = ReconstructionTrainer(kerasdl.build("conv_autoencoder", **SMALL))
    rng = np.random.default_rng(0)
    x, clean = rng.uniform(-1, 1, (2, 4, 16, 16, 1)).astype("float32")
    weights = np.array([1.0, 0.0, 2.0, 1.0], "float32")
    found = trainer(x)
    output = np.asarray(found["output"])
    for labels, target in ((None, x), (np.arange(4), x), (clean, clean)):
        each = np.square(output - target).mean((1, 2, 3))
        assert float(trainer.compute_loss(x, labels, found)) == pytest.approx(each.mean(), rel=1e-5)
        weighed = float(trainer.compute_loss(x, labels, found, weights))
        assert weighed == pytest.approx((each * weights).mean(), rel=1e-5)
    with pytest.raises(ArgumentError, match="weights of images"):
        trainer.compute_loss(x, None, found, np.ones((4, 16), "float32"))


def test_images_of_another_shape_are_no_targets():
    trainer = ReconstructionTrainer(kerasdl.build("conv_autoencoder", **SMALL))
    x = np.zeros((4, 16, 16, 1), "float32")
    for wrong in (np.zeros((4, 8, 8, 1)), np.zeros((4, 16, 16, 3)), np.zeros((4, 16, 16))):
        with pytest.raises(ArgumentError, match="target images must be of the shape"):
            fit(trainer, (x, wrong.astype("float32")), config=RunConfig(steps=1, progress="off"))


def test_fit_lowers_the_error_of_labelled_images():
    data = load("mnist").take(64)
    images = data.arrays()[0]
    keras.utils.set_random_seed(0)
    network = kerasdl.build("conv_autoencoder", filters=(4, 8), code=4)
    before = ReconstructionTrainer(network).errors(images).mean()
    config = RunConfig(epochs=4, batch_size=16, learning_rate=1e-2, strategy=None, progress="off")
    run = fit(network, data, task="image_reconstruction", config=config)
    assert run.history["loss"][-1] < run.history["loss"][0]
    assert ReconstructionTrainer(run.model).errors(images).mean() < 0.8 * before


def test_images_of_another_shape_or_scale_are_named():
    trainer = ReconstructionTrainer(kerasdl.build("conv_autoencoder", **SMALL))
    config = RunConfig(steps=1, strategy=None, progress="off")
    with pytest.raises(ArgumentError, match="shape"):
        fit(trainer, np.zeros((4, 8, 8, 1), "float32"), config=config)
    with pytest.warns(match="from -1 to 1"):
        fit(trainer, np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 1)).astype("float32"), config=config)


@pytest.mark.slow
def test_both_halves_are_exported(tmp_path):
    encoder, decoder = split_autoencoder(kerasdl.build("conv_autoencoder", **SMALL))
    x = np.random.default_rng(0).uniform(-1, 1, (32, 16, 16, 1)).astype("float32")
    for half, samples in ((encoder, x), (decoder, np.asarray(encoder(x)))):
        for kind in ("float32", "onnx", "int8"):
            folder = tmp_path / half.name / kind
            folder.mkdir(parents=True)
            report = export_as(half, folder, kind, samples)
            assert report.worst_relative < (0.1 if kind == "int8" else 1e-4)
