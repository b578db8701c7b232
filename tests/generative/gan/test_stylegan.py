"""StyleGAN2: counts of the published tables, styles by layer, path lengths, mixing and truncation."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from point_nets import compiled, config, pair
from unallocated import unallocated

import kerasdl
from kerasdl.core.errors import ArgumentError
from kerasdl.generative import StyleGAN
from kerasdl.generative.gan.stylegan import Parts, path_lengths
from kerasdl.generative.gan.stylegan2 import CHANNELS, CHANNELS_F
from kerasdl.train import fit

D = 512


def generator_count(channels):
    mapping, total, before = 8 * (D * D + D), 16 * channels[0], channels[0]

    def styled(inputs, outputs):
        return 9 * inputs * outputs + (D + 1) * inputs + outputs + 1

    for level, width in enumerate(channels):
        total += styled(before, width) if level else 0
        total += styled(width, width) + 3 * width + (D + 1) * width + 3
        before = width
    return mapping + total


def discriminator_count(channels):
    total = 3 * channels[-1] + channels[-1]
    for wide, out in zip(channels[:0:-1], channels[-2::-1], strict=True):
        total += 9 * wide * wide + wide + 9 * wide * out + out + wide * out
    last = channels[0]
    return total + 9 * (last + 1) * last + last + 16 * last * last + last + last + 1


@pytest.mark.parametrize(
    ("suffix", "channels", "numbers"),
    [("", CHANNELS, (24_767_458, 24_001_089)), ("_1024", CHANNELS_F, (30_370_060, 29_012_513))],
)
def test_counts_are_those_of_the_tables(suffix, channels, numbers):
    with unallocated():
        models = [kerasdl.build(f"stylegan2_{part}{suffix}") for part in ("generator", "discriminator")]
    counts = [sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) for model in models]
    assert counts == [generator_count(channels), discriminator_count(channels)] == list(numbers)


@pytest.fixture
def nets():
    keras.utils.set_random_seed(0)
    return [
        kerasdl.build(name, **kerasdl.spec(name).tiny) for name in ("stylegan2_generator", "stylegan2_discriminator")
    ]


def test_the_parts_are_the_generator_and_each_layer_reads_its_style(nets):
    generator, _ = nets
    parts, noise = Parts(generator), np.random.default_rng(0).normal(size=(64, 16)).astype("float32")
    styles = parts.mapping.predict(noise, verbose=0)
    np.testing.assert_allclose(
        parts.synthesis.predict(styles, verbose=0), generator.predict(noise, verbose=0), atol=1e-5
    )
    assert styles.shape == (64, 6, 16)
    first = parts.synthesis.predict(styles[:1], verbose=0)
    for layer in range(6):
        changed = styles[:1].copy()
        changed[:, layer] += 1.0
        assert np.abs(parts.synthesis.predict(changed, verbose=0) - first).max() > 1e-3, layer


def test_path_lengths_of_a_linear_map():
    """Of images A w the gradient is A^T y."""
    rng = np.random.default_rng(0)
    a, styles = rng.normal(size=(12, 6)), rng.normal(size=(4, 2, 3)).astype("float32")
    noise = rng.normal(size=(4, 2, 2, 3)).astype("float32")

    def images(each):
        return tf.reshape(tf.reshape(each, (4, 6)) @ tf.constant(a.T, tf.float32), (4, 2, 2, 3))

    found = path_lengths(images, tf.constant(styles), tf.constant(noise))
    gradient = (noise.reshape(4, 12) @ a / 2).reshape(4, 2, 3)
    np.testing.assert_allclose(found, np.sqrt((gradient**2).sum(-1).mean(-1)), rtol=1e-5)


@pytest.mark.bars
def test_a_run_changes_all_weights_and_measures_paths(nets):
    trainer = compiled(StyleGAN(*nets, r1_every=2, path_every=2, average=0.9))
    before = [weight.numpy() for weight in trainer.trainable_variables]
    images = np.random.default_rng(0).uniform(-1, 1, (24, 16, 16, 3)).astype("float32")
    run = fit(trainer, images, config=config(batch_size=8))
    pairs = zip(trainer.trainable_variables, before, strict=True)
    assert not [weight.path for weight, old in pairs if np.array_equal(weight.numpy(), old)]
    assert run.history["path_length"][-1] > 0
    assert np.any(trainer.mean_style.numpy())


def test_truncation_and_mixing_move_between_styles(nets):
    trainer = StyleGAN(*nets, average=None)
    trainer.mean_style.assign(np.full(16, 0.3, "float32"))
    same = trainer.sample(3, truncation=0.0)
    np.testing.assert_allclose(same[0], same[2], atol=1e-5)
    spread = [trainer.sample(16, truncation=share).std(0).mean() for share in (0.3, 1.0)]
    assert spread[0] < 0.7 * spread[1]
    np.testing.assert_allclose(trainer.mix(1, 2, layer=6, count=2), trainer.sample(2, seed=1), atol=1e-5)
    np.testing.assert_allclose(trainer.mix(1, 2, layer=0, count=2), trainer.sample(2, seed=2), atol=1e-5)
    middle = trainer.mix(1, 2, layer=3, count=2)
    assert not np.allclose(middle, trainer.sample(2, seed=1), atol=1e-3)
    for call in (lambda: trainer.sample(1, truncation=1.1), lambda: trainer.mix(0, 1, layer=7)):
        with pytest.raises(ArgumentError, match="must be a number from"):
            call()
    with pytest.raises(ArgumentError, match="must have a layer named styles"):
        StyleGAN(*pair())
