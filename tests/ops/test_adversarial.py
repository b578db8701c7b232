"""Adversarial losses at their closed forms, gradient norms against finite differences, spectral norms against SVD."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from kerasdl.core.errors import ArgumentError
from kerasdl.layers import InstanceNormalization, SpectralNorm
from kerasdl.ops import discriminator_loss, generator_loss, spectral_norm, squared_gradient_norms

REAL, FAKE = np.random.default_rng(0).normal(size=(2, 7, 3)) * 3
LOG = {name: np.log(expit(values)) for name, values in (("r", REAL), ("f", FAKE), ("not_f", -FAKE))}
FORMS = {
    "minimax": (-LOG["r"].mean() - LOG["not_f"].mean(), LOG["not_f"].mean()),
    "non_saturating": (-LOG["r"].mean() - LOG["not_f"].mean(), -LOG["f"].mean()),
    "hinge": (np.clip(1 - REAL, 0, None).mean() + np.clip(1 + FAKE, 0, None).mean(), -FAKE.mean()),
    "least_squares": (0.5 * np.mean((REAL - 1) ** 2) + 0.5 * np.mean(FAKE**2), 0.5 * np.mean((FAKE - 1) ** 2)),
    "relativistic": (-np.log(expit(REAL - FAKE)).mean(), -np.log(expit(FAKE - REAL)).mean()),
    "wasserstein": (FAKE.mean() - REAL.mean(), -FAKE.mean()),
}


@pytest.mark.parametrize("name", FORMS)
def test_losses_are_their_formulas(name):
    found = discriminator_loss(REAL, FAKE, name), generator_loss(FAKE, name, REAL)
    assert [each.dtype for each in found] == ["float64"] * 2
    np.testing.assert_allclose(found, FORMS[name], rtol=1e-12)
    for value in (0.0, 90.0, -90.0, 1e4):  # no overflow of a logarithm
        same = np.full((4, 1), value, "float32")
        assert np.isfinite(discriminator_loss(same, -same, name))
        assert np.isfinite(generator_loss(same, name, same))
    spoiled = np.where(np.arange(3) == 1, np.nan, REAL).astype("float32")
    assert np.isnan(discriminator_loss(spoiled, FAKE.astype("float32"), name))


def test_the_best_discriminator_has_the_loss_of_equation_4():
    """At D = p / (p + q) the minimax loss is log 4 - 2 JSD(p, q), here of two distributions of three values."""
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.3, 0.6])
    logits = np.log(p / q)
    best = sum(
        weight_p * discriminator_loss(logits[k : k + 1], np.full(1, -np.inf), "minimax")
        + weight_q * discriminator_loss(np.full(1, np.inf), logits[k : k + 1], "minimax")
        for k, (weight_p, weight_q) in enumerate(zip(p, q, strict=True))
    )
    middle = (p + q) / 2
    divergence = (np.sum(p * np.log(p / middle)) + np.sum(q * np.log(q / middle))) / 2
    np.testing.assert_allclose(best, np.log(4) - 2 * divergence, rtol=1e-12)


def test_losses_refuse_what_they_do_not_know():
    with pytest.raises(ArgumentError, match=r"loss must be one of .*; got 'lsgan'"):
        discriminator_loss(REAL, FAKE, "lsgan")
    with pytest.raises(ArgumentError, match=r"Pass real="):
        generator_loss(FAKE, "relativistic")
    with pytest.raises(ArgumentError, match=r"logits of one shape; got \(\(7, 1\), \(7, 3\)\)"):
        discriminator_loss(REAL[:, :1], FAKE, "relativistic")


LAYERS = {
    "dense": lambda: [keras.layers.Flatten(), keras.layers.Dense(5, "tanh")],
    "convolution": lambda: [keras.layers.Conv2D(3, 4, 2, "same"), keras.layers.LeakyReLU(0.2)],
    "transposed": lambda: [keras.layers.Conv2DTranspose(3, 4, 2, "same"), keras.layers.Activation("softplus")],
    "layer_norm": lambda: [keras.layers.LayerNormalization(), keras.layers.Activation("silu")],
    "sampling": lambda: [keras.layers.UpSampling2D(2), keras.layers.AveragePooling2D(2)],
    "padding": lambda: [keras.layers.ZeroPadding2D(1), keras.layers.Conv2D(2, 3), keras.layers.Activation("tanh")],
}


@pytest.fixture
def float64():
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before)
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("kind", LAYERS)
def test_double_backpropagation_equals_finite_differences(kind, float64):
    """The penalty's gradient by the weights of a layer, and the penalty itself, against differences in float64."""
    found, expected = slopes_of_penalty(LAYERS[kind]())
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_second_derivatives_of_moments_are_wrong_in_tensorflow(float64):
    """Why the trainers refuse group norms under a penalty; once this fails, they need not."""
    found, expected = slopes_of_penalty([keras.layers.Conv2D(2, 3), InstanceNormalization()])
    assert np.abs(np.subtract(found, expected)).max() > 0.01 * np.abs(expected).max()


