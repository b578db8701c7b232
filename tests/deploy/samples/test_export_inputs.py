"""Names, dtypes and tables of a model's inputs, and what random inputs hold."""

import keras
import numpy as np
import pytest

from kerasdl.core.errors import ArgumentError
from kerasdl.deploy import export_onnx, export_saved_model, export_tflite, run_exported
from kerasdl.deploy.export.hostile_inputs import hostile_arrays
from kerasdl.deploy.samples.model_inputs import NamedInput, fitting, named_inputs, random_arrays

ONE = (NamedInput("x", (None, 3), "float32"),)
TWO = (NamedInput("b", (None, 3), "float32"), NamedInput("a", (None,), "int32", ids=5))


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


def drawn(dtype, real=None, **settings):
    form = NamedInput("x", (None, 9), dtype, **settings)
    return random_arrays((form,), 500, {} if real is None else {"x": np.array(real, dtype)})["x"]


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (drawn("uint8"), 0, 255),
        (drawn("uint8", np.full((1, 9), 7)), 7, 7),
        (drawn("uint8", [[9, 80, 3, 4, 5, 6, 7, 8, 9]]), 3, 80),
        (drawn("int32"), 0, 1),
        (drawn("int64", [[-4, 900, 3, 4, 5, 6, 7, 8, 9]]), -4, 900),
        (drawn("int32", [[2, 3, 3, 4, 5, 6, 7, 8, 9]], ids=30), 0, 29),
        (drawn("uint8", ids=30), 0, 29),
        (drawn("bool"), 0, 1),
    ],
    ids=["bytes", "one level", "pixels", "whole", "range", "ids", "byte ids", "truth"],
)
def test_whole_numbers_are_drawn_over_the_range_that_the_input_takes(values, low, high):
    assert (values.min(), values.max()) == (low, high)


def test_a_picture_beside_tokens_is_no_token_and_categories_bound_as_tables_do():
    picture, tokens = keras.Input((2, 2, 3), dtype="uint8", name="picture"), keras.Input((4,), dtype="int32", name="t")
    kinds = keras.Input((1,), dtype="uint8", name="kinds")
    x = keras.layers.Embedding(5, 2)(tokens)
    y = keras.layers.CategoryEncoding(7)(kinds)
    z = keras.layers.Rescaling(1 / 255)(picture)
    inputs = named_inputs(keras.Model([picture, tokens, kinds], [x, y, z]))
    assert [(each.name, each.ids) for each in inputs] == [("picture", None), ("t", 5), ("kinds", 7)]


def test_names_that_become_one_are_told_apart():
    names = ["a b", "A_b", "größe", "_x", "a_b_1"]
    inputs = [keras.Input((1,), name=name) for name in names]
    model = keras.Model(inputs, keras.layers.Concatenate()(inputs))
    assert [each.name for each in named_inputs(model)] == ["a_b", "a_b_1", "gr__e", "input__x", "a_b_1_1"]


@pytest.mark.parametrize("export", [export_tflite, export_onnx, export_saved_model])
def test_an_input_in_capitals_has_small_letters_in_every_file(export, tmp_path):
    left, right = keras.Input((3,), name="Left"), keras.Input((3,), name="rightHand")
    model = keras.Model([left, right], keras.layers.Subtract(name="Gap")([left, right]))
    path = tmp_path / {export_tflite: "m.tflite", export_onnx: "m.onnx"}.get(export, "saved")
    assert {each.name for each in export(model, path).inputs} == {"left", "righthand"}
    arrays = {"Left": np.full((2, 3), 5.0, "float32"), "rightHand": np.full((2, 3), 2.0, "float32")}
    np.testing.assert_array_equal(run_exported(path, arrays)["Gap"], np.full((2, 3), 3.0))


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [((9, 28, 28, 1), "image_shape=(32, 32, 3)"), ((32, 32, 3), "samples[None]"), ((9, 5), "as the model was trained")],
    ids=["channels", "no batch", "features"],
)
def test_samples_of_another_shape_are_refused_with_both_shapes_and_a_remedy(shape, remedy):
    form = NamedInput("x", (None, 32, 32, 3), "float32")
    with pytest.raises(ArgumentError) as caught:
        fitting(form, np.zeros(shape, "float32"))
    assert "(None, 32, 32, 3)" in str(caught.value)
    assert str(shape) in str(caught.value)
    assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)


def test_hostile_texts_are_empty_unknown_and_long():
    inputs = (NamedInput("text", (None, 1), "string", words=("good",)), ONE[0])
    examples = hostile_arrays(inputs, {})
    texts = {what: str(arrays["text"][0, 0]) for what, arrays in examples.items()}
    assert texts["zeros"] == texts["zeros in 'text' alone"] == ""
    assert texts["an unknown word"] not in ("", "good")
    assert len(texts["a thousand words"].split()) == 1000
    assert texts["zeros in 'x' alone"] in ("good", "")
