"""Conditional GANs: counts, the class in every form of discriminator, labels that are refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from point_nets import compiled, config
from unallocated import unallocated

import kerasdl
from kerasdl.core.errors import ArgumentError
from kerasdl.generative import ConditionalGAN
from kerasdl.train import fit

NAMES = {
    "concat": "conditional_discriminator",
    "projection": "projection_discriminator",
    "auxiliary": "acgan_discriminator",
}
SMALL = dict(image_shape=(4, 4, 1), classes=3, filters=(8,))


def count(name):
    with unallocated():
        return kerasdl.build(name).count_params()


def test_counts_are_the_sums_of_the_tables():
    made = 16 * (128 * 128 + 128 * 64 + 64 * 32 + 32) + 4 * (128 + 64 + 32) + 10 * 64
    assert count("conditional_generator") == made
    body = 16 * (32 * 64 + 64 * 128) + 32 + 64 + 128
    assert count(NAMES["concat"]) == body + 16 * 2 * 32 + 16 * 128 + 1 + 10 * 32 * 32
    assert count(NAMES["projection"]) == body + 16 * 32 + 128 + 1 + 10 * 128
    assert count(NAMES["auxiliary"]) == body + 16 * 32 + 128 + 1 + 10 * 128 + 10


def nets(condition, normalization="none"):
    keras.utils.set_random_seed(0)
    judge = kerasdl.build(NAMES[condition], **SMALL, normalization=normalization)
    return kerasdl.build("conditional_generator", **SMALL, latent=4), judge


def data(count=32):
    """Images of one grey, by their class: -0.8, 0 and 0.8."""
    labels = np.arange(count, dtype="int32") % 3
    return (labels[:, None, None, None] * 0.8 - 0.8 + np.zeros((1, 4, 4, 1))).astype("float32"), labels


def test_projection_is_equation_3_of_the_paper():
    """The logit is the product of the features with the vector of the class, and a part of the image alone."""
    _, judge = nets("projection")
    images, labels = data(6)
    pool = keras.Model(judge.input["image"], judge.get_layer("pool").output)(images).numpy()
    kernel, bias = judge.get_layer("image_logit").get_weights()
    vectors = judge.get_layer("class").get_weights()[0][labels]
    expected = (pool * vectors).sum(-1, keepdims=True) + pool @ kernel + bias
    np.testing.assert_allclose(judge({"image": images, "label": labels}), expected, atol=1e-5)


def test_the_loss_of_an_auxiliary_classifier_is_added_on_both_sides():
    images, labels = data(8)
    figures = []
    for weight in (0.0, 2.0):
        trainer = compiled(ConditionalGAN(*nets("auxiliary"), classes=3, auxiliary=weight), 0.0, "sgd")
        judge = trainer.networks["discriminator"]
        figures.append(trainer.train_step((tf.constant(images), tf.constant(labels))))
    told = keras.losses.sparse_categorical_crossentropy(labels, judge(images)["classes"], from_logits=True)
    added = [float(figures[1][name] - figures[0][name]) for name in ("discriminator_loss", "generator_loss")]
    assert added[1] > 0
    np.testing.assert_allclose(added[0] - added[1], 2 * np.mean(told), rtol=0.2)  # the noise of both updates differs


@pytest.mark.slow
@pytest.mark.parametrize("condition", NAMES)
def test_asked_classes_are_made(condition):
    trainer = ConditionalGAN(*nets(condition), classes=3, r1=0.1)
    trainer.compile({role: keras.optimizers.Adam(5e-3, 0.5) for role in trainer.networks})
    fit(trainer, data(96), config=config(epochs=80))
    asked = np.repeat(np.arange(3), 20)
    means = trainer.sample(asked).mean((1, 2, 3))
    assert np.mean(np.abs(means - (asked * 0.8 - 0.8)) < 0.4) > 0.9


def test_samples_are_of_asked_classes():
    trainer = ConditionalGAN(*nets("concat"), classes=3)
    np.testing.assert_array_equal(trainer.sample(5), trainer.sample([0, 1, 2, 0, 1]))
    assert np.abs(trainer.sample([0, 0]) - trainer.sample([1, 1])).max() > 0
    for asked in ([3], [-1], [0.5], [], [[0]], 0):
        with pytest.raises(ArgumentError, match="must be"):
            trainer.sample(asked)


def refused():
    images, labels = data(8)
    concat, other = nets("concat"), nets("auxiliary")
    yield lambda: ConditionalGAN(concat[0], other[1], classes=4), "must give logit and 4 classes"
    yield (
        lambda: ConditionalGAN(
            kerasdl.build("dcgan_generator", **kerasdl.spec("dcgan_generator").tiny), concat[1], classes=3
        ),
        "must take noise and label",
    )
    trainer = compiled(ConditionalGAN(*concat, classes=3))
    yield lambda: fit(trainer, images, config=config(batch_size=8)), "must|label"
    yield lambda: fit(trainer, (images, labels + 0.5), config=config(batch_size=8)), "whole numbers|dtype"
    yield lambda: fit(trainer, (images, labels[:, None]), config=config(batch_size=8)), r"must"
    yield lambda: ConditionalGAN(*concat, classes=0), "classes must be"
    yield lambda: ConditionalGAN(*concat, classes=9), "must have a row for each of 9 classes"


def test_what_cannot_be_right_is_refused():
    for call, said in refused():
        with pytest.raises(ArgumentError, match=said):
            call()
    images, labels = data(8)
    with pytest.raises(Exception, match="labels must be from 0 to 2"):
        compiled(ConditionalGAN(*nets("auxiliary"), classes=3)).train_step(
            (tf.constant(images), tf.constant(labels + 1))
        )
