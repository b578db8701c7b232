"""Shapley values and LIME against brute force over orders, closed forms, and the package shap where it is installed."""

from itertools import permutations

import keras
import numpy as np
import pytest

from kerasdl import explain
from kerasdl.core import ArgumentError

RNG = np.random.default_rng(0)


def curved(columns, seed=0):
    """A net whose score is no sum of its columns."""
    keras.utils.set_random_seed(seed)
    row = keras.Input((columns,))
    x = keras.layers.Dense(16, "tanh", kernel_initializer=keras.initializers.RandomNormal(stddev=1.0))(row)
    return keras.Model(row, keras.layers.Dense(3)(x))


def products(columns):
    """A score of second order, the sum of all products of two columns."""
    row = keras.Input((columns,))
    total = keras.layers.Dense(1, kernel_initializer="ones")(row)
    squares = keras.layers.Dense(1, kernel_initializer="ones")(keras.layers.Multiply()([row, row]))
    return keras.Model(row, keras.layers.Subtract()([keras.layers.Multiply()([total, total]), squares]))


def by_orders(model, row, background, target):
    """Shapley values by their definition: the mean over all orders, one order after another."""
    parts, values, orders = len(row), np.zeros(len(row)), 0
    for order in permutations(range(parts)):
        shown = background.copy()
        rows = [shown.copy()]
        for part in order:
            shown[part] = row[part]
            rows.append(shown.copy())
        scores = model(np.stack(rows)).numpy()[:, target].astype(float)
        values[list(order)] += np.diff(scores)
        orders += 1
    return values / orders


@pytest.mark.parametrize("method", ["exact", "kernel", None])
def test_values_equal_the_mean_over_all_orders(method):
    model, x = curved(5), RNG.normal(size=(2, 5)).astype("float32")
    background = RNG.normal(size=5).astype("float32")
    given = explain.shap(model, x, [2, 0], background=background, method=method)
    for row, values, target in zip(x, given.values, [2, 0], strict=True):
        np.testing.assert_allclose(values, by_orders(model, row, background, target), atol=1e-5)
    np.testing.assert_array_equal(given.errors, 0)
    scores = model(x).numpy()[[0, 1], [2, 0]]
    np.testing.assert_allclose(given.values.sum(axis=1), scores - given.base, atol=1e-5)


def test_orders_and_their_reverses_are_exact_where_the_score_is_of_second_order():
    model, x = products(7), RNG.normal(size=(1, 7)).astype("float32")
    given = explain.shap(model, x, 0, method="permutation", samples=60)
    exact = x[0] * (x[0].sum() - x[0])  # half of each product to either column, twice
    np.testing.assert_allclose(given.values[0], exact, atol=1e-5)
    assert given.errors.max() < 1e-5


@pytest.mark.parametrize("method", ["kernel", "permutation"])
def test_drawn_coalitions_come_within_their_errors(method):
    model, x = curved(12), RNG.normal(size=(6, 12)).astype("float32")
    exact = explain.shap(model, x, 1, method="exact").values
    given = explain.shap(model, x, 1, method=method, samples=2000, seed=3)
    off = np.abs(given.values - exact) / given.errors
    assert 0.4 < np.median(off) < 1.0  # 0.67 of a normal error: neither too wide nor too narrow
    assert (off < 3.0).mean() > 0.97  # 0.997 of 72 normal errors
    assert 0 < given.errors.max() < 0.3 * np.abs(exact).max()
    np.testing.assert_allclose(given.values.sum(axis=1), exact.sum(axis=1), atol=1e-4)
    again = explain.shap(model, x, 1, method=method, samples=2000, seed=3)
    np.testing.assert_array_equal(given.values, again.values)


def test_a_column_that_does_not_matter_has_no_value_and_twins_share():
    row = keras.Input((3,))
    x = keras.layers.Dense(1, "relu", kernel_initializer=keras.initializers.Constant([[1.0], [1.0], [0.0]]))(row)
    values = explain.shap(keras.Model(row, x), np.array([[2.0, 2.0, 9.0]], "float32"), 0, background=-1.0).values[0]
    assert values[2] == pytest.approx(0, abs=1e-6)
    assert values[0] == pytest.approx(values[1])
    assert values.sum() == pytest.approx(4.0)


