"""CBAM, non-local and ASPP against their formulas in NumPy; inception joins what its branches give."""

import keras
import numpy as np
from filling import fill_weights

from kerasdl import blocks

RNG = np.random.default_rng(0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_cbam_is_its_formula():
    image = keras.Input((4, 5, 6))
    model = fill_weights(keras.Model(image, blocks.cbam(image, 2, kernel=3, name="c")))
    x = RNG.normal(size=(2, 4, 5, 6)).astype("float32")
    k1, b1 = (each.numpy() for each in model.get_layer("c_channel_squeeze").weights)
    k2, b2 = (each.numpy() for each in model.get_layer("c_channel_excite").weights)

    def perceptron(y):
        return np.maximum(y @ k1[0, 0] + b1, 0) @ k2[0, 0] + b2

    y = x * sigmoid(perceptron(x.mean((1, 2))) + perceptron(x.max((1, 2))))[:, None, None]
    maps = np.pad(np.stack([y.mean(-1), y.max(-1)], -1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    kernel = model.get_layer("c_spatial_conv").kernel.numpy()
    place = sum(maps[:, i : i + 4, j : j + 5] @ kernel[i, j] for i in range(3) for j in range(3))
    np.testing.assert_allclose(model(x), y * sigmoid(place), atol=1e-5)


def test_non_local_is_its_formula():
    """Equations 1 and 4: every place takes the mean of all, weighted by a softmax over dot products."""
    image = keras.Input((None, None, 4))
    model = fill_weights(keras.Model(image, blocks.non_local(image, name="n")))
    x = RNG.normal(size=(2, 3, 5, 4)).astype("float32")
    dense = {}
    for part in ("theta", "phi", "g", "out"):
        kernel, bias = (each.numpy() for each in model.get_layer(f"n_{part}_conv").weights)
        dense[part] = lambda y, kernel=kernel, bias=bias: y @ kernel[0, 0] + bias
    tokens = x.reshape(2, 15, 4)
    scores = dense["theta"](tokens) @ dense["phi"](tokens).transpose(0, 2, 1)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    y = dense["out"](weights / weights.sum(-1, keepdims=True) @ dense["g"](tokens)).reshape(x.shape)
    gamma, beta, mean, variance = (each.numpy() for each in model.get_layer("n_out_bn").weights)
    expected = x + gamma * (y - mean) / np.sqrt(variance + 1e-5) + beta
    np.testing.assert_allclose(model(x, training=False), expected, atol=1e-5)


def test_a_fresh_non_local_block_is_the_identity():
    image = keras.Input((3, 3, 4))
    model = keras.Model(image, blocks.non_local(image, name="n"))
    x = RNG.normal(size=(1, 3, 3, 4)).astype("float32")
    np.testing.assert_array_equal(model(x, training=False), x)


def test_aspp_sees_the_whole_image_and_its_rates():
    """A point reaches the places that are a rate away, and by the image-level branch all of them."""
    image = keras.Input((None, None, 2))
    model = fill_weights(keras.Model(image, blocks.aspp(image, 4, rates=(3,), name="a")))
    rate = keras.Model(image, model.get_layer("a_rate3_conv").output)
    x = RNG.normal(size=(1, 9, 9, 2)).astype("float32")
    other = x.copy()
    other[0, 4, 4] += 1.0
    moved = np.argwhere(np.abs(rate(other) - rate(x))[0].max(-1) > 1e-6)
    assert {tuple(place) for place in moved} == {(i, j) for i in (1, 4, 7) for j in (1, 4, 7)}
    whole = keras.Model(image, model.get_layer("a_project_conv").output)  # before a ReLU hides what arrives
    assert (np.abs(whole(other, training=False) - whole(x, training=False))[0].max(-1) > 1e-7).all()
    assert model(x, training=False).shape == (1, 9, 9, 4)


def test_inception_joins_branches_in_their_order():
    image = keras.Input((9, 9, 3))
    branches = (((4, 1),), ((5, 1), ((6, (1, 3)), (7, (3, 1)))), (("max", 3, 1), (2, 1)))
    model = keras.Model(image, blocks.inception(image, branches, name="i"))
    assert model.output_shape == (None, 9, 9, 4 + 6 + 7 + 2)
    joined = [each.shape[-1] for each in model.get_layer("i_concat").input]
    assert joined == [4, 6, 7, 2]
    halved = (((4, 3, 2),), (("max", 3, 2),))
    assert keras.Model(image, blocks.inception(image, halved, name="h")).output_shape == (None, 4, 4, 7)


def test_a_dense_block_passes_its_input_on():
    image = keras.Input((4, 4, 3))
    model = fill_weights(keras.Model(image, blocks.dense_block(image, 2, growth=5, name="d")))
    x = RNG.normal(size=(1, 4, 4, 3)).astype("float32")
    np.testing.assert_array_equal(np.asarray(model(x, training=False))[..., :3], x)
    assert model.output_shape == (None, 4, 4, 13)
