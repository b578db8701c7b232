"""Activations, losses, optimizers and initial weights by hand against Keras and closed forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl import foundations
from kerasdl.foundations import activations, initializers, losses, optimizers

NUMBERS = np.array([-800.0, -30.0, -5.0, -1.0, -1e-3, 1e-3, 0.5, 1.0, 3.0, 25.0, 800.0])
RNG = np.random.default_rng(1)
KERAS_NAMES = {"gelu": None, "gelu_tanh": None, "swish": "silu"}


@pytest.mark.parametrize("name", activations.ACTIVATIONS)
def test_activations_and_derivatives(name):
    own = activations.activation(name)
    if name.startswith("gelu"):
        theirs = lambda x: keras.ops.gelu(x, approximate=name == "gelu_tanh")  # noqa: E731
    else:
        theirs = keras.activations.get(KERAS_NAMES.get(name, name))
    x = tf.constant(NUMBERS)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = theirs(x)
    np.testing.assert_allclose(own.value(NUMBERS), y, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(own.derivative(NUMBERS), tape.gradient(y, x), rtol=1e-5, atol=1e-12)


def test_softmax_and_its_gradient():
    x, gradient = RNG.normal(size=(3, 5)) * 10, RNG.normal(size=(3, 5))
    tensor = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        shares = tf.nn.softmax(tensor)
    np.testing.assert_allclose(activations.softmax(x), shares, rtol=1e-10)
    expected = tape.gradient(shares, tensor, output_gradients=gradient)
    np.testing.assert_allclose(activations.softmax_backward(shares.numpy(), gradient), expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", activations.ACTIVATIONS)
def test_pixels_and_counts_are_numbers(name):
    own, numbers = activations.activation(name), np.array([0, 3, 200], "uint8")
    np.testing.assert_allclose(own.value(numbers), own.value(numbers.astype(float)))
    np.testing.assert_allclose(own.derivative(numbers), own.derivative(numbers.astype(float)))
    np.testing.assert_allclose(activations.softmax(numbers), [0.0, 0.0, 1.0], atol=1e-12)


def test_saturation_and_dead_units():
    assert activations.saturated_share("sigmoid", [-10, -1, 0, 9]) == 0.5
    assert activations.saturated_share("relu", [-1, -2, 3, 4]) == 0.5
    assert activations.dead_share([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match=r"activation must be one of .*; got 'relo'"):
        activations.activation("relo")


def targets_and_predictions(name: str) -> tuple[np.ndarray, np.ndarray]:
    labels = RNG.integers(0, 2, (6, 4)).astype(float)
    if name == "hinge":
        return 2 * labels - 1, RNG.normal(size=(6, 4))
    if name in ("ce", "kl", "ce_from_logits"):
        logits = RNG.normal(size=(6, 4))
        return RNG.dirichlet(np.ones(4), 6), logits if name == "ce_from_logits" else activations.softmax(logits)
    if name == "bce":
        return labels, RNG.uniform(0.01, 0.99, (6, 4))
    return (labels if name == "bce_from_logits" else RNG.normal(size=(6, 4))), RNG.normal(size=(6, 4)) * 3


def keras_loss(name: str):
    settings = {"from_logits": True} if name.endswith("_from_logits") else {}
    kinds = {
        "mse": keras.losses.MeanSquaredError,
        "mae": keras.losses.MeanAbsoluteError,
        "huber": keras.losses.Huber,
        "hinge": keras.losses.Hinge,
        "bce": keras.losses.BinaryCrossentropy,
        "ce": keras.losses.CategoricalCrossentropy,
        "kl": keras.losses.KLDivergence,
    }
    return kinds[name.removesuffix("_from_logits")](**settings, dtype="float64")


@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses_and_gradients(name):
    own, (targets, predictions) = losses.loss(name), targets_and_predictions(name)
    tensor = tf.constant(predictions)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value = keras_loss(name)(targets, tensor)
    assert own.value(targets, predictions) == pytest.approx(float(value), rel=1e-6)
    if name != "ce":  # Keras scales probabilities to a sum of 1, and its gradient has that too
        np.testing.assert_allclose(
            own.gradient(targets, predictions), tape.gradient(value, tensor), rtol=1e-5, atol=1e-9
        )
    function = lambda weights: own.value(targets, weights["p"])  # noqa: E731
    foundations.gradient_check(function, {"p": own.gradient(targets, predictions)}, {"p": predictions})


@pytest.mark.parametrize("name", ["bce_from_logits", "ce_from_logits"])
def test_losses_of_extreme_logits_are_finite(name):
    logits, targets = np.array([[-1e4, 1e4], [1e4, -1e4]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    assert losses.loss(name).value(targets, logits) >= 1e4
    assert np.isfinite(losses.loss(name).gradient(targets, logits)).all()


@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses_take_whole_numbers_and_refuse_what_numpy_would_broadcast(name):
    own, targets, outputs = losses.loss(name), np.ones((2, 2), "int8"), np.full((2, 2), 0.25)
    for function in own:
        np.testing.assert_array_equal(function(targets, outputs), function(targets.astype(float), outputs))
        with pytest.raises(ValueError, match=r"targets must have the shape \(2, 1\); got \(2,\)"):
            function(np.ones(2), np.ones((2, 1)))
    if name == "hinge":
        np.testing.assert_array_equal(own.gradient(np.ones(1, "uint8"), np.zeros(1)), [-1.0])
        for function in own:
            with pytest.raises(ValueError, match="labels of a hinge must be -1 or 1"):
                function(np.zeros(2), np.zeros(2))


def test_cross_entropy_is_entropy_and_divergence():
    shares, predicted = RNG.dirichlet(np.ones(5), 7), RNG.dirichlet(np.ones(5), 7)
    assert losses.ce(shares, predicted) == pytest.approx(losses.entropy(shares) + losses.kl(shares, predicted))
    assert losses.entropy(np.eye(3)) == 0.0
    with pytest.raises(ValueError, match="loss must be one of mse"):
        losses.loss("mess")


# Keras rounds these numbers to float32, which these bear.
BETAS = {"beta1": 0.875, "beta2": 1 - 2**-6}
KERAS_BETAS = {"beta_1": BETAS["beta1"], "beta_2": BETAS["beta2"]}
PAIRS = {
    "SGD": (lambda: optimizers.SGD(0.05), lambda: keras.optimizers.SGD(0.05)),
    "momentum": (lambda: optimizers.SGD(0.05, momentum=0.9), lambda: keras.optimizers.SGD(0.05, momentum=0.9)),
    "Nesterov": (
        lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
        lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    ),
    "AdaGrad": (lambda: optimizers.AdaGrad(0.05), lambda: keras.optimizers.Adagrad(0.05)),
    "RMSProp": (lambda: optimizers.RMSProp(0.05, rho=0.875), lambda: keras.optimizers.RMSprop(0.05, rho=0.875)),
    "Adam": (lambda: optimizers.Adam(0.05, **BETAS), lambda: keras.optimizers.Adam(0.05, **KERAS_BETAS)),
    "AdamW": (lambda: optimizers.AdamW(0.05, **BETAS), lambda: keras.optimizers.AdamW(0.05, **KERAS_BETAS)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_optimizers_go_the_way_of_keras(name):
    make, make_keras = PAIRS[name]
    slope = optimizers.SURFACES["ravine"][1] if name != "Nesterov" else (lambda p: p * np.array([1.0, 3.0]))
    slope = (lambda p: p * np.array([1.0, 9.0])) if name in ("SGD", "momentum") else slope
    own, theirs, weights = make(), make_keras(), {"p": np.array([-4.0, 1.0])}
    variable = keras.Variable(weights["p"], dtype="float64")
    theirs.build([variable])
    theirs.learning_rate = keras.Variable(0.05, dtype="float64", trainable=False)
    for _ in range(200):
        own.step(weights, {"p": slope(weights["p"])})
        theirs.apply([tf.constant(slope(variable.numpy()))])
        np.testing.assert_allclose(weights["p"], variable.numpy(), rtol=1e-6, atol=1e-7)


def test_optimizers_race_downhill():
    for surface, (function, _, start) in optimizers.SURFACES.items():
        for name, path in optimizers.race(surface).items():
            assert np.isfinite(path).all(), (surface, name)
            assert function(path[-1]) < function(np.array(start)), (surface, name)
    assert len(optimizers.draw_race(steps=5).axes) == 6
    with pytest.raises(ValueError, match="surface must be one of ravine, saddle, Rosenbrock; got 'hill'"):
        optimizers.race("hill")
    with pytest.raises(ValueError, match=r"gradients must name the weights \['w'\]; got \['v'\]"):
        optimizers.SGD().step({"w": np.zeros(1)}, {"v": np.zeros(1)})
    with pytest.raises(ValueError, match=r"the gradient of 'w' must be \(3,\); got \(3, 1\)"):
        optimizers.SGD().step({"w": np.zeros(3)}, {"w": np.zeros((3, 1))})
    weights = {"w": np.zeros(1)}
    optimizers.AdaGrad(1.0).step(weights, {"w": np.array([1])})
    assert weights["w"][0] == pytest.approx(-(1.1**-0.5))


@pytest.mark.parametrize("name", initializers.INITIALIZERS)
def test_initial_weights_have_their_variance(name):
    shape, rng = (3, 3, 40, 60), np.random.default_rng(0)
    inputs, outputs = initializers.fans(shape)
    wanted = {"he_normal": 2 / inputs, "lecun_normal": 1 / inputs, "orthogonal": 1 / inputs, "small_normal": 1e-4}
    weights = initializers.initializer(name)(shape, rng)
    assert weights.shape == shape
    assert weights.var() == pytest.approx(wanted.get(name, 2 / (inputs + outputs)), rel=0.03)
    if name == "orthogonal":
        flat = weights.reshape(-1, 60)
        np.testing.assert_allclose(flat.T @ flat, np.eye(60), atol=1e-12)


def test_variance_through_fifty_layers():
    kept = {("he_normal", "relu"), ("orthogonal", "tanh"), ("xavier_normal", "tanh"), ("lecun_normal", "linear")}
    for name, activation in kept:
        forward, backward = initializers.variance_by_depth(name, activation)
        assert 1e-3 < forward[-1] / forward[1] < 1e2, (name, activation)
        assert 1e-3 < backward[0] / backward[-1] < 1e3, (name, activation)
    for name, activation in (("small_normal", "relu"), ("xavier_normal", "relu"), ("xavier_normal", "sigmoid")):
        forward, backward = initializers.variance_by_depth(name, activation)
        assert backward[0] / backward[-1] < 1e-10, (name, activation)
    assert len(initializers.draw_variance(depth=3).axes) == 4
    with pytest.raises(ValueError, match="initializer must be one of"):
        initializers.initializer("glorot")