def test_several_backgrounds_are_averaged():
    model, x = curved(4), RNG.normal(size=(1, 4)).astype("float32")
    backgrounds = RNG.normal(size=(3, 4)).astype("float32")
    mean = np.mean([explain.shap(model, x, 0, background=each).values for each in backgrounds], axis=0)
    np.testing.assert_allclose(explain.shap(model, x, 0, background=backgrounds).values, mean, atol=1e-5)


def tokens_net():
    """Adds the points of each token: 3 tokens of worth, the others of none."""
    token = keras.Input((None,), dtype="int32")
    points = np.zeros((10, 1), "float32")
    points[[4, 5, 6], 0] = 1.0, -2.0, 3.0
    x = keras.layers.Embedding(10, 1, embeddings_initializer=keras.initializers.Constant(points))(token)
    return keras.Model(token, keras.layers.GlobalAveragePooling1D()(x))


@pytest.mark.parametrize("method", [explain.shap, explain.lime])
def test_tokens_of_a_text_get_their_points(method):
    ids = np.array([[4, 5, 9, 6, 0, 0]])
    given = method(tokens_net(), ids, 0, groups=np.array([[0, 1, 2, 3, -1, -1]]))
    np.testing.assert_allclose(given.values[0] * 6, [1, -2, 0, 3], atol=1e-3)
    np.testing.assert_allclose(given.spread()[0, 4:], 0)
    assert given.spread().shape == ids.shape


@pytest.mark.parametrize("method", [explain.shap, explain.lime])
def test_parts_of_an_image_point_to_what_counts(method):
    image = keras.Input((12, 12, 2))
    kernel = np.zeros((12, 12, 2, 1), "float32")
    kernel[:6, 6:] = 1.0
    x = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(kernel.reshape(-1, 1)))
    model = keras.Model(image, x(keras.layers.Flatten()(image)))
    parts = explain.superpixels(np.zeros((1, 12, 12, 2)), 16)
    assert len(np.unique(parts)) == 16
    heat = method(model, np.ones((1, 12, 12, 2), "float32"), 0, groups=parts, samples=1000).spread()
    assert heat.shape == (1, 12, 12, 2)
    inside = np.zeros((12, 12), bool)
    inside[:6, 6:] = True
    np.testing.assert_allclose(heat[0, inside], 18, atol=0.1)
    np.testing.assert_allclose(heat[0, ~inside], 0, atol=0.1)


def test_a_linear_imitation_of_a_linear_net_is_that_net():
    row = keras.Input((4,))
    model = keras.Model(row, keras.layers.Dense(2, bias_initializer="ones")(row))
    x = RNG.normal(size=(2, 4)).astype("float32")
    given = explain.lime(model, x, 1, background=0.5)
    weights = model.get_weights()[0][:, 1]
    np.testing.assert_allclose(given.values, weights * (x - 0.5), atol=1e-4)
    np.testing.assert_allclose(given.base, model(np.full((1, 4), 0.5)).numpy()[0, 1], atol=1e-4)
    assert given.errors.max() < 1e-4


def test_an_imitation_looks_near_the_example_where_it_is_told_to():
    row = keras.Input((6,))
    x = keras.layers.Dense(1, "relu", kernel_initializer="ones", bias_initializer=keras.initializers.Constant(-4.5))
    model, ones = keras.Model(row, x(row)), np.ones((1, 6), "float32")  # 1.5 in full, 0 from two hidden parts on
    near, far = (explain.lime(model, ones, 0, nearness=each, samples=2000).values for each in (0.08, 10.0))
    np.testing.assert_allclose(near, 1.0, atol=0.1)
    assert far.max() < 0.4


def test_superpixels_keep_to_colours():
    image = np.zeros((1, 20, 20, 3))
    image[0, :, 9:] = 1.0
    parts = explain.superpixels(image, 8)
    assert not set(np.unique(parts[0, :, :9])) & set(np.unique(parts[0, :, 9:]))
    assert set(np.unique(parts)) == set(range(parts.max() + 1))


