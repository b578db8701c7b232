"""ELMo: counts by the layers of the paper, the cell by its equations, padding, two language models in one."""

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.errors import ArgumentError
from kerasdl.layers import ProjectedLSTMCell, ScalarMix
from kerasdl.sequence import character_ids, elmo_language_model, language_model_targets
from kerasdl.train import RunConfig, fit

FILTERS = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024))
TINY = {"characters": 8, "filters": ((1, 4), (2, 4), (3, 8)), "highways": 1, "units": 12, "projection": 6}


@pytest.mark.parametrize(("name", "highways", "units", "width"), [("elmo", 2, 4096, 512), ("elmo_small", 1, 1024, 128)])
def test_counts_are_those_of_the_paper(name, highways, units, width):
    filters = sum(count for _, count in FILTERS)
    words = 261 * 16 + sum((16 * size + 1) * count for size, count in FILTERS)
    words += highways * 2 * (filters**2 + filters) + filters * width + width
    lstm = (width + width) * 4 * units + 4 * units + units * width
    assert kerasdl.spec(name).params == words + 2 * 2 * lstm + 3 + 1


def test_the_cell_is_its_equations():
    rng = np.random.default_rng(0)
    layer = keras.layers.RNN(ProjectedLSTMCell(5, 3, clip=0.4), return_sequences=True)
    x = rng.normal(size=(2, 4, 6)).astype("float32") * 2
    found = layer(x).numpy()
    kernel, recurrent, bias, projection = (each.astype(float) for each in layer.get_weights())
    np.testing.assert_array_equal(bias, [0] * 5 + [1] * 5 + [0] * 10)
    output, cell = np.zeros((2, 3)), np.zeros((2, 5))
    clipped = 0
    for step in range(4):
        i, f, g, o = np.split(x[:, step] @ kernel + output @ recurrent + bias, 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-each)) for each in (i, f, o))
        cell = f * cell + i * np.tanh(g)
        clipped += (np.abs(cell) > 0.4).sum()
        cell = cell.clip(-0.4, 0.4)
        output = (o * np.tanh(cell) @ projection).clip(-0.4, 0.4)
        np.testing.assert_allclose(found[:, step], output, atol=1e-6)
    assert clipped


def test_the_mix_is_a_softmax():
    layer = ScalarMix()
    x = np.random.default_rng(0).normal(size=(3, 2, 4)).astype("float32")
    layer([*x])
    layer.set_weights([np.log([1.0, 2.0, 5.0]), np.float32(3)])
    np.testing.assert_allclose(layer([*x]), 3 * (x[0] + 2 * x[1] + 5 * x[2]) / 8, rtol=1e-5)


def test_bytes_of_words_stand_between_marks():
    ids = character_ids(["né 🙂x", ["much", "more", "words"]], 4, 5)
    assert ids.shape == (2, 4, 5)
    np.testing.assert_array_equal(ids[0, 1], [257, ord("n") + 1, 0xC3 + 1, 0xA9 + 1, 258])
    np.testing.assert_array_equal(ids[0, 2], [257, 0xF0 + 1, 0x9F + 1, 0x99 + 1, 258])
    np.testing.assert_array_equal(ids[1, 3], [257, 260, 258, 0, 0])
    with pytest.raises(ArgumentError, match="list"):
        character_ids("text", 4)


def test_padding_changes_nothing():
    short, long = (kerasdl.build("elmo", length=length, **TINY) for length in (5, 9))
    long.set_weights(short.get_weights())
    texts = ["one two three", "four"]
    expected, found = short(character_ids(texts, 5, 8)).numpy(), long(character_ids(texts, 9, 8)).numpy()
    for row, count in enumerate((5, 3)):
        np.testing.assert_allclose(found[row, :count], expected[row, :count], atol=1e-5)
    other = short(character_ids(["one two three", "four more"], 5, 8)).numpy()
    assert np.abs(other[1, 1] - expected[1, 1]).max() > 1e-4  # the sentence counts


def test_each_direction_sees_its_side_alone():
    model = elmo_language_model(20, 6, **TINY)
    ids = character_ids(["a b c d"], 6, 8)
    changed = ids.copy()
    changed[0, 3] = character_ids(["zz"], 3, 8)[0, 1]
    before, after = model(ids), model(changed)
    moved = {name: np.abs(after[name] - before[name]).max(axis=(0, 2)) > 1e-6 for name in before}
    np.testing.assert_array_equal(moved["forward"], [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(moved["backward"], [1, 1, 1, 1, 0, 0])


@pytest.mark.slow
def test_two_language_models_learn_an_order_and_give_their_layers_to_elmo():
    words = ["ab", "cd", "ef", "gh"]
    texts = [[words[(start + step) % 4] for step in range(4)] for start in range(4)] * 8
    ids = np.array([[1, *(words.index(word) + 3 for word in text), 2] for text in texts])
    model = elmo_language_model(7, 6, **TINY)
    targets = language_model_targets(ids)
    np.testing.assert_array_equal(targets["backward"][0], [-1, 1, 3, 4, 5, 6])
    inputs = character_ids(texts, 6, 8)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    config = RunConfig(epochs=25, batch_size=16, learning_rate=0.02, progress="off")
    fit(model, (inputs, targets), loss={"forward": loss, "backward": loss}, config=config)
    for name, logits in model(inputs).items():
        known = targets[name][:, 2:4] >= 0
        assert (np.argmax(logits, -1)[:, 2:4] == targets[name][:, 2:4])[known].all(), name
    elmo = kerasdl.build("elmo", length=6, **TINY)
    shared = [layer.name for layer in elmo.layers if layer.weights and layer.name != "mix"]
    for name in shared:
        elmo.get_layer(name).set_weights(model.get_layer(name).get_weights())
    features = keras.Model(
        model.input, [model.get_layer("forward2_add").output, model.get_layer("backward2_reverse").output]
    )
    elmo.get_layer("mix").set_weights([np.float32([-99, -99, 0]), np.float32(1)])
    np.testing.assert_allclose(elmo(inputs), np.concatenate(features(inputs), axis=-1), atol=1e-6)
