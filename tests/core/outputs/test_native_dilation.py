"""Dilated convolutions in place: numbers and gradients of Keras's way, in training and in the answers of segmenters."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasdl
from kerasdl.core.outputs.native_dilation import has_gradient, native_dilation
from kerasdl.train import RunConfig, fit
from kerasdl.vision.segmentation import Segmenter

pytestmark = pytest.mark.skipif(not has_gradient("float32"), reason="TensorFlow has no such gradient here")


def numbers(shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), "float32")


def answers(x, kernel, **settings):
    """Returns a convolution by Keras, and its gradients."""
    with tf.GradientTape() as tape:
        tape.watch((x, kernel))
        y = keras.ops.conv(x, kernel, **settings)
        loss = tf.reduce_sum(y * numbers(y.shape, 2))
    return y, *tape.gradient(loss, (x, kernel))


def kinds(function):
    """Returns the kinds of operations of a traced function, those of functions inside it too."""
    graph = function.graph.as_graph_def()
    inner = [node.op for each in graph.library.function for node in each.node_def]
    return {*inner, *(node.op for node in graph.node)}


def dilated(shape=(12, 10, 2)):
    image = keras.Input(shape)
    x = keras.layers.Conv2D(4, 3, padding="same", dilation_rate=3, name="dilated")(image)
    return keras.Model(image, keras.layers.Conv2D(3, 1, name="logits")(x))


@pytest.mark.parametrize("rate", [2, (1, 3), (4, 2), 9, 30])
@pytest.mark.parametrize("sides", [(8, 8), (7, 11), (1, 5)])
def test_numbers_and_gradients_are_those_of_keras(rate, sides):
    x, kernel = numbers((2, *sides, 3)), numbers((3, 3, 3, 5), 1)
    settings = {"padding": "same", "dilation_rate": rate}
    expected = answers(x, kernel, **settings)
    with native_dilation():
        found = answers(x, kernel, **settings)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((3, 3, 3, 6), {"padding": "valid", "dilation_rate": 2}),
        ((3, 3, 3, 6), {"padding": "same", "strides": 2}),
        ((3, 3, 1, 6), {"padding": "same", "dilation_rate": 2}),  # three groups
    ],
)
def test_others_stay_as_they_are(shape, settings):
    usual = keras.src.backend.nn.conv
    x, kernel = numbers((2, 8, 9, 3)), numbers(shape, 1)
    expected = keras.ops.conv(x, kernel, **settings)
    with native_dilation():
        np.testing.assert_array_equal(keras.ops.conv(x, kernel, **settings), expected)
    assert keras.src.backend.nn.conv is usual


def test_blocks_that_end_in_another_order_leave_keras_as_it_was():
    usual, first, second = keras.src.backend.nn.conv, native_dilation(), native_dilation()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert keras.src.backend.nn.conv is not usual  # the second is still open
    second.__exit__(None, None, None)
    assert keras.src.backend.nn.conv is usual


def test_segmenters_answer_without_space_to_batch():
    network = dilated()
    segmenter, images = Segmenter(network), numbers((2, 12, 10, 2)).numpy()
    plain = keras.ops.softmax(network(images, training=False))
    np.testing.assert_allclose(segmenter.segment(images), plain, atol=1e-5)
    (step,) = segmenter.compiled_steps.values()
    assert not {each for each in kinds(step.get_concrete_function()) if "SpaceToBatch" in each}
    by_keras = tf.function(lambda x: network(x, training=False)).get_concrete_function(tf.TensorSpec((2, 12, 10, 2)))
    assert "SpaceToBatchND" in kinds(by_keras)


def test_fit_learns_what_keras_learns():
    images, labels = numbers((8, 12, 10, 2)).numpy(), np.random.default_rng(1).integers(0, 3, (8, 12, 10))
    learnt = []
    for _ in range(2):
        kerasdl.set_seed(0)
        network = dilated()
        network.set_weights([np.random.default_rng(3).normal(0, 0.2, each.shape) for each in network.get_weights()])
        if learnt:
            network.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            network.fit(images, labels, batch_size=8, epochs=3, verbose=0)
        else:
            config = RunConfig(epochs=3, batch_size=8, optimizer=keras.optimizers.SGD(0.1), progress="off")
            fit(Segmenter(network), (images, {"semantic": labels}), config=config)
        learnt.append(network.get_weights())
    for one, other in zip(*learnt, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
