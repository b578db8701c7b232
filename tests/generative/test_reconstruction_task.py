"""Image reconstruction task: the trainer by the layers, bundles that give images and errors, settings refused."""

import numpy as np
import pytest

import kerasdl
from kerasdl.core import BundleError, get_task
from kerasdl.generative import VAE, VQVAE, ReconstructionTrainer

SMALL = {"image_shape": (16, 16, 1), "filters": (4,)}
SETTINGS = {"image_shape": [16, 16, 1], "scale": [-1, 1]}


def test_layers_say_which_trainer_a_network_has():
    trainer_of = get_task("image_reconstruction").trainer
    kinds = {"conv_autoencoder": ReconstructionTrainer, "vae": VAE, "vqvae": VQVAE, "fsq_autoencoder": VQVAE}
    for name, kind in kinds.items():
        assert type(trainer_of({"model": kerasdl.build(name, **SMALL)})) is kind


@pytest.mark.bars
def test_a_bundle_gives_images_and_their_errors(tmp_path):
    network = kerasdl.build("conv_autoencoder", **SMALL, code=2)
    bundle = kerasdl.Bundle.of(network, name="small", task="image_reconstruction", preprocess=SETTINGS)
    bundle.save(tmp_path / "small.zip")
    raw = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1)).astype("uint8")
    found = kerasdl.load_bundle(tmp_path / "small.zip").predict(raw)
    scaled = raw.astype("float32") / 127.5 - 1
    output = np.asarray(network(scaled))
    for each, image, given in zip(found, output, scaled, strict=True):
        assert each["error"] == pytest.approx(np.square(image - given).mean(), rel=1e-4)
        levels = np.clip((image + 1) * 127.5, 0, 255)
        assert np.abs(each["image"] - levels).max() <= 0.51
    assert get_task("image_reconstruction").table(found[0]) == [{"error": found[0]["error"]}]


@pytest.mark.parametrize(
    ("settings", "labels", "words"),
    [
        ({**SETTINGS, "scale": [0, 1]}, (), "scale"),
        ({**SETTINGS, "image_shape": [8, 8, 1]}, (), "image_shape"),
        (SETTINGS, ("a",), "no labels"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, labels, words):
    network = kerasdl.build("conv_autoencoder", **SMALL, code=2)
    with pytest.raises(BundleError, match=words):
        kerasdl.Bundle.of(network, name="small", task="image_reconstruction", preprocess=settings, labels=labels)


def test_a_conditional_network_has_no_bundle():
    network = kerasdl.build("conditional_vae", **SMALL, code=2)
    with pytest.raises(BundleError, match="one input"):
        kerasdl.Bundle.of(network, name="small", task="image_reconstruction", preprocess=SETTINGS)