def test_what_does_not_fit_is_refused():
    model, x = curved(4), np.zeros((2, 4), "float32")
    with pytest.raises(ArgumentError, match="method must be one of"):
        explain.shap(model, x, method="tree")
    with pytest.raises(ArgumentError, match="groups must be given"):
        explain.shap(keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()]), np.zeros((1, 4, 4, 1)))
    with pytest.raises(ArgumentError, match="without gaps"):
        explain.shap(model, x, groups=np.array([0, 1, 3, 3]))
    with pytest.raises(ArgumentError, match="as many parts"):
        explain.shap(model, x, groups=np.array([[0, 1, 2, 3], [0, 0, 1, 1]]))
    with pytest.raises(ArgumentError, match="whole numbers of the shape"):
        explain.shap(model, x, groups=np.array([0.0, 1.0, 2.0, 3.0]))
    with pytest.raises(ArgumentError, match="background must be a number"):
        explain.shap(model, x, background=np.zeros(3))
    with pytest.raises(ArgumentError, match="background must be finite"):
        explain.shap(model, x, background=np.nan)
    with pytest.raises(ArgumentError, match="inputs to explain must be finite"):
        explain.lime(model, np.full((1, 4), np.inf))
    with pytest.raises(ArgumentError, match="at most 16 parts"):
        explain.shap(curved(17), np.zeros((1, 17)), method="exact")
    with pytest.raises(ArgumentError, match="at least 20 a part"):
        explain.shap(curved(17), np.zeros((1, 17)), samples=100)
    with pytest.raises(ArgumentError, match="samples must be an integer of 25"):
        explain.lime(model, x, samples=10)
    with pytest.raises(ArgumentError, match="whole numbers, such as token ids"):
        explain.shap(tokens_net(), np.array([[0.5, 1.0]]), 0)
    for target in ([0, 1, 2], [0.0, 1.7], [0], "a"):
        with pytest.raises(ArgumentError, match="one for each of the 2 examples"):
            explain.shap(model, x, target)
    with pytest.raises(ArgumentError, match="background of whole numbers"):
        explain.shap(tokens_net(), np.array([[1, 2]]), 0, background=0.5)
    model.layers[-1].kernel.assign(np.full((16, 3), np.nan))
    for method in (explain.shap, explain.lime):
        with pytest.raises(ArgumentError, match="seed must be an integer"):
            method(curved(4), x, seed=-1)
        with pytest.raises(ArgumentError, match="scores to explain must be finite"):
            method(model, x, 0)
    with pytest.raises(ArgumentError, match="at most the pixels"):
        explain.superpixels(np.zeros((1, 2, 2, 1)), 5)


def test_values_equal_those_of_the_package_shap():
    package = pytest.importorskip("shap")
    model, x = curved(6), RNG.normal(size=(2, 6)).astype("float32")
    background = RNG.normal(size=(3, 6)).astype("float32")
    oracle = package.KernelExplainer(lambda rows: model(rows.astype("float32")).numpy()[:, 1], background)
    given = explain.shap(model, x, 1, background=background)
    np.testing.assert_allclose(given.values, oracle.shap_values(x, silent=True), atol=1e-3)
    ours = explain.shap(model, x, 1, background=background, method="package")
    np.testing.assert_allclose(ours.values, given.values, atol=1e-5)
    assert np.isnan(ours.errors).all()
    many = curved(13)
    drawn = [explain.shap(many, np.ones((1, 13)), 1, method="package", samples=500).values for _ in range(2)]
    np.testing.assert_array_equal(*drawn)
    exact = explain.shap(many, np.ones((1, 13)), 1, method="exact").values
    assert np.abs(drawn[0] - exact).max() < 0.1 * np.abs(exact).max()


def test_the_package_is_asked_for_by_name(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ArgumentError, match="needs the package shap"):
        explain.shap(curved(4), np.zeros((1, 4)), 0, method="package")
