"""LoRA, DoRA, BitFit, (IA)3: equal to the formulas, merged equal to unmerged, gradients, several adapters, refusals."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasdl
from kerasdl import sequence
from kerasdl.blocks import encoder_block
from kerasdl.core.errors import ArgumentError, UnknownNameError
from kerasdl.core.keras_graph import copied
from kerasdl.layers.tuning.adapted_weights import weights_by_name

METHODS = {
    "lora": lambda net, **kwargs: sequence.lora(net, rank=2, **kwargs),
    "dora": lambda net, **kwargs: sequence.dora(net, rank=2, **kwargs),
    "bitfit": sequence.bitfit,
    "ia3": sequence.ia3,
}


def text_net():
    """A transformer over tokens whose projections are layers around DotProductAttention."""
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    mask = kerasdl.layers.PaddingMask(name="mask")(tokens)
    x = keras.layers.Embedding(20, 8, name="embedding")(tokens)
    x = encoder_block(x, 2, hidden=16, key_mask=mask, name="block1")
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(tokens, keras.layers.Dense(3, name="head")(x), name="text_net")


def image_net():
    """A net whose attention holds its projections, with a batch norm, a shared layer and two outputs."""
    image = keras.Input((4, 4, 3), name="image")
    x = keras.layers.Conv2D(8, 1, name="conv")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Reshape((16, 8), name="tokens")(x)
    y = keras.layers.MultiHeadAttention(2, 4, name="attention", dropout=0.1)(x, x)
    x = keras.layers.Add(name="sum")([x, y])
    shared = keras.layers.Dense(8, activation="gelu", name="shared")
    x = keras.layers.Add(name="sum2")([x, shared(shared(x))])
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    heads = {"first": keras.layers.Dense(3, name="first")(x), "second": keras.layers.Dense(2, name="second")(x)}
    return keras.Model(image, heads, name="image_net")


NETS = {"text": text_net, "image": image_net}


@pytest.fixture(scope="module")
def nets():
    keras.utils.set_random_seed(3)
    return {name: make() for name, make in NETS.items()}


def drawn(net, seed=0, batch=5):
    rng = np.random.default_rng(seed)
    shape = (batch, *net.inputs[0].shape[1:])
    return rng.integers(0, 20, shape).astype("int32") if "int" in net.inputs[0].dtype else rng.normal(size=shape)


def numbers(net, x):
    return np.concatenate([np.ravel(part) for part in keras.tree.flatten(net(x))])


def moved(net, seed=1):
    """Gives every part of every adapter other numbers."""
    rng = np.random.default_rng(seed)
    for layer in net.layers:
        for part in getattr(layer, "parts", {}).values():
            part.assign(part + rng.normal(0, 0.3, part.shape))
    return net


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("method", METHODS)
def test_adapter_starts_as_the_model_moves_it_and_merges_to_1e_5(nets, kind, method, tmp_path):
    net = nets[kind]
    x, before = drawn(net), net.get_weights()
    tuned = METHODS[method](net)
    np.testing.assert_allclose(numbers(tuned, x), numbers(net, x), atol=1e-5)
    moved(tuned)
    assert np.abs(numbers(tuned, x) - numbers(net, x)).max() > 1e-3  # a hundred times what may differ
    merged = sequence.merge_lora(tuned)
    np.testing.assert_allclose(numbers(merged, x), numbers(tuned, x), atol=1e-5)
    assert [(type(each), each.name) for each in merged.layers] == [(type(each), each.name) for each in net.layers]
    assert [weight.shape for weight in merged.weights] == [weight.shape for weight in net.weights]
    assert all(np.array_equal(a, b) for a, b in zip(before, net.get_weights(), strict=True))
    tuned.save(tmp_path / "tuned.keras")
    loaded = keras.models.load_model(tmp_path / "tuned.keras")
    np.testing.assert_array_equal(numbers(loaded, x), numbers(tuned, x))
    assert [w.path for w in loaded.trainable_weights] == [w.path for w in tuned.trainable_weights]


@pytest.mark.parametrize("method", METHODS)
def test_gradient_reaches_what_learns_and_training_changes_nothing_else(nets, method):
    net = nets["image"]
    tuned = moved(METHODS[method](net, trained="second"))
    assert {w.path.split("/")[0] for w in tuned.trainable_weights} >= {"second", "attention"}
    assert not any("/kernel" in w.path or "gamma" in w.path for w in tuned.trainable_weights[:-2])
    x = drawn(net)
    with tf.GradientTape() as tape:
        loss = sum(tf.reduce_sum(part**2) for part in keras.tree.flatten(tuned(x, training=True)))
    for weight, gradient in zip(tuned.trainable_weights, tape.gradient(loss, tuned.trainable_weights), strict=True):
        assert np.isfinite(gradient).all(), weight.path
    frozen = {w.path: w.numpy() for w in tuned.non_trainable_weights}
    learnt = {w.path: w.numpy() for w in tuned.trainable_weights}
    assert {"norm/gamma", "norm/moving_mean", "conv/kernel"} <= set(frozen)
    tuned.compile(keras.optimizers.SGD(0.1), {"first": "mse", "second": "mse"})
    tuned.fit(x, {"first": np.ones((5, 3)), "second": np.ones((5, 2))}, epochs=2, verbose=0)
    assert all(np.array_equal(w.numpy(), frozen[w.path]) for w in tuned.non_trainable_weights)
    assert sum(np.any(w.numpy() != learnt[w.path]) for w in tuned.trainable_weights) >= len(learnt) - 1  # bias of keys


def test_low_rank_and_decomposed_weights_equal_their_equations(nets):
    net = nets["image"]
    for method, targets in (("lora", "attention/output"), ("dora", "attention/query")):
        tuned = moved(METHODS[method](net, targets=targets))
        layer = tuned.get_layer("attention")
        a, b, *norm = (layer.parts[name].numpy() for name in layer.parts)
        name = "attention_output/kernel" if method == "lora" else "query/kernel"
        kernel = layer.inner_weights()[name].numpy()
        matrix = kernel.reshape(len(a), -1) + 16 / 2 * a @ b
        if norm:
            matrix = norm[0] * matrix / np.linalg.norm(matrix, axis=0)
        np.testing.assert_allclose(layer.effective_weights()[name], matrix.reshape(kernel.shape), atol=1e-5)


def test_columns_of_an_einsum_whose_rows_stand_last_are_its_outputs():
    x = keras.Input((5, 6))
    net = keras.Model(x, keras.layers.EinsumDense("btd,hd->bth", (5, 3), name="mix")(x))
    tuned = moved(sequence.lora(net, 2, targets="mix"))
    layer = tuned.get_layer("mix")
    a, b = (part.numpy() for part in layer.parts.values())
    assert (a.shape, b.shape) == ((6, 2), (2, 3))
    kernel = layer.inner_weights()["kernel"].numpy() + 8 * (a @ b).T
    np.testing.assert_allclose(tuned(drawn(net)), drawn(net) @ kernel.T, atol=1e-4)


def test_default_places_are_queries_and_values_or_hidden_dense_layers(nets):
    def layers(net):
        return {weight.path.rsplit("/", 1)[0] for weight in sequence.lora(net, 2).trainable_weights}

    assert layers(nets["text"]) == {"block1_attention_query", "block1_attention_value"}
    assert [w.name for w in sequence.lora(nets["image"], 2).trainable_weights] == [
        f"default_{part}_kernel_{side}" for part in ("query", "value") for side in "ab"
    ]
    mlp = kerasdl.build("mlp", features=4)
    assert layers(mlp) == {"hidden1", "hidden2"}
    assert layers(keras.Sequential([keras.Input((4,)), mlp])) == {"hidden1", "hidden2"}  # nested models are opened


def test_several_adapters_stand_in_one_model_and_are_chosen_by_name(nets):
    net = nets["text"]
    x = drawn(net)
    first = moved(sequence.lora(net, 2, name="first"))
    second = sequence.lora(first, 3, targets=["*query", "*expand"], name="second")
    assert sequence.adapter_names(second) == ["first", "second"]
    np.testing.assert_allclose(numbers(second, x), numbers(net, x), atol=1e-6)
    assert all("second" in weight.path for weight in second.trainable_weights)
    np.testing.assert_allclose(numbers(sequence.use_adapter(second, "first"), x), numbers(first, x), atol=1e-6)
    assert {weight.path for weight in second.trainable_weights} == {w.path for w in first.trainable_weights}
    second.trainable = True  # thaws no frozen kernel
    assert {weight.path for weight in second.trainable_weights} >= {w.path for w in first.trainable_weights}
    assert "block1_attention_query/kernel" not in {weight.path for weight in second.trainable_weights}
    np.testing.assert_allclose(second.predict(x, verbose=0), first.predict(x, verbose=0), atol=1e-5)
    sequence.use_adapter(second, None)
    np.testing.assert_allclose(second.predict(x, verbose=0), net.predict(x, verbose=0), atol=1e-5)
    with pytest.raises(ArgumentError, match="active adapter"):
        sequence.merge_lora(second)
    with pytest.raises(UnknownNameError, match="first"):
        sequence.use_adapter(second, "firts")
    with pytest.raises(ArgumentError, match="name of its own"):
        sequence.lora(second, name="first")


def test_wrong_ranks_targets_and_models_are_refused_by_name(nets):
    net = nets["text"]
    cases = {
        "rank must be an integer of 1 or more": {"rank": 0},
        "may not exceed either side": {"rank": 9},
        "unknown place to tune 'block1_attention_qery'.*block1_attention_query": {"targets": "block1_attention_qery"},
        "unknown layer with weights 'haed'.*head": {"trained": "haed"},
        "tuned or trained": {"targets": "head", "trained": "head"},
        "without '/'": {"name": "a/b"},
        "alpha": {"alpha": 0.0},
        "alpha must be a number": {"alpha": "much"},
        "seed must be an integer": {"seed": -1},
        "place to tune must be named by a text": {"targets": []},
        "place to tune must be named by a text, or a list of one or more; got 3": {"targets": 3},
    }
    for text, arguments in cases.items():
        with pytest.raises((ArgumentError, UnknownNameError), match=text):
            sequence.lora(net, **{"rank": 2, **arguments})
    x = keras.Input((4,))
    bare = keras.Model(x, keras.layers.Dense(2, name="head")(x))
    for method in ("lora", "ia3"):
        with pytest.raises(ArgumentError, match="must have attention"):
            METHODS[method](bare)
    with pytest.raises(ArgumentError, match="layer with a bias"):
        sequence.bitfit(keras.Model(x, keras.layers.ReLU()(x)))
    with pytest.raises(ArgumentError, match=r"active adapter.*lora"):
        sequence.merge_lora(bare)


def test_wrappers_of_recurrent_layers_are_tuned_by_their_biases():
    """A wrapper that is built apart from a model names the weights of its layers without its own name."""
    tokens = keras.Input((5,), dtype="int32")
    x = keras.layers.Embedding(9, 4, mask_zero=True, name="embedding")(tokens)
    x = keras.layers.Bidirectional(keras.layers.LSTM(3), name="both_ways")(x)
    net = keras.Model(tokens, keras.layers.Dense(2, name="head")(x))
    x = np.array([[1, 2, 3, 0, 0], [4, 0, 0, 0, 0], [0, 0, 0, 0, 0]], "int32")
    tuned = sequence.bitfit(net)
    assert {*tuned.get_layer("both_ways").changes["default"]} == {
        f"{way}_lstm/lstm_cell/bias" for way in ("forward", "backward")
    }  # of the layer, not of the process: files of adapters are read by another
    np.testing.assert_array_equal(tuned(x), net(x))
    assert np.abs(np.asarray(moved(tuned)(x)) - net(x)).max() > 0.01
    np.testing.assert_allclose(sequence.merge_lora(tuned)(x), tuned(x), atol=1e-6)


@pytest.mark.parametrize("around", [keras.layers.Bidirectional, keras.layers.RNN])
def test_names_of_nested_weights_are_those_of_the_layer_not_of_the_process(around):
    """What one process saves is loaded in another, where Keras counts layers from zero."""

    def names():
        cells = [keras.layers.LSTMCell(3), keras.layers.LSTMCell(3)]
        layer = around(keras.layers.LSTM(3) if around is keras.layers.Bidirectional else cells)
        layer.build((None, 5, 4))
        return list(weights_by_name(layer))

    first = names()
    assert len(first) == 6
    assert names() == first


def test_share_that_learns_is_that_of_a_count_by_hand(nets):
    tuned = sequence.lora(nets["text"], 2)
    assert sequence.trainable_share(tuned) == 64 / (nets["text"].count_params() + 64)  # 2 kernels of 8 x 8
    frozen = keras.models.clone_model(nets["text"])
    frozen.trainable = False
    assert len(sequence.lora(frozen, 2).trainable_weights) == 4


def test_frozen_attention_stays_frozen_in_copies(nets):
    """Keras forgets it: projections built anew would learn."""
    net = keras.models.clone_model(nets["image"])
    net.get_layer("attention").trainable = False
    assert len(keras.models.clone_model(net).trainable_weights) > len(net.trainable_weights)
    assert len(copied(net).trainable_weights) == len(net.trainable_weights)
