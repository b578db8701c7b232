"""Model files: what Keras and kerasdl save comes back, and every named attack is one BundleError in bounded memory."""

import base64
import json
import marshal
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from cases import EVERY_CLASS, UNPROVEN
from filling import fill_weights
from forging import forge_model, layer, members, saved, stacked, without_ids, zipped
from keras import layers

import kerasdl
from kerasdl.bundles.format import model_file
from kerasdl.bundles.format.model_file import check_model_file, load_model_file
from kerasdl.core.errors import BundleError

BIG = 10**8


UNCOVERED = {spec.builder: name for name in kerasdl.list_models() if (spec := kerasdl.spec(name)).family in UNPROVEN}


@pytest.mark.parametrize("name", [*EVERY_CLASS, *UNCOVERED.values()])
def test_every_class_of_layer_comes_back_whole(name, tiny, tmp_path):
    model = tiny(name)
    loaded = load_model_file(saved(model, tmp_path))
    assert not loaded.compiled
    assert without_ids(loaded.get_config()) == without_ids(model.get_config())
    assert [weight.path for weight in loaded.weights] == [weight.path for weight in model.weights]
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def everything(inputs):
    """One layer of most kinds, one of them called twice."""
    x = layers.Rescaling(2.0)(layers.RandomFlip()(inputs))
    x = layers.Conv2D(4, 3, kernel_regularizer="l2", kernel_constraint="max_norm", activation="silu")(x)
    x = layers.SeparableConv2D(4, 3, dilation_rate=2, padding="same")(layers.UpSampling2D()(x))
    x = layers.Concatenate()([layers.PReLU()(x), layers.GroupNormalization(2)(x)])
    x = layers.Reshape((-1, 8))(layers.AveragePooling2D(4)(x))
    x = layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)
    x = layers.TimeDistributed(layers.Dense(4, kernel_initializer=keras.initializers.RandomNormal(seed=2**40)))(x)
    x = layers.RNN([layers.GRUCell(3), layers.LSTMCell(3)])(
        layers.Bidirectional(layers.SimpleRNN(2, return_sequences=True))(x)
    )
    shared = layers.Dense(3, activation=keras.activations.relu6)
    return layers.Dropout(0.5)(shared(layers.LayerNormalization()(shared(x))))


def test_a_user_s_own_trained_model_comes_back(tmp_path):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, everything(inputs))
    model.compile("adam", "mse", metrics=["mae"], run_eagerly=True)
    model.train_on_batch(np.ones((2, 8, 8, 3)), np.ones((2, 3)))
    loaded = load_model_file(saved(model, tmp_path))
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(loaded(images, training=False), model(images, training=False))


def test_a_sequential_with_adapted_normalisation_comes_back(tmp_path):
    normalise = layers.Normalization()
    normalise.adapt(np.arange(12.0).reshape(4, 3))
    model = keras.Sequential([keras.Input((3,)), normalise, layers.Dense(2)])
    loaded = load_model_file(saved(model, tmp_path))
    np.testing.assert_array_equal(loaded(np.ones((1, 3))), model(np.ones((1, 3))))


def test_checking_leaves_keras_as_it_was(tiny, tmp_path):
    path = saved(tiny("vit_tiny"), tmp_path)
    before = layers.Dense(1).name
    check_model_file(path)
    number = int(before.rpartition("_")[2]) if "_" in before else 0
    assert layers.Dense(1).name == f"dense_{number + 1}"
    assert keras.Variable(np.zeros(1)).value is not None
    with keras.StatelessScope():
        pass  # on leaving, Keras initialises every variable it still waits for: there must be none


def test_every_allowed_name_is_keras_s_own():
    for module, names in model_file.CLASSES.items():
        found = getattr(keras, module.partition(".")[2]) if "." in module else keras
        for name in names:
            assert isinstance(getattr(found, name), type), name
    for name in model_file.ACTIVATIONS.split():
        assert callable(getattr(keras.activations, name))


