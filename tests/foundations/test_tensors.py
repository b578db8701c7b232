"""Autodiff by hand against TensorFlow on drawn graphs, against differences, and twice over."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasdl import foundations
from kerasdl.data import load
from kerasdl.foundations import Tensor, concatenate, convolve, gradients
from kerasdl.foundations.tensor_graphs import graph_lines
from kerasdl.foundations.tensor_windows import joined, windows

# Each step takes two values (2, 3, 4) and gives one of that shape: in our tensors, and in TensorFlow's.
STEPS = {
    "add": (lambda a, b: a + b, lambda a, b: a + b),
    "subtract": (lambda a, b: 1.0 - a - b, lambda a, b: 1.0 - a - b),
    "multiply": (lambda a, b: a * b, lambda a, b: a * b),
    "divide": (lambda a, b: a / (b * b + 2.0), lambda a, b: a / (b * b + 2.0)),
    "power": (lambda a, b: (a * a + 1.0) ** 1.5 * 0.1, lambda a, b: (a * a + 1.0) ** 1.5 * 0.1),
    "tanh": (lambda a, b: a.tanh(), lambda a, b: tf.tanh(a)),
    "sigmoid": (lambda a, b: a.sigmoid() * b, lambda a, b: tf.sigmoid(a) * b),
    "relu": (lambda a, b: (a - b).relu(), lambda a, b: tf.nn.relu(a - b)),
    "exp and log": (
        lambda a, b: (a.tanh().exp() + 1.0).log(),
        lambda a, b: tf.math.log(tf.exp(tf.tanh(a)) + 1.0),
    ),
    "log softmax": (lambda a, b: a.log_softmax(), lambda a, b: tf.nn.log_softmax(a)),
    "mean": (lambda a, b: a - a.mean(1, keepdims=True), lambda a, b: a - tf.reduce_mean(a, 1, keepdims=True)),
    "sum over all": (lambda a, b: a * b.sum() * 0.1, lambda a, b: a * tf.reduce_sum(b) * 0.1),
    "max": (lambda a, b: a + b.max((0, 2), keepdims=True), lambda a, b: a + tf.reduce_max(b, (0, 2), keepdims=True)),
    "matmul": (
        lambda a, b: a @ (b.swapped() @ a) * 0.1,
        lambda a, b: a @ (tf.transpose(b, (0, 2, 1)) @ a) * 0.1,
    ),
    "matmul with fewer axes": (
        lambda a, b: a @ b[0].reshape(4, 3) @ Tensor(np.ones((3, 4))),
        lambda a, b: a @ tf.reshape(b[0], (4, 3)) @ tf.ones((3, 4), tf.float64),
    ),
    "transpose": (
        lambda a, b: a.transpose(2, 0, 1).transpose(1, 2, 0) * b,
        lambda a, b: tf.transpose(tf.transpose(a, (2, 0, 1)), (1, 2, 0)) * b,
    ),
    "index": (lambda a, b: a[:, [0, 0, 2]] + b, lambda a, b: tf.gather(a, [0, 0, 2], axis=1) + b),
    "broadcast": (lambda a, b: a + b[:, 0:1] * b[1, 1], lambda a, b: a + b[:, 0:1] * b[1, 1]),
    "concatenate": (
        lambda a, b: concatenate([a[:, :1], b[:, 1:]], 1),
        lambda a, b: tf.concat([a[:, :1], b[:, 1:]], 1),
    ),
}
PROGRAMS = st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 50), st.integers(0, 50)), max_size=8)


def run(program, values: list, side: int):
    """Returns the last of the values that a program makes, each step from two of the earlier ones."""
    values = list(values)
    for name, first, second in program:
        values.append(STEPS[name][side](values[first % len(values)], values[second % len(values)]))
    return values[-1]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(program=PROGRAMS, seed=st.integers(0, 1000))
def test_gradients_equal_those_of_tensorflow(program, seed):
    arrays = np.random.default_rng(seed).normal(size=(3, 2, 3, 4))
    own = [Tensor(each) for each in arrays]
    theirs = [tf.constant(each) for each in arrays]
    with tf.GradientTape() as tape:
        for each in theirs:
            tape.watch(each)
        expected = run(program, theirs, 1)
    result = run(program, own, 0)
    np.testing.assert_allclose(result.value, expected, rtol=1e-9, atol=1e-9)
    wanted = tape.gradient(expected, theirs, unconnected_gradients="zero")
    for made, each in zip(gradients(result, own), wanted, strict=True):
        np.testing.assert_allclose(made.value, each, rtol=1e-8, atol=1e-9)


def test_second_derivatives():
    x = np.random.default_rng(0).normal(size=(3, 4))
    own, theirs = Tensor(x), tf.constant(x)
    with tf.GradientTape() as outer:
        outer.watch(theirs)
        with tf.GradientTape() as inner:
            inner.watch(theirs)
            value = tf.reduce_sum(tf.nn.log_softmax(tf.tanh(theirs) * theirs)[:, 1] ** 2)
        slope = inner.gradient(value, theirs)
        length = tf.reduce_sum(slope**2)
    (first,) = gradients(((own.tanh() * own).log_softmax()[:, 1] ** 2).sum(), [own])
    np.testing.assert_allclose(first.value, slope, rtol=1e-9)
    (second,) = gradients((first * first).sum(), [own])
    np.testing.assert_allclose(second.value, outer.gradient(length, theirs), rtol=1e-8)


@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_and_its_second_derivative(stride):
    rng = np.random.default_rng(stride)
    x, kernel = rng.normal(size=(2, 7, 6, 3)), rng.normal(size=(3, 3, 3, 4))
    own, theirs = [Tensor(x), Tensor(kernel)], [tf.constant(x), tf.constant(kernel)]
    with tf.GradientTape() as outer:
        outer.watch(theirs)
        with tf.GradientTape() as inner:
            inner.watch(theirs)
            y = tf.nn.conv2d(*theirs, stride, "VALID")
            value = tf.reduce_sum(tf.tanh(y))
        slopes = inner.gradient(value, theirs)
        length = tf.reduce_sum(slopes[0] ** 2)
    ours = convolve(*own, stride)
    np.testing.assert_allclose(ours.value, y, rtol=1e-9, atol=1e-12)
    made = gradients(ours.tanh().sum(), own)
    for each, wanted in zip(made, slopes, strict=True):
        np.testing.assert_allclose(each.value, wanted, rtol=1e-8, atol=1e-10)
    for each, wanted in zip(gradients((made[0] ** 2.0).sum(), own), outer.gradient(length, theirs), strict=True):
        np.testing.assert_allclose(each.value, wanted, rtol=1e-7, atol=1e-9)


def test_windows_and_their_sum_are_adjoint():
    rng = np.random.default_rng(3)
    x = Tensor(rng.normal(size=(2, 8, 7, 2)))
    cut = windows(x, 3, 2)
    other = Tensor(rng.normal(size=cut.shape))
    assert (cut.value * other.value).sum() == pytest.approx((x.value * joined(other, x.shape, 2).value).sum())
    with pytest.raises(ValueError, match=r"sides of images must be 9 or more, as a window reaches; got \(8, 7\)"):
        windows(x, 9)


def test_what_is_not_used_has_no_gradient_and_a_reused_number_has_the_sum():
    x, unused = Tensor([2.0]), Tensor([[1.0, 1.0]])
    slope, nothing = gradients(x * x * x + x, [x, unused])
    assert slope.value.tolist() == [13.0]
    assert nothing.value.tolist() == [[0.0, 0.0]]
    with pytest.raises(ValueError, match=r"factors of @ must have two axes or more; got \(1,\) and \(1, 2\)"):
        x @ unused


def test_powers_at_zero_and_axes_from_behind():
    x, weights = Tensor(0.0), np.arange(9.0).reshape(3, 3)
    slope = x**2
    for wanted in (0.0, 2.0, 0.0):
        (slope,) = gradients(slope, [x])
        assert float(slope.value) == wanted
    square = Tensor(np.ones((3, 3)))
    (made,) = gradients((square.transpose(-1, 0) * weights).sum(), [square])
    np.testing.assert_array_equal(made.value, weights.T)


def test_gradients_of_what_is_no_tensor_are_refused():
    array = np.ones(2)
    with pytest.raises(TypeError, match="inputs must be tensors of the graph; got ndarray"):
        gradients((Tensor(array) * 2.0).sum(), [array])


def test_arrays_of_numpy_may_stand_on_the_left():
    x = Tensor([1.0, 2.0])
    y = np.array([3.0, 4.0]) * x + np.array([1.0, 1.0])
    assert isinstance(y, Tensor)
    assert y.value.tolist() == [4.0, 9.0]


def test_deep_graphs_need_no_recursion():
    x = y = Tensor(1.0)
    for _ in range(20_000):
        y = y + 0.0
    assert float(gradients(y, [x])[0].value) == 1.0


def test_graphs_are_told_and_drawn():
    y = (Tensor(np.ones((2, 3))) @ np.ones((3, 1))).relu()
    lines = graph_lines(y)
    assert lines[-1] == f"{len(lines) - 1} multiply (2, 1) of 3, 0"
    text = foundations.graphviz(y)
    assert text.count("label=") == len(lines)
    assert text.count("->") == sum(line.count(" of ") for line in lines) * 2


def test_an_engine_of_a_page_learns_digits():
    train, test = (load("digits", split, scale=(0.0, 1.0)).arrays() for split in ("train", "test"))
    x, targets = train[0].reshape(len(train[0]), -1), np.eye(10)[train[1]]
    x, shown = x[:, ::4], test[0].reshape(len(test[0]), -1)[:, ::4]
    rng = np.random.default_rng(0)
    sizes = (x.shape[1], 64, 10)
    weights = {
        f"w{n}": foundations.initializers.he_normal(shape, rng) for n, shape in enumerate(itertools.pairwise(sizes))
    }
    weights |= {f"b{n}": np.zeros(size) for n, size in enumerate(sizes[1:])}
    optimizer = foundations.optimizers.Adam(3e-3)

    def outputs(inputs, w):
        return (Tensor(inputs) @ w["w0"] + w["b0"]).relu() @ w["w1"] + w["b1"]

    for _ in range(10):
        for rows in np.array_split(rng.permutation(len(x)), len(x) // 32):
            leaves = {name: Tensor(value) for name, value in weights.items()}
            loss = -(outputs(x[rows], leaves).log_softmax() * targets[rows]).sum() * (1 / len(rows))
            made = gradients(loss, list(leaves.values()))
            optimizer.step(weights, {name: each.value for name, each in zip(leaves, made, strict=True)})
    predicted = outputs(shown, {name: Tensor(value) for name, value in weights.items()}).value.argmax(axis=1)
    assert (predicted == test[1]).mean() >= 0.95
