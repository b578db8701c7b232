"""Keras 2 models and files brought to Keras 3, and files that must not be."""

import json
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from filling import fill_weights

from kerasdl.core import ArgumentError, ExportError
from kerasdl.deploy.keras2.bridge import to_tf_keras
from kerasdl.deploy.migration.from_keras2 import from_tf_keras

L = tf_keras.layers


def randomised(model):
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if variable.dtype.is_floating:
            low = 0.5 if "variance" in variable.name else -0.7
            variable.assign(rng.uniform(low, 1.0, variable.shape))
    return model


def images(shape=(4, 12, 12, 3)):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def same(model, again, inputs):
    expected, given = tf.nest.flatten(model(inputs, training=False)), keras.tree.flatten(again(inputs, training=False))
    assert len(expected) == len(given)
    for one, other in zip(expected, given, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5, rtol=1e-5)


def convolutional():
    x = image = L.Input((12, 12, 3), name="image")
    x = L.Conv2D(4, 3, activation="hard_sigmoid", name="conv", kernel_regularizer="l2")(x)
    x = L.BatchNormalization(name="norm")(x)
    x = L.LeakyReLU(alpha=0.2, name="leaky")(x)
    x = L.SeparableConv2D(4, 3, activation="swish", name="separable")(x)
    x = L.LayerNormalization(name="layer_norm")(x)
    return randomised(tf_keras.Model(image, L.Dense(3, name="head")(L.GlobalAveragePooling2D()(x)), name="old"))


def operators(einsum=True):
    x = tf_keras.Input((4, 6))
    outputs = [
        x + 1,
        1 - x,
        x * 2,
        x / 3,
        x**2,
        -x,
        x @ tf.transpose(x, (0, 2, 1)),
        tf.nn.relu6(x),
        x[:, 1:3],
        x[:, 0],
    ]
    outputs += [tf.nn.softmax(x), tf.reduce_mean(x, 1), tf.reduce_max(x, axis=-1, keepdims=True), tf.concat([x, x], -1)]
    outputs += [tf.stack([x, x], 1), tf.reshape(x, (-1, 24)), tf.squeeze(tf.expand_dims(x, 1), 1), tf.nn.gelu(x)]
    outputs += [tf.clip_by_value(x, -1, 1), tf.split(x, 2, axis=2)[1], tf.nn.silu(x)]
    outputs += [tf.einsum("bij,bkj->bik", x, x)] if einsum else []
    outputs += [tf.where(x > 0, x, 0.0), tf.matmul(x, x, transpose_b=True), tf.maximum(x, 0.0), tf.tile(x, (1, 2, 1))]
    outputs += [tf.math.l2_normalize(x, -1), tf.unstack(x, axis=1)[0], tf_keras.activations.hard_sigmoid(x), tf.abs(x)]
    return tf_keras.Model(x, outputs)


def nested():
    inner = tf_keras.Sequential([L.Dense(3, name="inner"), L.PReLU()], name="one")
    a, b = L.Input((3,)), L.Input((3,))
    return randomised(tf_keras.Model({"a": a, "b": b}, [inner(a), inner(inner(b)), L.Dot(1)([a, b])]))


def recurrent():
    tokens = L.Input((6,), dtype="int32")
    x = L.Embedding(5, 4, mask_zero=True)(tokens)
    x = L.Add()([x, L.MultiHeadAttention(2, 3)(x, x)])
    outputs = [L.GlobalAveragePooling1D()(x), L.GRU(3, recurrent_activation="hard_sigmoid")(x), L.SimpleRNN(2)(x)]
    return randomised(tf_keras.Model(tokens, outputs))


def preprocessing():
    x = L.Input((2,))
    norm = L.Normalization()
    norm.adapt(np.random.default_rng(0).normal(3.0, 2.0, (50, 2)))
    return tf_keras.Model(x, L.Dense(2)(L.Concatenate()([norm(x), L.Rescaling(0.5, 1)(x)])))


@pytest.mark.parametrize("make", [convolutional, operators, nested, recurrent, preprocessing])
def test_keras_2_model_computes_the_same_in_keras_3(make):
    model = make()
    again = from_tf_keras(model)
    if make is recurrent:
        inputs = np.array([[1, 2, 3, 0, 0, 0], [4, 4, 0, 0, 0, 0], [1, 2, 3, 4, 1, 2]], "int32")
    else:
        inputs = tf.nest.map_structure(lambda each: images((4, *each.shape[1:])), model.input)
    same(model, again, inputs)
    assert isinstance(again, keras.Model)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_keras_2_file_becomes_a_keras_3_model_that_saves(suffix, tmp_path):
    model = convolutional()
    model.save(tmp_path / f"old{suffix}")
    again = from_tf_keras(tmp_path / f"old{suffix}")
    same(model, again, images())
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    again.save(tmp_path / "new.keras")
    same(model, keras.models.load_model(tmp_path / "new.keras"), images())


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_sequential_and_operators_come_from_files(suffix, tmp_path):
    plain = randomised(tf_keras.Sequential([L.Input((4, 6)), L.Dense(3), L.Flatten(), L.Dense(2)]))
    for model in (plain, operators(einsum=False)):  # tf_keras itself reads no einsum from a file
        model.save(tmp_path / f"old{suffix}")
        same(model, from_tf_keras(tmp_path / f"old{suffix}"), images((4, 4, 6)))


