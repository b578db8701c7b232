"""Data against a model's inputs: what Keras refuses is refused in one line, what it takes passes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core import ArgumentError
from kerasdl.core.data_fit import check_fits
from kerasdl.data import as_dataset, load
from kerasdl.data.model_fit import check_dataset_fits

L = keras.layers
RNG = np.random.default_rng(0)


def floats(*shape):
    return RNG.normal(size=shape).astype("float32")


def conv(shape):
    inputs = keras.Input(shape)
    return keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(L.Conv2D(2, 3)(inputs))), name="conv")


def tokens():
    inputs = keras.Input((6,), dtype="int32")
    return keras.Model(inputs, L.Dense(2)(L.Flatten()(L.Embedding(9, 2)(inputs))), name="reader")


def tied():
    inputs, table = keras.Input((6,), dtype="int32"), L.ReversibleEmbedding(9, 2)
    return keras.Model(inputs, table(table(inputs), reverse=True), name="tied")


def two(as_dict=False):
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    return keras.Model({"a": a, "b": b} if as_dict else [a, b], L.Dense(1)(L.Concatenate()([a, b])), name="pair")


def sequential():
    return keras.Sequential([L.Input((8, 8, 3)), L.Conv2D(2, 3), L.GlobalAveragePooling2D(), L.Dense(2)])


MODELS = {
    "conv": lambda: conv((8, 8, 3)),
    "free": lambda: conv((None, None, 3)),
    "grey": lambda: conv((8, 8, 1)),
    "tokens": tokens,
    "tied": tied,
    "two": two,
    "dict": lambda: two(as_dict=True),
    "sequential": sequential,
}
INPUTS = {
    "colour": floats(4, 8, 8, 3),
    "bytes": RNG.integers(0, 255, (4, 8, 8, 3), dtype=np.uint8),
    "larger": floats(4, 16, 16, 3),
    "one channel": floats(4, 8, 8, 1),
    "no channel": floats(4, 8, 8),
    "rows": floats(4, 5),
    "ids": RNG.integers(0, 9, (4, 6)),
    "ids as floats": RNG.integers(0, 9, (4, 6)).astype("float32"),
    "large ids": np.full((4, 6), 12),
    "pair": [floats(4, 3), floats(4, 2)],
    "pair turned round": [floats(4, 2), floats(4, 3)],
    "named": {"a": floats(4, 3), "b": floats(4, 2)},
    "named and more": {"a": floats(4, 3), "b": floats(4, 2), "c": floats(4, 2)},
    "half named": {"a": floats(4, 3)},
    "texts": np.array(["a", "b", "c", "d"]),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.filterwarnings("ignore:The structure of `inputs`")
def test_the_answer_is_that_of_keras(model):
    net = MODELS[model]()
    for name, inputs in INPUTS.items():
        try:
            net(keras.tree.map_structure(tf.constant, inputs))
            taken = True
        except Exception:
            taken = False
        specs = keras.tree.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype), inputs)
        for form in (inputs,) if name == "large ids" else (inputs, specs):
            if taken:
                check_fits(net, form)
            else:
                with pytest.raises(ArgumentError) as caught:
                    check_fits(net, form)
                assert "\n" not in str(caught.value)


def test_both_shapes_and_the_remedy_are_named():
    with pytest.raises(ArgumentError) as caught:
        check_fits(conv((8, 8, 3)), tf.TensorSpec((None, 28, 28, 1), tf.float32), name="digits")
    for said in ("digits", "'conv'", "(None, 8, 8, 3)", "(None, 28, 28, 1)", "load(..., image_shape=(8, 8, 3))"):
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("model", "inputs", "said"),
    [
        ("conv", floats(4, 8, 8), "np.stack([images] * 3, axis=-1)"),
        ("conv", floats(8, 3, 8), "Data come in batches"),
        ("two", floats(4, 3), "2 inputs for 'pair': 'a' (None, 3), 'b' (None, 2)"),
        ("two", {"a": floats(4, 3)}, "must have the inputs ['a', 'b']"),
        ("tokens", np.full((4, 6), 12), "token ids from 0 to 8; got '12 to 12'"),
        ("tokens", np.full((4, 6), -1), "token ids from 0 to 8"),
        ("tied", np.full((4, 6), 12), "token ids from 0 to 8; got '12 to 12'"),
        ("tied", np.full((4, 6), -1), "token ids from 0 to 8"),
        ("tokens", np.full((4, 6), 1.5), "whole numbers (int32); got 'values from 1.5 to 1.5'"),
        ("tokens", np.array([["a"] * 6]), "Turn texts into token ids"),
        ("conv", np.zeros((4, 8, 8, 3), "complex64"), "float32; got '(4, 8, 8, 3) complex64'"),
    ],
)
def test_each_misfit_has_its_line(model, inputs, said):
    with pytest.raises(ArgumentError) as caught:
        check_fits(MODELS[model](), inputs)
    assert said in str(caught.value)


def test_inputs_by_name_need_names_of_ones_own():
    """Keras asks a dict for the tensor's name and the layer's, which differ where nobody gave one."""
    inputs = keras.Input((3,))
    with pytest.raises(ArgumentError, match=r"pass name= to keras\.Input"):
        check_fits(keras.Model(inputs, L.Dense(2)(inputs)), {inputs.name: floats(4, 3)})
    named = keras.Input((3,), name="rows")
    check_fits(keras.Model(named, L.Dense(2)(named)), {"rows": floats(4, 3)})


def test_scaled_pixels_into_a_net_of_bytes_are_refused_and_fractions_of_levels_pass():
    inputs = keras.Input((4,), dtype="uint8")
    model = keras.Model(inputs, L.Dense(2)(L.Rescaling(1 / 255)(inputs)))
    check_fits(model, np.array([[0.0, 127.4, 255.0, 3.0]]))
    with pytest.raises(ArgumentError, match="pixels from 0 to 255"):
        check_fits(model, np.array([[0.0, 0.4, 1.0, 0.2]]))


def test_unknown_shapes_and_subclassed_models_pass():
    class Any(keras.Model):
        def call(self, x):
            return x

    check_fits(Any(), floats(4, 5))
    check_fits(conv((8, 8, 3)), tf.TensorSpec(None, tf.float32))
    check_fits(conv((8, 8, 3)), tf.TensorSpec((None, None, None, None), tf.float32))


def test_datasets_are_looked_at_as_they_are_read():
    check_dataset_fits(conv((32, 32, 1)), load("digits"))
    with pytest.raises(ArgumentError, match=r"digits must .*load\(\.\.\., image_shape=\(32, 32, 3\)\)"):
        check_dataset_fits(conv((32, 32, 3)), load("digits"))
    with pytest.raises(ArgumentError, match="token ids"):
        check_dataset_fits(tokens(), as_dataset((np.full((4, 6), 12), np.arange(4))))
