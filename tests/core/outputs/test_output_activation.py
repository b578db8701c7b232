"""The end of a model's graph: probabilities, logits, or not known."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from kerasdl.core import ArgumentError
from kerasdl.core.outputs.activation import OPEN, gives_probabilities, output_activations
from kerasdl.core.outputs.loss_scale import check_from_logits, from_logits, over_probabilities
from kerasdl.losses import Focal

L = keras.layers
SPARSE = keras.losses.SparseCategoricalCrossentropy


def net(build, shape=(4,)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, build(inputs))


def soft(x):
    return L.Dense(3, activation="softmax")(x)


def exponential_share(x):
    exponents = ops.exp(L.Dense(3)(x))
    return exponents / ops.sum(exponents, axis=-1, keepdims=True)


ENDS = {
    "dense": (soft, "softmax"),
    "softmax layer": (lambda x: L.Softmax()(L.Dense(3)(x)), "softmax"),
    "activation layer": (lambda x: L.Activation("softmax")(L.Dense(3)(x)), "softmax"),
    "layer as activation": (lambda x: L.Dense(3, activation=L.Softmax())(x), "softmax"),
    "reshape": (lambda x: L.Reshape((3,))(L.Reshape((1, 3))(soft(x))), "softmax"),
    "flatten": (lambda x: L.Flatten()(L.Reshape((1, 3))(soft(x))), "softmax"),
    "rescaling by 1": (lambda x: L.Rescaling(1.0)(soft(x)), "softmax"),
    "cast to float32": (lambda x: L.Activation("linear", dtype="float32")(soft(x)), "softmax"),
    "ops.cast": (lambda x: ops.cast(soft(x), "float32"), "softmax"),
    "dropout": (lambda x: L.Dropout(0.5)(soft(x)), "softmax"),
    "identity": (lambda x: L.Identity()(soft(x)), "softmax"),
    "ops.softmax": (lambda x: ops.softmax(L.Dense(3)(x)), "softmax"),
    "ops.sigmoid": (lambda x: ops.sigmoid(L.Dense(3)(x)), "sigmoid"),
    "activation function": (lambda x: keras.activations.softmax(L.Dense(3)(x)), "softmax"),
    "function of TensorFlow": (lambda x: L.Dense(3, activation=tf.nn.softmax)(x), "softmax"),
    "nested": (lambda x: keras.Sequential([L.Input((4,)), L.Dense(3, activation="softmax")])(x), "softmax"),
    "before a nested": (lambda x: keras.Sequential([L.Input((3,)), L.Reshape((3,))])(soft(x)), "softmax"),
    "time distributed": (
        lambda x: L.Flatten()(L.TimeDistributed(L.Dense(3, activation="softmax"))(L.Reshape((1, 4))(x))),
        "softmax",
    ),
    "mean over places": (lambda x: L.GlobalAveragePooling1D()(soft(L.Reshape((2, 2))(x))), "softmax"),
    "mean of two nets": (lambda x: L.Average()([soft(x), soft(x)]), "softmax"),
    "own formula": (exponential_share, "softmax"),
    "sparsemax": (lambda x: L.Dense(3, activation="sparsemax")(x), "softmax"),
    "hard sigmoid": (lambda x: L.Dense(3, activation="hard_sigmoid")(x), "sigmoid"),
    "joined sigmoids": (lambda x: L.Concatenate()([L.Dense(1, activation="sigmoid")(x) for _ in range(3)]), "sigmoid"),
    "own sigmoid": (lambda x: 1 / (1 + ops.exp(-L.Dense(3)(x))), "sigmoid"),
    "linear": (lambda x: L.Dense(3)(x), "linear"),
    "linear, averaged": (lambda x: L.GlobalAveragePooling1D()(L.Dense(3)(L.Reshape((2, 2))(x))), "linear"),
    "linear, cooled": (lambda x: L.Rescaling(0.5)(L.Dense(3)(x)), "linear"),
    "log softmax": (lambda x: L.Dense(3, activation="log_softmax")(x), "log_softmax"),
    "per cent": (lambda x: L.Rescaling(100.0)(soft(x)), "rescaled probabilities"),
    "per cent, reshaped": (lambda x: L.Reshape((3, 1))(L.Rescaling(100.0)(soft(x))), None),
    "there and back": (lambda x: L.Rescaling(0.5)(L.Rescaling(2.0)(soft(x))), "softmax"),
    "softmax over another axis": (lambda x: L.Flatten()(L.Softmax(axis=1)(L.Reshape((2, 2))(x))), "sigmoid"),
    "mixture of classes": (lambda x: L.Dense(3, use_bias=False)(soft(x)), None),
    "relu": (lambda x: L.Dense(3, activation="relu")(x), None),
    "tanh": (lambda x: L.Dense(3, activation="tanh")(x), None),
    "normalised": (lambda x: L.BatchNormalization()(L.Dense(3)(x)), None),
    "unit length": (lambda x: L.UnitNormalization()(x), None),
}


@pytest.mark.parametrize("name", ENDS)
def test_an_end_is_what_its_values_are(name):
    build, kind = ENDS[name]
    assert [end.kind for end in output_activations(net(build))] == [kind]


def test_the_layer_is_named_and_every_output_looked_at():
    inputs = keras.Input((4,))
    outputs = [L.Dense(3, activation="softmax", name="kind")(inputs), L.Dense(1, name="size")(inputs)]
    ends = output_activations(keras.Model(inputs, outputs))
    assert [(end.layer, end.gives_probabilities, end.gives_logits) for end in ends] == [
        ("kind", True, False),
        ("size", False, True),
    ]


def test_a_deep_net_of_many_ways_is_read_at_once():
    x = inputs = keras.Input((4,))
    for _ in range(60):
        x = L.Add()([L.Activation("relu")(x), L.Dense(4)(x)])
    assert output_activations(keras.Model(inputs, L.Dense(3)(x)))[0].kind == "linear"


class Own(keras.Model):
    def __init__(self, activation):
        super().__init__()
        self.last = L.Dense(3, activation=activation)

    def call(self, x):
        return self.last(x)


@pytest.mark.parametrize(
    ("activation", "kind"), [("softmax", "softmax"), ("sigmoid", "sigmoid"), (None, OPEN), ("relu", OPEN)]
)
def test_a_sample_shows_what_a_subclassed_model_gives(activation, kind):
    model = Own(activation)
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    assert output_activations(model, x)[0].kind is None  # not built yet: asking builds nothing
    assert not model.built
    model(x)
    assert output_activations(model)[0].kind is None
    assert output_activations(model, x)[0].kind == kind
    assert output_activations(model, tf.TensorSpec((None, 4), tf.float32))[0].kind == kind


def test_a_linear_layer_that_stays_from_0_to_1_by_chance_is_no_sigmoid():
    class Bounded(keras.Model):
        def __init__(self, end):
            super().__init__()
            kernel, bias = keras.initializers.Constant(0.1), keras.initializers.Constant(0.45)
            self.inner = L.Dense(3, "tanh")
            self.last = L.Dense(3, end, kernel_initializer=kernel, bias_initializer=bias)

        def call(self, x):
            return self.last(self.inner(x))

    sample = tf.TensorSpec((None, 4), tf.float32)
    for end, kind in ((None, None), ("sigmoid", "sigmoid")):
        model = Bounded(end)
        model(np.zeros((1, 4), "float32"))
        assert output_activations(model, sample)[0].kind == kind


def test_a_constant_near_a_half_is_no_sigmoid():
    model = net(lambda x: L.Dense(3, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(0.4))(x))
    bounded = keras.Model(model.input, ops.maximum(model.output, 0.0))
    assert not gives_probabilities(bounded)


@pytest.mark.parametrize(
    ("loss", "logits"),
    [
        (SPARSE(), False),
        (SPARSE(from_logits=True), True),
        ("sparse_categorical_crossentropy", False),
        ("BinaryCrossentropy", False),
        ("bce", False),
        (keras.losses.binary_crossentropy, False),
        (keras.losses.BinaryFocalCrossentropy(from_logits=True), True),
        (keras.losses.KLDivergence(), False),
        ("mse", None),
        (keras.losses.Hinge(), None),
        (lambda y, p: p, None),
        ("crossentropy", False),
        ("no loss at all", None),
    ],
)
def test_a_loss_says_what_it_takes(loss, logits):
    assert from_logits(loss) is logits


def test_a_loss_that_takes_another_scale_is_refused():
    soft_net, linear = net(lambda x: L.Reshape((3,))(L.Dense(3, activation="softmax", name="ends")(x))), net(L.Dense(3))
    with pytest.raises(ArgumentError, match=r"from_logits=True.*on ends, which ends in softmax.*from_logits=False"):
        check_from_logits(SPARSE(from_logits=True), soft_net)
    per_cent = net(lambda x: L.Rescaling(100.0, name="hundred")(soft(x)))
    with pytest.raises(ArgumentError, match=r"from_logits=True.*on rescaled probabilities of hundred"):
        check_from_logits(SPARSE(from_logits=True), per_cent)
    for loss in (
        "sparse_categorical_crossentropy",
        keras.losses.CategoricalCrossentropy(),
        keras.losses.KLDivergence(),
    ):
        with pytest.raises(ArgumentError, match=r"gives probabilities.*ends in linear.*from_logits=True"):
            check_from_logits(loss, linear)


@pytest.mark.parametrize(
    ("loss", "build"),
    [
        (SPARSE(), soft),
        ("sparse_categorical_crossentropy", soft),
        (SPARSE(from_logits=True), L.Dense(3)),
        (SPARSE(from_logits=True), L.Dense(3, activation="log_softmax")),
        (keras.losses.BinaryCrossentropy(), L.Dense(3, activation="hard_sigmoid")),
        (keras.losses.CategoricalCrossentropy(), L.Dense(3, activation="softplus")),  # Keras divides by the sum
        (keras.losses.CategoricalCrossentropy(), L.Dense(3, kernel_constraint="non_neg", use_bias=False)),
        (keras.losses.KLDivergence(), soft),
        ("mse", soft),
        ("mse", L.Dense(3)),
        (keras.losses.Hinge(), L.Dense(3)),
    ],
)
def test_right_pairs_pass(loss, build):
    check_from_logits(loss, net(build))


@pytest.mark.parametrize(
    ("loss", "activation", "words"),
    [
        (SPARSE(), "sigmoid", "must have a model that ends in a softmax; got .*BinaryCrossentropy"),
        (keras.losses.CategoricalCrossentropy(), "sigmoid", "ends in a softmax"),
        ("categorical_crossentropy", "sigmoid", "ends in a softmax"),
        (Focal(from_logits=False), "sigmoid", "ends in a softmax"),
        (keras.losses.BinaryCrossentropy(), "softmax", "ends in a sigmoid; got .*CategoricalCrossentropy"),
        ("binary_crossentropy", "softmax", "ends in a sigmoid"),
    ],
)
def test_a_cross_entropy_gets_the_probabilities_of_its_own_activation(loss, activation, words):
    # Keras would take what stands before the activation for the logits of the other one, without a word.
    with pytest.raises(ArgumentError, match=words):
        check_from_logits(loss, net(L.Dense(3, activation=activation)))


def test_each_output_has_its_own_loss():
    inputs = keras.Input((4,))
    outputs = [L.Dense(3, activation="softmax", name="kind")(inputs), L.Dense(3, name="size")(inputs)]
    model = keras.Model(inputs, outputs)
    check_from_logits([SPARSE(), "mse"], model)
    check_from_logits({"kind": SPARSE(), "size": SPARSE(from_logits=True)}, model)
    with pytest.raises(ArgumentError, match="on size"):
        check_from_logits([SPARSE(), SPARSE()], model)
    with pytest.raises(ArgumentError, match="on kind"):
        check_from_logits({"kind": SPARSE(from_logits=True), "size": "mse"}, model)


def test_judges_of_logits_are_made_judges_of_probabilities():
    y, logits = np.array([[0.0, 1.0], [1.0, 1.0]]), np.array([[-1.0, 2.0], [0.5, -3.0]], "float32")
    shares = 1 / (1 + np.exp(-logits))
    loss = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1)
    np.testing.assert_allclose(over_probabilities(loss)(y, shares), loss(y, logits), rtol=1e-5)
    for make in (
        lambda: keras.metrics.BinaryAccuracy(threshold=0.0),
        lambda: keras.metrics.AUC(from_logits=True, multi_label=True),
        lambda: keras.metrics.Recall(thresholds=[0.0, 1.0]),
    ):
        metric, over = make(), over_probabilities(make())
        metric.update_state(y, logits)
        over.update_state(y, shares)
        np.testing.assert_allclose(over.result(), metric.result())
    mean = keras.losses.MeanSquaredError()
    assert over_probabilities(mean) is mean


def test_a_subclassed_net_over_bytes_shows_its_logits_on_pixels():
    """On zeros and ones alone, small weights give figures that may be anything."""

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = keras.layers.Dense(2, kernel_initializer=keras.initializers.Constant([[-0.004, 0.004]]))

        def call(self, x):
            return self.head(x)

    model = Net()
    model(np.zeros((1, 1), "uint8"))
    (end,) = output_activations(model, tf.TensorSpec((None, 1), tf.uint8))
    assert not end.gives_probabilities
    assert end.kind is not None
