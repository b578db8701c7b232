"""DCGAN: counts of PyTorch's tutorial, other sizes, and spectral normalisation under its trainer."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from point_nets import compiled, config
from unallocated import unallocated

import kerasdl
from kerasdl.core.errors import ArgumentError
from kerasdl.data import DataWarning
from kerasdl.generative import GAN
from kerasdl.train import fit


def learnt(name, **settings):
    with unallocated():
        model = kerasdl.build(name, **settings)
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_counts_are_those_of_the_tables():
    sides = ((100, 512), (512, 256), (256, 128), (128, 64), (64, 3))
    kernels = sum(16 * inputs * outputs for inputs, outputs in sides)
    assert learnt("dcgan_generator") == kernels + 2 * (512 + 256 + 128 + 64) == 3_576_704
    sides = ((3, 64), (64, 128), (128, 256), (256, 512), (512, 1))
    kernels = sum(16 * inputs * outputs for inputs, outputs in sides)
    assert learnt("dcgan_discriminator") == kernels + 2 * (128 + 256 + 512) == 2_765_568
    biased = learnt("dcgan_discriminator", normalization="none")
    assert biased == kernels + 64 + 128 + 256 + 512 + 1 == learnt("dcgan_discriminator", normalization="spectral")


def test_other_sides_begin_with_another_map():
    shape, filters = (28, 20, 1), (6, 4)
    generator = kerasdl.build("dcgan_generator", image_shape=shape, latent=5, filters=filters)
    judge = kerasdl.build("dcgan_discriminator", image_shape=shape, filters=filters[::-1])
    assert generator.get_layer("level1_conv").output.shape == (None, 7, 5, 6)
    made = generator.predict(np.random.default_rng(0).normal(size=(3, 5)), verbose=0)
    assert made.shape == (3, *shape)
    assert np.abs(made).max() <= 1
    assert judge.predict(made, verbose=0).shape == (3, 1)
    for build in (kerasdl.build,):
        with pytest.raises(
            ArgumentError, match=r"multiples of 16, 2 for each of filters; got \(28, 28, 1\). Pass filters="
        ):
            build("dcgan_generator", image_shape=(28, 28, 1))
    with pytest.raises(ArgumentError, match="normalization must be one of"):
        kerasdl.build("dcgan_discriminator", normalization="layer")


def test_spectral_kernels_have_norm_one_after_a_step():
    generator = kerasdl.build("dcgan_generator", **kerasdl.spec("dcgan_generator").tiny)
    judge = kerasdl.build("dcgan_discriminator", **kerasdl.spec("dcgan_discriminator").tiny, normalization="spectral")
    trainer = compiled(GAN(generator, judge, loss="hinge", r1=1.0))
    trainer.train_step((tf.ones((4, 16, 16, 3)),))
    kernels = [layer.kernel.numpy() for layer in judge.layers if isinstance(layer, keras.layers.Conv2D)]
    norms = [np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), 2) for kernel in kernels]
    np.testing.assert_allclose(norms, 1.0, rtol=0.03)


def test_raw_pixels_are_told():
    """The discriminator would tell levels from 0 to 255 apart by their size."""
    nets = (
        kerasdl.build(f"dcgan_{name}", **kerasdl.spec(f"dcgan_{name}").tiny) for name in ("generator", "discriminator")
    )
    with pytest.warns(DataWarning, match="pixels up to 255"):
        fit(compiled(GAN(*nets)), np.full((2, 16, 16, 3), 255.0, "float32"), config=config(steps=1))
