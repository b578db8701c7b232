"""Operations that the stock converter drops, mistakes or refuses: rolls, masks, free lengths, exact GELU, einsum."""

import keras
import numpy as np
import pytest
from filling import fill_weights
from keras import ops
from lite import relative_rmse, run_lite

from kerasdl.core.errors import ExportError
from kerasdl.deploy import export_tflite, run_exported
from kerasdl.deploy.tflite.flatbuffer import operators

L = keras.layers


@keras.saving.register_keras_serializable("tflite_tests")
class Bare(L.Layer):
    """A layer around a function of keras.ops."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def call(self, x):
        return self.function(x)


def around(function, shape):
    x = keras.Input(shape, name="x")
    return keras.Model(x, Bare(function, name="bare")(x))


def windows(x):
    """Swin's shifted windows and back: rolls, cut into 4 x 4 windows, attended over, put together."""
    shifted = ops.roll(x, (-2, -2), axis=(1, 2))
    parts = ops.transpose(ops.reshape(shifted, (-1, 2, 4, 2, 4, 3)), (0, 1, 3, 2, 4, 5))
    parts = ops.reshape(parts, (-1, 16, 3))
    parts = ops.matmul(ops.softmax(ops.matmul(parts, ops.transpose(parts, (0, 2, 1)))), parts)
    whole = ops.transpose(ops.reshape(parts, (-1, 2, 2, 4, 4, 3)), (0, 1, 3, 2, 4, 5))
    return ops.roll(ops.reshape(whole, (-1, 8, 8, 3)), (2, 2), axis=(1, 2))


SINGLE = {
    "roll": lambda: around(lambda x: ops.roll(x, 2, axis=1), (5, 4)),
    "roll_far": lambda: around(lambda x: ops.roll(x, (-9, 3), axis=(-1, 1)), (5, 4)),
    "windows": lambda: around(windows, (8, 8, 3)),
    "einsum": lambda: around(lambda x: ops.einsum("bhwc,bkwc->bhwk", x, x), (4, 4, 3)),
    "gelu": lambda: around(lambda x: ops.gelu(x, approximate=False), (6, 4)),
    "einsum_dense": lambda: layered(L.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de"), (6, 4)),
    "gelu_dense": lambda: layered(L.Dense(5, activation="gelu"), (6, 4)),
}


def layered(layer, shape):
    x = keras.Input(shape, name="x")
    return fill_weights(keras.Model(x, layer(x)))


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize(("quantize", "bound"), [(None, 1e-6), ("dynamic", 1e-6), ("int8", 0.05), ("int16x8", 0.01)])
@pytest.mark.parametrize("name", SINGLE)
def test_operations_reach_tflite(name, quantize, bound, tmp_path):
    model = SINGLE[name]()
    inputs = normal(32, *model.inputs[0].shape[1:])
    export_tflite(model, tmp_path / "m.tflite", quantize=quantize, representative=inputs, samples=inputs[:8])
    (given,) = run_lite(tmp_path / "m.tflite", {"x": inputs}).values()
    assert relative_rmse(model(inputs), given) < bound


def test_the_exact_gelu_is_one_operation(tmp_path):
    report = export_tflite(SINGLE["gelu_dense"](), tmp_path / "m.tflite")
    assert report.operations["GELU"] == 1


@pytest.mark.parametrize("size", [5, 9])
def test_a_roll_keeps_sizes_free(size, tmp_path):
    model = around(lambda x: ops.roll(x, (2, -1), axis=(1, 2)), (None, None, 3))
    export_tflite(model, tmp_path / "m.tflite")
    inputs = normal(4, size, size + 2, 3)
    (given,) = run_lite(tmp_path / "m.tflite", {"x": inputs}).values()
    np.testing.assert_array_equal(given, np.roll(inputs, (2, -1), axis=(1, 2)))


def test_keras_has_its_functions_back():
    before = keras.src.backend.numpy.roll, keras.src.backend.nn._apply_masks
    with pytest.raises(ExportError):
        export_tflite(around(ops.inv, (3, 3)), "never.tflite")
    assert (keras.src.backend.numpy.roll, keras.src.backend.nn._apply_masks) == before


@pytest.mark.parametrize("value", [0.7, 254.7, 0.7e10])
@pytest.mark.parametrize(
    "layer",
    [
        lambda x: L.LayerNormalization()(x),
        lambda x: L.LayerNormalization(axis=(1, 2))(x),
        lambda x: L.GroupNormalization(2)(x),
        lambda x: ops.std(x, -1),
    ],
    ids=["layer", "layer_of_axes", "group", "deviation"],
)
def test_norms_of_a_constant_are_zero(layer, value, tmp_path):
    """LiteRT's mean of equal numbers is off in its last place, which a norm makes a one of."""
    x = keras.Input((6, 12), name="x")
    export_tflite(keras.Model(x, layer(x)), tmp_path / "m.tflite")
    (given,) = run_lite(tmp_path / "m.tflite", {"x": np.full((1, 6, 12), value, "float32")}).values()
    np.testing.assert_array_equal(given, 0)


def transformer(steps, causal, attention=None):
    """One pre-norm block over token ids, 0 being padding."""
    tokens = keras.Input((steps,), dtype="int32", name="tokens")
    x = L.Embedding(9, 8, mask_zero=True, name="embedding")(tokens)
    y = L.LayerNormalization(name="norm")(x)
    attention = attention or L.MultiHeadAttention(2, 4, name="attention")
    x = L.Add()([x, attention(y, y, use_causal_mask=causal)])
    y = L.Dense(8)(L.Dense(16, activation="gelu")(L.LayerNormalization()(x)))
    return fill_weights(keras.Model(tokens, L.Dense(5, name="head")(L.Add()([x, y]))))


def ids(count, steps):
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 9, (count, steps)).astype("int32")
    tokens[np.arange(steps) >= rng.integers(2, steps + 1, (count, 1))] = 0
    return tokens