def slopes_of_penalty(layers, step=1e-5):
    """Slopes of a penalty by all weights along a random direction: by the tape, and by differences."""
    keras.utils.set_random_seed(1)
    end = [keras.layers.Flatten(), keras.layers.Dense(1), keras.layers.Activation("tanh")]
    net = keras.Sequential([keras.Input((4, 4, 2)), *layers, *end])
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 4, 4, 2)))
    weights, rng = net.trainable_weights, np.random.default_rng(2)

    @tf.function
    def penalty():
        return tf.reduce_mean(tf.square(tf.sqrt(squared_gradient_norms(net, x)) - 1.0))

    with tf.GradientTape() as tape:
        value = penalty()
    gradients = tape.gradient(value, [each.value for each in weights], unconnected_gradients="zero")
    units = step * np.eye(32).reshape(1, 32, 4, 4, 2)
    up, down = (net((x[:, None] + sign * units).numpy().reshape(64, 4, 4, 2)) for sign in (1, -1))
    norms = np.linalg.norm(np.reshape((up - down) / (2 * step), (2, 32)), axis=1)
    np.testing.assert_allclose(value, np.mean((norms - 1) ** 2), rtol=1e-5)
    found, expected = [], []
    for weight, gradient in zip(weights, gradients, strict=True):
        direction, before = rng.normal(size=weight.shape), weight.numpy()
        values = []
        for sign in (1, -1):
            weight.assign(before + sign * step * direction)
            values.append(float(penalty()))
        weight.assign(before)
        found.append(float(tf.reduce_sum(gradient * direction)))
        expected.append((values[0] - values[1]) / (2 * step))
    return found, expected


def test_gradient_norms_need_a_gradient():
    with pytest.raises(ArgumentError, match="must depend on the inputs"):
        squared_gradient_norms(lambda x: tf.ones((2, 1)), np.ones((2, 3), "float32"))
    assert squared_gradient_norms(lambda x: tf.sqrt(x), np.ones((3, 2))).numpy().tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (1, 5), (6, 1)])
def test_spectral_norm_is_the_largest_singular_value(shape):
    matrix = np.random.default_rng(3).normal(size=shape)
    exact = np.linalg.norm(matrix, 2)
    np.testing.assert_allclose(spectral_norm(matrix, 40), exact, rtol=1e-9)
    lower = [float(spectral_norm(matrix, count)) for count in (1, 2, 4, 8)]
    assert lower == sorted(lower)
    assert lower[-1] <= exact * (1 + 1e-12)
    np.testing.assert_allclose(spectral_norm(matrix.astype("float32"), 20), exact, rtol=1e-3)


def test_spectral_norm_of_matrices_of_low_rank():
    rng = np.random.default_rng(4)
    thin = (rng.normal(size=(50, 2)) @ rng.normal(size=(2, 60))).astype("float32")
    for matrix in (thin, np.eye(7, dtype="float32"), np.zeros((4, 4), "float32"), np.full((5, 3), 1e-4, "float32")):
        np.testing.assert_allclose(spectral_norm(matrix, 12), np.linalg.norm(matrix, 2), rtol=1e-4, atol=1e-12)
    with pytest.raises(ArgumentError, match=r"two axes; got \(2, 2, 2\)"):
        spectral_norm(np.zeros((2, 2, 2)))
    with pytest.raises(ArgumentError, match="iterations must be an integer of 1 or more"):
        spectral_norm(np.eye(2), 0)


def test_a_constrained_kernel_has_the_norm_after_each_update():
    keras.utils.set_random_seed(0)
    layer = keras.layers.Conv2D(24, 4, kernel_constraint=SpectralNorm(2.0, iterations=16))
    net = keras.Sequential([keras.Input((8, 8, 16)), layer])
    net.compile(keras.optimizers.SGD(0.1), "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 8, 8, 16)), rng.normal(size=(8, 5, 5, 24))
    for _ in range(3):
        net.train_on_batch(x, y)
        norm = np.linalg.norm(layer.kernel.numpy().reshape(-1, 24), 2)
        np.testing.assert_allclose(norm, 2.0, rtol=2e-3)
    again = keras.models.model_from_json(net.to_json()).layers[-1].kernel_constraint
    assert isinstance(again, SpectralNorm)
    assert (again.norm, again.iterations) == (2.0, 16)
    assert not np.any(SpectralNorm()(np.zeros((3, 3, 2, 2), "float32")))
    with pytest.raises(ArgumentError, match="norm must be a number from"):
        SpectralNorm(0.0)