def test_code_in_a_lambda_never_runs(honest, tmp_path, refused):
    """The attack is real: with Keras's safe mode off it runs."""
    evil = tmp_path / "evil"
    code = base64.b64encode(
        marshal.dumps(compile(f"lambda x: open({str(evil)!r}, 'w') and x", "x", "eval").co_consts[0])
    )
    function = {
        "class_name": "__lambda__",
        "config": {"code": code.decode(), "defaults": None, "closure": None},
    }
    change = stacked((6,), layer("Lambda", name="evil", function=function, output_shape=[6], arguments={}))
    content = forge_model(honest, change)
    refused(content, "keras.layers.Lambda")
    assert not evil.exists()
    (tmp_path / "forged.keras").write_bytes(content)
    keras.models.load_model(tmp_path / "forged.keras", safe_mode=False)(np.ones((1, 6)))
    assert evil.exists()


CODE = {"code": "4wAAAAA=", "defaults": None, "closure": None}


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        (layer("Lambda", function={"class_name": "__lambda__", "config": {"value": CODE}}), "keras.layers.Lambda"),
        (layer("Lambda", function="print"), "keras.layers.Lambda"),
        (layer("TFSMLayer", filepath="/tmp/x"), "keras.layers.TFSMLayer"),
        (layer("TorchModuleWrapper", module="x"), "keras.layers.TorchModuleWrapper"),
        (layer("StringLookup", vocabulary="/etc/passwd"), "keras.layers.StringLookup"),
        (layer("Unheard", "x", "mine>Unheard"), "mine>Unheard"),
        (layer("Dense", "keras.layers", "mine>Dense", units=4), "mine>Dense"),
        (layer("Dense", "keras.layers", "kerasdl>Dense", units=4), "kerasdl>Dense"),
        (layer("ClassToken", "os", "kerasdl>PaddingMask"), "kerasdl>PaddingMask"),
        (layer("ClassToken", "kerasdl.layers.tokens"), "kerasdl.layers.tokens.ClassToken"),
        (layer("Dense", "os"), "os.Dense"),
        (layer("system", "os", command="id"), "os.system"),
        (layer("Dense", ["keras.layers"]), "Dense"),
        (layer(["Dense"]), "class_name"),
        (layer("Add", "keras.src.ops.numpy"), "keras.src.ops.numpy.Add"),
        (layer("get_file", "keras.utils", origin="http://localhost/x"), "keras.utils.get_file"),
        (layer("Sequential", "keras", name="nested", layers=[]), "keras.Sequential"),
        (layer("Functional", "keras.src.models.functional", layers=[]), "Functional"),
        (layer("TimeDistributed", layer=layer("Lambda")), "keras.layers.Lambda"),
        (layer("Bidirectional", layer=layer("RNN", cell=layer("Mine", "x", "x>Mine"))), "x>Mine"),
        (layer("Dense", units=4, kernel_initializer=layer("STFT", "keras.initializers")), "keras.initializers.STFT"),
        (layer("Dense", units=4, kernel_initializer=layer("__numpy__", None, value=[1], dtype="object")), "__numpy__"),
        (layer("Dense", units=4, kernel_initializer=layer("__lambda__", None, value=CODE)), "__lambda__"),
        (layer("Dense", units=4, dtype=layer("QuantizedDTypePolicy", "keras")), "keras.QuantizedDTypePolicy"),
        (layer("Activation", activation={**layer("function", "builtins"), "config": "eval"}), "builtins: eval"),
        (layer("Activation", activation={**layer("function", "os"), "config": "relu"}), "os: relu"),
        (layer("LSTM", units=4, unroll=True), "unroll"),
        ({"class_name": "Dense", "config": {"units": 4}}, "module"),
        ("Dense", "module"),
    ],
)
def test_what_is_not_allowed_is_named(inner, said, honest, refused):
    refused(forge_model(honest, stacked((6,), inner)), said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda config: {**config, "class_name": "Model"}, "Functional or Sequential"),
        (lambda config: {**config, "module": "os"}, "Functional or Sequential"),
        (lambda config: {**config, "registered_name": "mine>Functional"}, "registered name"),
        (lambda config: {**config, "config": None}, "layers"),
        (lambda config: {**config, "config": {**config["config"], "layers": []}}, "layers"),
        (lambda config: [config], "Functional or Sequential"),
        (lambda config: {**config, "config": {**config["config"], "layers": config["config"]["layers"] * 400}}, "2000"),
        (lambda config: {**config, "deep": json.loads("[" * 60 + "]" * 60)}, "nested so deeply"),
    ],
)
def test_the_model_itself_is_plain(change, said, honest, refused):
    refused(forge_model(honest, change), said)