GROUPED = {"heads": lambda: None, "grouped": lambda: L.GroupQueryAttention(4, 4, 2, name="attention")}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", GROUPED)
def test_the_length_of_a_transformer_stays_free(kind, causal, tmp_path):
    model = transformer(None, causal, GROUPED[kind]())
    export_tflite(model, tmp_path / "m.tflite")
    for steps in (3, 11):
        tokens = ids(6, steps)
        expected = model(tokens).numpy()
        given = run_lite(tmp_path / "m.tflite", {"tokens": tokens})["head"]
        np.testing.assert_allclose(given, expected, atol=1e-5)
        whole = np.maximum(tokens, 1)  # a padded query attends to everything
        changed = np.concatenate([whole[:, :-1], whole[:, -1:] % 8 + 1], axis=1)
        reach = np.abs(model(changed) - model(whole).numpy())[:, :-1].max()
        assert (reach < 1e-6) == causal, "the mask of the model itself"


@pytest.mark.parametrize(("quantize", "bound"), [("int8", 0.06), ("int16x8", 0.04), ("dynamic", 0.01)])
@pytest.mark.parametrize("causal", [False, True])
def test_masked_attention_survives_integers(causal, quantize, bound, tmp_path):
    model, tokens = transformer(6, causal), ids(64, 6)
    export_tflite(model, tmp_path / "m.tflite", quantize=quantize, representative=tokens)
    given = run_lite(tmp_path / "m.tflite", {"tokens": tokens})["head"]
    assert relative_rmse(model(tokens), given) < bound
    if quantize == "int8":
        made = list(operators((tmp_path / "m.tflite").read_bytes()))
        floats = {each.name for each in made if each.is_float}
        assert not floats & {"BATCH_MATMUL", "FULLY_CONNECTED", "SOFTMAX"}


