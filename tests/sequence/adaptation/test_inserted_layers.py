"""Adapters, prefixes and files of adapters: layers in the graph, masks, what is saved, what is refused."""

import json

import keras
import numpy as np
import pytest
from test_weight_changes import METHODS, drawn, image_net, moved, numbers, text_net

import kerasdl
from kerasdl import sequence
from kerasdl.core import safetensors
from kerasdl.core.errors import ArgumentError, UnknownNameError, WeightsError
from kerasdl.layers import DotProductAttention


@pytest.fixture(scope="module")
def nets():
    keras.utils.set_random_seed(4)
    return {"text": text_net(), "image": image_net()}


@pytest.mark.parametrize("kind", ["text", "image"])
def test_adapters_stand_behind_each_branch_and_start_as_the_model(nets, kind):
    net, x = nets[kind], drawn(nets[kind])
    tuned = sequence.adapters(net, 2)
    names = {"text": ["block1_attention_output", "block1_mlp_project"], "image": ["attention", "shared"]}[kind]
    learnt = {weight.path.split("/")[0] for weight in tuned.trainable_weights}
    assert learnt == {f"{name}_adapter_{part}" for name in names for part in ("down", "up")}
    np.testing.assert_array_equal(numbers(tuned, x), numbers(net, x))
    up = tuned.get_layer(f"{names[0]}_adapter_up")
    up.kernel.assign(np.ones(up.kernel.shape))
    y = keras.Model(tuned.inputs, [tuned.get_layer(names[0]).output, tuned.get_layer(f"{names[0]}_adapter_add").output])
    before, after = (np.asarray(part) for part in y(x))
    down = tuned.get_layer(f"{names[0]}_adapter_down")
    hidden = np.maximum(before @ down.kernel.numpy() + down.bias.numpy(), 0)
    np.testing.assert_allclose(after, before + hidden.sum(-1, keepdims=True), atol=1e-5)


def test_prefix_is_keys_and_values_before_all_others(nets):
    """Against attention by hand over prefix and input, with the padding of the text unseen."""
    net, tokens = nets["text"], np.maximum(drawn(nets["text"]), 1)
    tokens[:, 4:] = 0
    tuned = sequence.prefix_tuning(net, 3)
    scores = tuned.get_layer("block1_attention_scores")
    assert [w.path for w in tuned.trainable_weights] == [
        f"block1_attention_scores_prefix_{p}/prefix" for p in ("key", "value")
    ]
    key, value = (np.random.default_rng(i).normal(size=(1, 3, 2, 4)).astype("float32") for i in (0, 1))
    tuned.get_layer("block1_attention_scores_prefix_key").prefix.assign(key)
    tuned.get_layer("block1_attention_scores_prefix_value").prefix.assign(value)
    heads = [net.get_layer(f"block1_attention_{part}_heads").output for part in ("query", "key", "value")]
    q, k, v = (np.asarray(part) for part in keras.Model(net.inputs, heads)(tokens))
    k, v = (np.concatenate([np.repeat(new, 5, 0), old], axis=1) for new, old in ((key, k), (value, v)))
    products = np.einsum("btnh,bsnh->bnts", q, k) / 2
    products[:, :, :, 7:] = -np.inf
    shares = np.exp(products) / np.exp(products).sum(-1, keepdims=True)
    expected = np.einsum("bnts,bsnh->btnh", shares, v)
    np.testing.assert_allclose(keras.Model(tuned.inputs, scores.output)(tokens), expected, atol=1e-5)


def test_prefix_keeps_causality_biases_and_implicit_masks():
    x = keras.Input((6, 2, 4))
    bias = kerasdl.layers.ALiBi(2, name="bias")(keras.layers.Reshape((6, 8))(x))
    net = keras.Model(x, DotProductAttention(causal=True, name="scores")([x, x, x], bias=bias))
    tuned = sequence.prefix_tuning(net, 2)
    a = np.random.default_rng(0).normal(size=(1, 6, 2, 4))
    b = a.copy()
    b[:, 4:] += 1
    first, second = np.asarray(tuned(a)), np.asarray(tuned(b))
    np.testing.assert_array_equal(first[:, :4], second[:, :4])
    assert np.abs(first[:, 4:] - second[:, 4:]).max() > 0.1
    assert tuned.get_layer("scores_prefix_bias").output.shape[-1] == 8
    y = keras.layers.Masking(name="masking")(keras.Input((6, 4), name="places"))
    net = keras.Model(y._keras_history.operation.input, keras.layers.MultiHeadAttention(2, 4, name="attention")(y, y))
    tuned = sequence.prefix_tuning(net, 2)
    a = np.random.default_rng(0).normal(size=(1, 6, 4))
    a[:, 3:] = 0  # hidden by Keras's own mask, which travels through the prefix
    q, k, v, o = (
        getattr(tuned.get_layer("attention"), f"{part}_dense") for part in ("query", "key", "value", "output")
    )
    prefixes = [tuned.get_layer(f"attention_prefix_{part}").prefix for part in ("key", "value")]
    key, value = (np.concatenate([part, a[:, :3]], axis=1).astype("float32") for part in prefixes)
    shares = keras.ops.softmax(keras.ops.einsum("btnh,bsnh->bnts", q(a[:, :3]), k(key)) / 2)
    expected = o(keras.ops.einsum("bnts,bsnh->btnh", shares, v(value)))
    np.testing.assert_allclose(np.asarray(tuned(a))[:, :3], expected, atol=1e-5)


