"""Attributions against closed forms of linear and small nets, and on objects that were planted."""

import functools
import warnings
from types import MappingProxyType

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasdl
from kerasdl import explain
from kerasdl.core import ArgumentError

RNG = np.random.default_rng(0)
SIDE, OBJECT = 24, 8


def linear(sides=(4, 4, 2), classes=3):
    """A linear model of images; returns it and its weights (H, W, C, K)."""
    image = keras.Input(sides)
    logits = keras.layers.Dense(classes, name="logits")(keras.layers.Flatten()(image))
    model = keras.Model(image, logits)
    return model, model.get_layer("logits").get_weights()[0].reshape(*sides, classes)


def curved():
    image = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(5, 3, activation="tanh")(image)
    x = keras.layers.Dense(8, activation="swish")(keras.layers.Flatten()(x))
    return keras.Model(image, keras.layers.Dense(3)(x))


@functools.cache
def planted_data(count: int, seed: int):
    """Noise with a cross or a ring in it at a random place: images, classes and masks of the objects."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:OBJECT, :OBJECT] - (OBJECT - 1) / 2
    distance = np.hypot(rows, columns)
    shapes = [np.minimum(np.abs(rows), np.abs(columns)) < 1.0, np.abs(distance - 3.0) < 0.8]
    images = rng.normal(0.0, 0.35, (count, SIDE, SIDE, 1)).astype("float32")
    classes, masks = rng.integers(0, 2, count), np.zeros((count, SIDE, SIDE), bool)
    for image, kind, mask in zip(images, classes, masks, strict=True):
        top, left = rng.integers(0, SIDE - OBJECT + 1, 2)
        image[top : top + OBJECT, left : left + OBJECT, 0] += 1.2 * shapes[kind]
        mask[top : top + OBJECT, left : left + OBJECT] = True
    return images, classes.astype("int32"), masks


@functools.cache
def planted_net():
    """A small net that tells crosses from rings."""
    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 1))
    x = keras.layers.Conv2D(12, 3, padding="same", activation="relu")(image)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="last")(x)
    logits = keras.layers.Dense(2, name="logits")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, logits)
    model.compile(keras.optimizers.Adam(5e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, classes, _ = planted_data(1500, 0)
    model.fit(images, classes, epochs=4, batch_size=50, verbose=0)
    return model


def test_gradients_of_a_linear_model_are_its_weights():
    (model, weights), x = linear(), RNG.normal(size=(3, 4, 4, 2)).astype("float32")
    classes = [2, 0, 1]
    own = np.moveaxis(weights[..., classes], -1, 0)
    np.testing.assert_allclose(explain.saliency(model, x, classes), np.abs(own), atol=1e-6)
    np.testing.assert_allclose(explain.input_times_gradient(model, x, classes), own * x, atol=1e-6)
    np.testing.assert_allclose(explain.smooth_grad(model, x, classes, samples=3), own, atol=1e-6)
    given = explain.integrated_gradients(model, x, classes, baseline=0.5, steps=1)
    np.testing.assert_allclose(given, own * (x - 0.5), atol=1e-6)
    np.testing.assert_allclose(explain.saliency(model, x), explain.saliency(model, x, model(x).numpy().argmax(1)))


def test_integrated_gradients_are_complete():
    keras.utils.set_random_seed(1)
    model, x = curved(), 2.0 * RNG.normal(size=(5, 6, 6, 2)).astype("float32")
    given = explain.integrated_gradients(model, x, 1)
    assert explain.completeness_error(model, x, given, 1).max() <= 0.01
    coarse = explain.integrated_gradients(model, x, 1, steps=1)
    assert explain.completeness_error(model, x, coarse, 1).max() > 0.01
    score = lambda outputs: outputs[:, 0] * outputs[:, 2]  # noqa: E731
    given = explain.integrated_gradients(model, x, score, baseline=x[::-1] * 0.1)
    assert explain.completeness_error(model, x, given, score, baseline=x[::-1] * 0.1).max() <= 0.01


def test_steps_of_integrated_gradients_grow_where_the_sum_is_off(monkeypatch):
    """Scores that begin at 0.35 and 0.175 of the way: of 21 places 14 are behind the first one, not 13.65."""
    row = keras.Input((2,))
    begins = {"kernel_initializer": "ones", "bias_initializer": keras.initializers.Constant(-0.7)}
    model = keras.Model(row, keras.layers.Dense(2, "relu", **begins)(row))
    x = np.array([[1.0, 1.0], [2.0, 2.0], [0.1, 0.1]], "float32")
    few = explain.integrated_gradients(model, x, 1, steps=21)
    grown = explain.integrated_gradients(model, x, 1)
    np.testing.assert_allclose(explain.completeness_error(model, x, few, 1)[0], 14 / 13.65 - 1, rtol=1e-3)
    assert explain.completeness_error(model, x, grown, 1).max() <= 0.01
    np.testing.assert_array_equal(grown[2], 0)
    for name, value in {"COMPLETE": 0.0, "ROUNDING": 0.0, "MOST": 63}.items():
        monkeypatch.setattr(f"kerasdl.explain.input_gradients.{name}", value)
    for target in ([0, 1, 0], lambda outputs: outputs[:, 0]):
        with pytest.warns(UserWarning, match=r"of 3 examples are more than 0% off after 63 steps"):
            grown = explain.integrated_gradients(model, x, target)
        np.testing.assert_allclose(grown, explain.integrated_gradients(model, x, target, steps=63), atol=2e-5)
    still = explain.integrated_gradients(model, x, 1, baseline=x)
    np.testing.assert_array_equal(still, 0)


def test_many_examples_are_explained_in_parts():
    model, x = curved(), RNG.normal(size=(130, 6, 6, 2)).astype("float32")
    classes = RNG.integers(0, 3, 130)
    one_by_one = np.concatenate([explain.saliency(model, x[n : n + 1], int(classes[n])) for n in (0, 64, 129)])
    np.testing.assert_allclose(explain.saliency(model, x, classes)[[0, 64, 129]], one_by_one, atol=1e-6)


def test_guided_gradients_pass_positive_ways_alone():
    inputs = keras.Input((2,))
    hidden = keras.layers.Dense(3, activation="relu", name="hidden")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, name="score")(hidden))
    first = np.array([[1.0, -1.0, 2.0], [0.5, 1.0, -3.0]], "float32")
    model.set_weights([first, np.zeros(3), np.array([[1.0], [5.0], [-2.0]]), np.zeros(1)])
    x = np.array([[2.0, 1.0]], "float32")  # sums 2.5, -1 and 1: the second is off, the third has a negative gradient
    np.testing.assert_allclose(explain.guided_backprop(model, x, 0), [[1.0, 0.5]])
    np.testing.assert_allclose(explain.input_times_gradient(model, x, 0) / x, [[1.0 - 4.0, 0.5 + 6.0]])
    assert model.get_layer("hidden").activation is keras.activations.relu
    with pytest.raises(ArgumentError, match="activations but the last are ReLUs"):
        explain.guided_backprop(curved(), np.zeros((1, 6, 6, 2)))
    with pytest.raises(ArgumentError, match="without adapters; got 'hidden'"):
        explain.guided_backprop(kerasdl.sequence.lora(model, 1, targets="hidden"), x, 0)
    bare = keras.ops.relu(keras.layers.Dense(3)(inputs))
    bare = keras.Model(inputs, keras.layers.Dense(1)(bare))
    bare.set_weights(model.get_weights())
    np.testing.assert_allclose(explain.guided_backprop(bare, x, 0), [[1.0, 0.5]])
    curve = keras.ops.gelu(keras.layers.Dense(3, activation="relu")(inputs))
    with pytest.raises(ArgumentError, match="activations but the last are ReLUs"):
        explain.guided_backprop(keras.Model(inputs, keras.layers.Dense(1)(curve)), x, 0)
    with pytest.raises(ArgumentError, match="needs a model with ReLUs"):
        explain.guided_backprop(linear()[0], np.zeros((1, 4, 4, 2)))


def test_grad_cam_of_a_pooled_net_is_its_class_activation_map():
    model, (images, classes, _) = planted_net(), planted_data(20, 2)
    maps = keras.Model(model.inputs[0], model.get_layer("last").output)(images).numpy()
    kernel = model.get_layer("logits").get_weights()[0]
    expected = np.maximum(np.einsum("bhwc,cb->bhw", maps, kernel[:, classes]), 0.0)
    expected = keras.ops.convert_to_numpy(keras.ops.image.resize(expected[..., None], (SIDE, SIDE)))[..., 0]
    expected /= expected.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(explain.grad_cam(model, images, classes), expected, atol=1e-4)
    assert explain.spatial_layer(model).name == "last"


METHODS = {
    "grad_cam": explain.grad_cam,
    "grad_cam_plus_plus": explain.grad_cam_plus_plus,
    "layer_cam": explain.layer_cam,
    "score_cam": explain.score_cam,
    "occlusion": functools.partial(explain.occlusion, size=4, stride=2),
}


@pytest.mark.parametrize("name", METHODS)
def test_planted_objects_are_pointed_at(name):
    model, (images, classes, masks) = planted_net(), planted_data(100, 1)
    right = model.predict(images, verbose=0).argmax(1) == classes
    assert right.mean() >= 0.95
    heat = METHODS[name](model, images[right], classes[right])
    rows, columns = np.unravel_index(heat.reshape(len(heat), -1).argmax(1), (SIDE, SIDE))
    hits = masks[right][np.arange(len(heat)), rows, columns]
    assert hits.mean() >= 0.9 > 5 * masks.mean()


def test_channels_of_score_cam_that_run_together_are_those_of_one_after_another():
    model, x = planted_net(), planted_data(3, 5)[0]
    together = explain.score_cam(model, x, [0, 1, 0])
    single = explain.score_cam(model, x, lambda outputs: tf.gather(outputs, [0, 1, 0], batch_dims=1))
    np.testing.assert_allclose(together, single, atol=1e-5)


def test_gradients_are_larger_on_planted_objects():
    model, (images, classes, masks) = planted_net(), planted_data(50, 3)
    for method in (explain.saliency, explain.smooth_grad, explain.guided_backprop):
        sizes = np.abs(method(model, images, classes))[..., 0]
        assert sizes[masks].mean() > 2.0 * sizes[~masks].mean(), method.__name__


@pytest.mark.parametrize("outer", ["functional", "sequential"])
@pytest.mark.parametrize("inner", ["functional", "sequential"])
def test_maps_of_a_nested_model_are_those_of_the_flat_one(outer, inner):
    image, pool, head = keras.Input((12, 12, 2)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)
    first, drop = keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Dropout(0.5)
    last = keras.layers.Conv2D(5, 3, name="last")
    flat = keras.Model(image, head(pool(last(drop(first(image))))))
    body = keras.Sequential([keras.Input((12, 12, 2)), first, drop, last])
    body = body if inner == "sequential" else keras.Model(image, last(drop(first(image))))
    if outer == "sequential":
        nested = keras.Sequential([keras.Input((12, 12, 2)), body, pool, head])
    else:
        other = keras.Input((12, 12, 2))
        nested = keras.Model(other, head(pool(body(other))))
    x = RNG.normal(size=(2, 12, 12, 2)).astype("float32")
    for method in (explain.grad_cam, explain.layer_cam, explain.score_cam):
        np.testing.assert_allclose(method(nested, x, 1), method(flat, x, 1), atol=1e-5)
    assert explain.spatial_layer(nested).name == "last"


def test_maps_of_small_gradients_end_at_one():
    image = keras.Input((6, 6, 1))
    x = keras.layers.Conv2D(2, 3, kernel_initializer="ones")(image)
    x = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(1e-20))(keras.layers.Flatten()(x))
    assert explain.grad_cam(keras.Model(image, x), np.ones((1, 6, 6, 1)), 0).max() == 1


def test_detectors_are_explained_by_a_function_of_their_outputs():
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", strides=2, activation="relu", name="maps")(image)
    heads = {"scores": keras.layers.Conv2D(2, 1)(x), "boxes": keras.layers.Conv2D(4, 1)(x)}
    model, images = keras.Model(image, heads), RNG.normal(size=(2, 16, 16, 3))
    heat = explain.grad_cam(model, images, lambda outputs: outputs["scores"][:, 2, 5, 0], layer="maps")
    assert heat.shape == (2, 16, 16)
    with pytest.raises(ArgumentError, match="Pass target= a function"):
        explain.grad_cam(model, images, 1, layer="maps")
    with pytest.raises(ArgumentError, match="one score for each example"):
        explain.saliency(model, images, lambda outputs: outputs["scores"])


def test_bundles_are_explained_by_their_network():
    class Pack:
        model = curved()
        preprocess = MappingProxyType({"scale": [-1.0, 1.0]})

    x = RNG.normal(size=(1, 6, 6, 2))
    parts = np.zeros((6, 6), int)
    for raw in (np.zeros((1, 6, 6, 2), "uint8"), np.full((1, 6, 6, 2), 200), np.full((1, 6, 6, 2), 200.0)):
        for method in (explain.saliency, functools.partial(explain.shap, groups=parts), explain.vectors_before_head):
            with pytest.raises(ArgumentError, match="prepared as its network takes them"):
                method(Pack(), raw)
    np.testing.assert_array_equal(explain.saliency(Pack(), x), explain.saliency(Pack.model, x))


def test_probabilities_that_are_sure_are_warned_of():
    image = keras.Input((6, 6, 1))
    x = keras.layers.Flatten()(keras.layers.Conv2D(2, 3)(image))
    logits = keras.layers.Dense(3)(x)
    net, shares = keras.Model(image, logits), keras.Model(image, keras.layers.Softmax()(logits))
    sure = RNG.normal(size=(2, 6, 6, 1)) * 500
    for method in (explain.saliency, explain.grad_cam):
        with pytest.warns(UserWarning, match="gradient of rounding errors"):
            method(shares, sure)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            method(net, sure)
            method(shares, sure * 1e-4)


def test_pictures_of_heat():
    heat = explain.as_map(RNG.normal(size=(2, 8, 8, 3)))
    assert heat.shape == (2, 8, 8)
    assert heat.min() >= 0
    assert heat.max() == 1
    assert explain.as_map(np.zeros((1, 4, 4, 1))).max() == 0
    image = RNG.integers(0, 255, (8, 8, 3)).astype("uint8")
    np.testing.assert_array_equal(explain.draw_heat(image, np.zeros((8, 8))), image)
    assert (explain.draw_heat(image, np.ones((8, 8)))[..., 0] != image[..., 0]).any()


SIMPLE, _ = linear()
REFUSED = {
    "no model": (lambda: explain.saliency("net", [1.0]), "model must be a keras.Model or a bundle"),
    "shape": (lambda: explain.saliency(SIMPLE, np.ones((4, 4, 2))), "inputs must be numbers"),
    "text": (lambda: explain.saliency(SIMPLE, np.full((1, 4, 4, 2), "a")), "inputs must be numbers"),
    "none": (lambda: explain.saliency(SIMPLE, np.ones((0, 4, 4, 2))), "one example or more"),
    "not finite": (lambda: explain.saliency(SIMPLE, np.full((1, 4, 4, 2), np.nan)), "must be finite"),
    "class": (lambda: explain.saliency(SIMPLE, np.ones((1, 4, 4, 2)), 3), "classes from 0 to 2"),
    "classes": (lambda: explain.saliency(SIMPLE, np.ones((1, 4, 4, 2)), [1, 2]), "one for each of the 1 examples"),
    "baseline": (
        lambda: explain.integrated_gradients(SIMPLE, np.ones((1, 4, 4, 2)), baseline=np.ones(3)),
        "baseline must be a number",
    ),
    "places": (lambda: explain.grad_cam(SIMPLE, np.ones((1, 4, 4, 2))), "needs a layer with maps"),
    "layer": (lambda: explain.grad_cam(SIMPLE, np.ones((1, 4, 4, 2)), layer="logits"), "needs a layer with maps"),
    "square": (lambda: explain.occlusion(SIMPLE, np.ones((1, 4, 4, 2)), size=5), "sides of 5 or more"),
    "stride": (lambda: explain.occlusion(SIMPLE, np.ones((1, 4, 4, 2)), size=2, stride=3), "at most the size 2"),
    "attribution": (
        lambda: explain.completeness_error(SIMPLE, np.ones((1, 4, 4, 2)), np.ones(3)),
        "the shape of the inputs",
    ),
    "ids": (
        lambda: explain.saliency(
            keras.Sequential([keras.Input((3,), dtype="int32"), keras.layers.Embedding(4, 2)]), np.ones((1, 3))
        ),
        "must be floats",
    ),
    "heat": (lambda: explain.draw_heat(np.zeros((2, 2, 3), "uint8"), np.full((2, 2), 2.0)), "from 0 to 1"),
    "image": (lambda: explain.draw_heat(np.zeros((2, 2, 3)), np.zeros((2, 2))), "image must be uint8"),
    "map": (lambda: explain.as_map(np.full((1, 2, 2), np.nan)), "must be finite"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    call, message = REFUSED[case]
    with pytest.raises(ArgumentError, match=message):
        call()