@pytest.mark.parametrize("quantize", ["int8", "int16x8"])
def test_a_mask_that_is_added_survives_integers_or_is_refused(quantize, tmp_path):
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    x = L.Embedding(9, 8, mask_zero=True)(tokens)
    model = fill_weights(keras.Model(tokens, L.Dense(3, name="head")(L.Attention()([x, x]))))
    inputs = ids(64, 6)
    if quantize == "int16x8":
        with pytest.raises(ExportError, match="must stay within"):
            export_tflite(model, tmp_path / "m.tflite", quantize=quantize, representative=inputs)
        return
    export_tflite(model, tmp_path / "m.tflite", quantize=quantize, representative=inputs)
    assert relative_rmse(model(inputs), run_lite(tmp_path / "m.tflite", {"tokens": inputs})["head"]) < 0.05


def test_int16_still_names_what_it_lacks(tmp_path):
    model = layered(L.GroupNormalization(2, name="groups"), (6, 4))
    with pytest.raises(ExportError, match=r"no kernel for the operation SQUARED_DIFFERENCE of layer 'groups'"):
        export_tflite(model, tmp_path / "m.tflite", quantize="int16x8", representative=normal(32, 6, 4))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_prelu_over_volumes_converts(quantize, tmp_path):
    entry = keras.Input((3, 3, 3, 2), name="x")
    model = fill_weights(keras.Model(entry, L.PReLU(name="prelu")(entry)))
    x = np.random.default_rng(0).normal(size=(40, 3, 3, 3, 2)).astype("float32")
    export_tflite(model, tmp_path / "m.tflite", quantize=quantize, representative=x)
    given = run_lite(tmp_path / "m.tflite", {"x": x})["prelu"]
    assert relative_rmse(model(x), given) < (0.02 if quantize else 1e-6)


@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize("groups", [1, 2])
def test_group_norm_of_films_of_volumes_has_no_more_axes_than_kernels_take(groups, quantize, tmp_path):
    entry = keras.Input((2, 3, 3, 3, 4), name="x")
    model = fill_weights(keras.Model(entry, L.GroupNormalization(groups, name="norm")(entry)))
    x = np.random.default_rng(0).normal(size=(40, 2, 3, 3, 3, 4)).astype("float32")
    export_tflite(model, tmp_path / "m.tflite", quantize=quantize, representative=x)
    given = run_lite(tmp_path / "m.tflite", {"x": x})["norm"]
    assert relative_rmse(model(x), given) < (0.05 if quantize else 1e-6)


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_unit_norm_of_volumes_has_no_more_axes_than_kernels_take(quantize, tmp_path):
    entry = keras.Input((2, 3, 3, 4), name="x")
    model = fill_weights(keras.Model(entry, L.UnitNormalization(name="norm")(entry)))
    x = np.random.default_rng(0).normal(size=(40, 2, 3, 3, 4)).astype("float32")
    export_tflite(model, tmp_path / "m.tflite", quantize=quantize, representative=x)
    given = run_lite(tmp_path / "m.tflite", {"x": x})["norm"]
    assert relative_rmse(model(x), given) < (0.05 if quantize else 1e-6)


def test_a_sum_that_keras_takes_for_a_bias_where_there_is_one_example_is_mended(tmp_path):
    """Of one example, Keras's add takes (1, 1, 8) for a bias of (1, 8, 1), and gives (1, 8, 1)."""
    a, b = keras.Input((8, 1), name="a"), keras.Input((1, 8), name="b")
    model = keras.Model([a, b], L.Add(name="outer")([a, b]))
    one, other = np.random.default_rng(0).normal(size=(2, 1, 8)).astype("float32")
    export_tflite(model, tmp_path / "m.tflite")
    given = run_exported(tmp_path / "m.tflite", {"a": one[..., None], "b": other[None]})["outer"]
    np.testing.assert_allclose(given, one[..., None] + other[None], atol=1e-6)
