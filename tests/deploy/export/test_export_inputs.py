"""How samples in any form become named arrays, and what random inputs hold."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError
from kerasdl.deploy.export.model_inputs import NamedInput, named_inputs, random_arrays, sample_arrays

ONE = (NamedInput("x", (None, 3), "float32"),)
TWO = (NamedInput("b", (None, 3), "float32"), NamedInput("a", (None,), "int32", ids=5))
X, A = np.arange(12, dtype="float32").reshape(4, 3), np.arange(4, dtype="int32")


@pytest.mark.parametrize(
    "source",
    [X, X.tolist(), [X], {"x": X}, (X, A), tf.constant(X), tf.data.Dataset.from_tensor_slices((X, A)).batch(3)],
    ids=["array", "lists", "list of one", "dict", "pair", "tensor", "tf.data"],
)
def test_forms_of_samples_for_one_input(source):
    np.testing.assert_array_equal(sample_arrays(source, ONE, 3)["x"], X[:3])


@pytest.mark.parametrize("source", [[X, A], (X, A), {"a": A, "b": X}], ids=["list", "tuple", "dict"])
def test_forms_of_samples_for_two_inputs(source):
    arrays = sample_arrays(source, TWO, 10)
    np.testing.assert_array_equal(arrays["b"], X)
    np.testing.assert_array_equal(arrays["a"], A)


def test_examples_must_be_equally_many():
    with pytest.raises(ArgumentError, match="equally many"):
        sample_arrays([X, A[:2]], TWO, 10)


def test_random_inputs_stay_in_range_and_repeat():
    arrays = random_arrays(TWO, 200, {})
    assert set(np.unique(arrays["a"])) == set(range(5))
    assert arrays["b"].dtype == "float32"
    assert -1 <= arrays["b"].min() < -0.9
    assert 0.9 < arrays["b"].max() <= 1
    np.testing.assert_array_equal(arrays["b"], random_arrays(TWO, 200, {})["b"])


def test_free_dimensions_take_the_size_of_real_examples():
    free = (NamedInput("x", (None, None, 3), "float32"),)
    assert random_arrays(free, 2, {"x": np.zeros((1, 7, 3))})["x"].shape == (2, 7, 3)
    assert random_arrays(free, 2, {})["x"].shape == (2, 64, 3)


def test_inputs_know_the_table_that_reads_them():
    tokens, types = keras.Input((4,), dtype="int32", name="to.kens"), keras.Input((4,), dtype="int32", name="types")
    x = keras.layers.Embedding(30, 2)(tokens)
    y = keras.layers.Embedding(2, 2)(types)
    inputs = named_inputs(keras.Model([tokens, types], keras.layers.Add()([x, y])))
    assert [(each.name, each.ids) for each in inputs] == [("to_kens", 30), ("types", 2)]


def test_random_floats_take_the_range_of_real_examples():
    values = random_arrays(ONE, 500, {"x": np.array([[0, 255, 9]], "float32")})["x"]
    assert 0 <= values.min() < 5
    assert 250 < values.max() <= 255