def test_a_class_that_the_user_registered_is_not_for_bundles(honest, refused):
    @keras.saving.register_keras_serializable("users")
    class Mine(layers.Layer):
        pass

    refused(forge_model(honest, stacked((6,), layer("Mine", __name__, "users>Mine"))), "users>Mine")


def test_a_layer_beside_the_graph_is_refused(honest, refused):
    def add(config):
        hidden = json.loads(json.dumps(config["config"]["layers"][1]))
        hidden["name"] = hidden["config"]["name"] = "beside"
        config["config"]["layers"].append(hidden)

    def double(config):
        config["config"]["layers"].insert(1, config["config"]["layers"][1])

    refused(forge_model(honest, add), "must lead from")
    refused(forge_model(honest, double), "")


NUMBER, WEIGHTS, OUTPUT = "whole numbers", "must be those of the model", "a layer may give at most"
NARROW = {"build_config": {"input_shape": [None, 8, 2**24]}}
# Sizes that stand in the configuration alone, each of which Keras would go and allocate.
BOMBS = {
    "units": (stacked((4,), layer("Dense", units=BIG)), NUMBER),
    "units under the cap": (stacked((2**24,), layer("Dense", units=2**24)), WEIGHTS),
    "vocabulary": (stacked((4,), layer("Embedding", input_dim=10**9, output_dim=64)), NUMBER),
    "vocabulary under the cap": (stacked((4,), layer("Embedding", input_dim=2**24, output_dim=2**10)), WEIGHTS),
    "a float": (stacked((8, 4), layer("LSTM", units=1e8)), "damaged or hostile"),
    "filters": (stacked((8, 8, 3), layer("Conv2D", filters=2**20, kernel_size=2**12, padding="same")), WEIGHTS),
    "orthogonal": (stacked((2**14,), layer("Dense", units=2**14, kernel_initializer="orthogonal")), WEIGHTS),
    "cells": (stacked((8, 3), layer("RNN", cell=[layer("LSTMCell", units=2**20) for _ in range(50)])), WEIGHTS),
    "repeat": (stacked((4096,), layer("RepeatVector", n=2**24)), OUTPUT),
    "up": (stacked((8, 8, 3), *[layer("UpSampling2D", size=[2**24, 2**24]) for _ in range(4)]), OUTPUT),
    "pad": (stacked((8, 8, 3), layer("ZeroPadding2D", padding=2**24)), OUTPUT),
    "resize": (stacked((8, 8, 3), layer("Resizing", height=2**20, width=2**20)), OUTPUT),
    "ranks": (stacked((4,), layer("Reshape", target_shape=[1] * 300 + [4])), OUTPUT),
    "input": (stacked((2**24, 2**24), layer("GlobalAveragePooling1D")), OUTPUT),
    "normalise": (
        stacked(
            (8, 8, 3),
            layer("UpSampling2D", size=[8000, 8000]),
            layer("Flatten"),
            layer("Normalization", mean=0.0, variance=1.0),
        ),
        OUTPUT,
    ),
    "build config": (stacked((4,), {**layer("Dense", units=2**10), **NARROW}), WEIGHTS),
    "inner build config": (
        stacked((8, 4), layer("Bidirectional", layer={**layer("LSTM", units=4), **NARROW})),
        WEIGHTS,
    ),
    "negative": (stacked((-4,), layer("Dense", units=3)), "damaged or hostile"),
    "zero": (stacked((0, 8, 3), layer("Conv2D", filters=3, kernel_size=3)), "damaged or hostile"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_absurd_sizes_are_refused(name, honest, refused):
    refused(forge_model(honest, BOMBS[name][0]), BOMBS[name][1])


def test_absurd_sizes_take_no_memory(honest, tmp_path):
    for number, (change, _) in enumerate(BOMBS.values()):
        (tmp_path / f"{number}.keras").write_bytes(forge_model(honest, change))
    (tmp_path / "whole.keras").write_bytes(honest)
    script = f"""
        import pathlib, resource
        from kerasdl.bundles.format.model_file import load_model_file
        from kerasdl.core.errors import BundleError
        from kerasdl.core.memory import peak_memory
        resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, 6 << 30))
        folder = pathlib.Path({str(tmp_path)!r})
        load_model_file(folder / "whole.keras")
        before = peak_memory()
        for number in range({len(BOMBS)}):
            try:
                load_model_file(folder / f"{{number}}.keras")
                print("loaded", number)
            except BundleError:
                pass
        print("grown", peak_memory() - before)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    word, grown = result.stdout.split()
    assert word == "grown", result.stdout
    assert int(grown) < 300 * 2**20


def test_build_config_is_not_read(tmp_path):
    """Keras would build the inner layer by it, at any size, and then throw that away."""
    model = keras.Sequential([keras.Input((8, 4)), layers.Bidirectional(layers.LSTM(4))])

    def widen(config):
        config["config"]["layers"][1]["config"]["layer"]["build_config"] = {"input_shape": ["no", "shape"]}

    path = saved(model, tmp_path)
    path.write_bytes(forge_model(path.read_bytes(), widen))
    np.testing.assert_array_equal(load_model_file(path)(np.ones((1, 8, 4))), model(np.ones((1, 8, 4))))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda files: files.pop("config.json"), "nothing else"),
        (lambda files: files.pop("model.weights.h5"), "nothing else"),
        (lambda files: files.update({"assets/vocabulary.txt": b"x"}), "nothing else"),
        (lambda files: files.update({"model.weights.npz": b"x"}), "nothing else"),
        (lambda files: files.update({"../evil": b"x"}), "names in a bundle"),
        (lambda files: files.update({"config.json": b"{" + b" " * 2**20}), ""),
        (lambda files: files.update({"config.json": b"\xff"}), "damaged"),
        (lambda files: files.update({"config.json": b'{"a": 1, "a": 2}'}), "must differ"),
        (lambda files: files.update({"config.json": np.random.default_rng(0).bytes(5 * 2**20)}), "at most"),
        (lambda files: files.update({"model.weights.h5": b""}), "damaged"),
        (lambda files: files.update({"model.weights.h5": bytes(30 * 2**20)}), "times its packed size"),
        (lambda files: files.update({"model.weights.h5": files["model.weights.h5"][:-200]}), "damaged"),
    ],
)
def test_the_zip_holds_three_sound_files(change, said, honest, refused):
    files = members(honest)
    change(files)
    refused(zipped(files), said)


def test_a_cap_on_weights_is_the_caller_s(tiny, tmp_path):
    path = saved(tiny("mlp"), tmp_path)
    check_model_file(path, max_params=tiny("mlp").count_params())
    with pytest.raises(BundleError, match="at most"):
        load_model_file(path, max_params=tiny("mlp").count_params() - 1)


def test_a_missing_file_is_one_error(tmp_path):
    with pytest.raises(BundleError, match=r"nothing\.keras"):
        load_model_file(tmp_path / "nothing.keras")


def test_filled_weights_are_not_those_of_a_fresh_model(tiny, tmp_path):
    """Loading must not leave a layer as it was initialised."""
    model = fill_weights(kerasdl.build("mobilenet_v2", **kerasdl.spec("mobilenet_v2").tiny))
    loaded = load_model_file(saved(model, tmp_path))
    images = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype("float32")
    np.testing.assert_array_equal(loaded(images), model(images))