def test_prefixes_that_cannot_be_seen_are_refused(nets):
    x = keras.Input((6, 4))
    causal = keras.layers.MultiHeadAttention(2, 4, name="attention")(x, x, use_causal_mask=True)
    for net, text in (
        (keras.Model(x, causal), "hides a prefix"),
        (keras.Model(x, keras.layers.Dense(2)(x)), "attention that takes a prefix"),
    ):
        with pytest.raises(ArgumentError, match=text):
            sequence.prefix_tuning(net, 2)
    with pytest.raises(ArgumentError, match="names of their own"):
        sequence.adapters(sequence.adapters(nets["text"], 2), 2)
    with pytest.raises(UnknownNameError, match="shared"):
        sequence.adapters(nets["image"], 2, targets="shard")
    with pytest.raises(ArgumentError, match="size"):
        sequence.adapters(nets["image"], 0)


MAKERS = {
    **METHODS,
    "prefix": lambda net, **k: sequence.prefix_tuning(net, 2, **k),
    "adapters": lambda net, **k: sequence.adapters(net, 2, **k),
}


@pytest.mark.parametrize("method", MAKERS)
def test_file_holds_what_was_learnt_and_nothing_else(nets, method, tmp_path):
    net, x = nets["image"], drawn(nets["image"])
    make = MAKERS[method]
    tuned = moved(make(net, trained="first"))
    for weight in tuned.trainable_weights:
        weight.assign(weight + 0.1)
    sequence.save_adapters(tuned, tmp_path / "a.safetensors")
    learnt = sum(int(np.prod(weight.shape)) for weight in tuned.trainable_weights)
    assert sum(array.size for array in safetensors.read(tmp_path / "a.safetensors").values()) == learnt
    loaded = sequence.load_adapters(
        net if method in METHODS else make(net, trained="first"), tmp_path / "a.safetensors"
    )
    np.testing.assert_array_equal(numbers(loaded, x), numbers(tuned, x))
    assert [w.path for w in loaded.trainable_weights] == [w.path for w in tuned.trainable_weights]


def test_second_adapter_of_a_file_stands_beside_the_first(nets, tmp_path):
    net, x = nets["text"], drawn(nets["text"])
    one, two = (moved(sequence.lora(net, rank), rank) for rank in (2, 3))
    sequence.save_adapters(one, tmp_path / "one.safetensors")
    both = sequence.load_adapters(two, tmp_path / "one.safetensors", name="one")
    assert sequence.adapter_names(both) == ["default", "one"]
    np.testing.assert_allclose(numbers(both, x), numbers(one, x), atol=1e-6)
    np.testing.assert_allclose(numbers(sequence.use_adapter(both, "default"), x), numbers(two, x), atol=1e-6)
    with pytest.raises(ArgumentError, match="name of its own"):
        sequence.load_adapters(two, tmp_path / "one.safetensors")


def test_files_of_another_base_or_shape_or_with_nan_are_refused_by_name(nets, tmp_path):
    net, path = nets["text"], tmp_path / "a.safetensors"
    sequence.save_adapters(sequence.lora(net, 2), path)
    arrays, metadata = safetensors.read(path), safetensors.read_metadata(path)
    other = keras.models.clone_model(net)
    with pytest.raises(WeightsError, match="'embedding' has other weights"):
        sequence.load_adapters(other, path)
    with pytest.raises(WeightsError, match="no layer"):
        sequence.load_adapters(nets["image"], path)
    with pytest.raises(ArgumentError, match="weights that learn"):
        frozen = keras.models.clone_model(net)
        frozen.trainable = False
        sequence.save_adapters(frozen, path)
    name = "block1_attention_query:default/kernel/a"
    content = json.loads(metadata["adapters"])
    huge = json.loads(metadata["adapters"])
    huge["changes"]["block1_attention_query"]["kernel"]["rank"] = 10**9
    odd = {**content, "changes": {"block1_attention_query": 3}}
    wrong = {
        "finite": ({**arrays, name: np.full((8, 2), np.nan)}, metadata),
        r"must be \(8, 2\); got \(8, 3\)": ({**arrays, name: np.zeros((8, 3))}, metadata),
        "one alone": ({key: array for key, array in arrays.items() if key != name}, metadata),
        "save_adapters": (arrays, {}),
        "damaged": (arrays, {**metadata, "adapters": "{"}),
        "either side": (arrays, {**metadata, "adapters": json.dumps(huge)}),
        "changes of weights": (arrays, {**metadata, "adapters": json.dumps(odd)}),
    }
    for text, (tensors, words) in wrong.items():
        safetensors.write(path, tensors, words)
        with pytest.raises(WeightsError, match=text):
            sequence.load_adapters(net, path)