@tf_keras.utils.register_keras_serializable("legacy_tests")
class Doubled(L.Layer):
    """A custom layer of Keras 2."""

    def call(self, x):
        return 2.0 * x


def custom():
    x = L.Input((3,))
    return tf_keras.Model(x, L.Dense(2)(Doubled(name="twice")(x)))


def test_custom_layer_is_refused_by_name_and_taken_with_a_like():
    model = custom()
    with pytest.raises(ExportError, match=r"'twice'.*Doubled.*custom_layers"):
        from_tf_keras(model)
    made = from_tf_keras(
        model, custom_layers={"Doubled": lambda config: keras.layers.Rescaling(2.0, name=config["name"])}
    )
    same(model, made, images((4, 3)))
    with pytest.raises(ExportError, match=r"'twice'.*difference"):
        from_tf_keras(model, custom_layers={"Doubled": lambda config: keras.layers.Rescaling(3.0, name=config["name"])})


def test_tensorflow_function_without_a_like_is_refused_by_name():
    x = L.Input((3,))
    with pytest.raises(ExportError, match=r"tf\.math\.cumsum"):
        from_tf_keras(tf_keras.Model(x, tf.cumsum(x, axis=1)))


def lambda_model():
    x = L.Input((3,))
    return tf_keras.Model(x, L.Lambda(lambda each: each * 2)(L.Dense(2)(x)))


def reverses():
    x = L.Input((3,))
    return tf_keras.Model(x, tf.reverse(L.Dense(2)(x), [1]))


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize(("make", "named"), [(lambda_model, "Lambda"), (custom, "Doubled"), (reverses, "TFOpLambda")])
def test_file_with_code_or_a_custom_class_is_refused(make, named, suffix, tmp_path):
    make().save(tmp_path / f"old{suffix}")
    with pytest.raises(ExportError, match=named):
        from_tf_keras(tmp_path / f"old{suffix}")


def _with_config(path, change):
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config["config"])
        file.attrs["model_config"] = json.dumps(config)


def test_file_that_asks_for_more_weights_than_it_holds_is_refused(tmp_path):
    path = tmp_path / "old.h5"
    convolutional().save(path)

    def widen(config):
        config["layers"][-1]["config"]["units"] = 10_000_000

    _with_config(path, widen)
    with pytest.raises(ExportError, match="lacks"):
        from_tf_keras(path)

    def widen_more(config):
        config["layers"][-1]["config"]["units"] = 10**9

    _with_config(path, widen_more)
    with pytest.raises(ExportError, match="1000000000"):
        from_tf_keras(path)


def test_file_that_calls_a_function_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "old.h5"
    x = L.Input((3,))
    tf_keras.Model(x, tf.abs(x)).save(path)

    def write_instead(config):
        config["layers"][-1]["config"]["function"] = "io.write_file"

    _with_config(path, write_instead)
    with pytest.raises(ExportError, match="TFOpLambda"):
        from_tf_keras(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match="exists"):
        from_tf_keras(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(ArgumentError, match=r"\.h5 or a Keras 2"):
        from_tf_keras(tmp_path / "text.h5")
    convolutional().save_weights(tmp_path / "weights.h5")
    with pytest.raises(ExportError, match="weights alone"):
        from_tf_keras(tmp_path / "weights.h5")
    model = fill_weights(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
    model.save(tmp_path / "new.keras")
    with pytest.raises(ExportError, match=r"keras\.models\.load_model"):
        from_tf_keras(tmp_path / "new.keras")
    to_tf_keras(model).save(tmp_path / "cut.keras")
    with zipfile.ZipFile(tmp_path / "cut.keras") as archive, zipfile.ZipFile(tmp_path / "half.keras", "w") as half:
        half.writestr("config.json", archive.read("config.json"))
    with pytest.raises(ExportError, match="must hold"):
        from_tf_keras(tmp_path / "half.keras")
    shutil.copy(tmp_path / "weights.h5", tmp_path / "subclassed.h5")
    with h5py.File(tmp_path / "subclassed.h5", "r+") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Mine", "config": {}})
    with pytest.raises(ExportError, match="Mine"):
        from_tf_keras(tmp_path / "subclassed.h5")
