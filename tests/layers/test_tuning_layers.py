"""Layers of parameter-efficient tuning by themselves: AdaptedWeights, LearnedPrefix, PrefixPadding."""

import keras
import numpy as np
import pytest

from kerasdl.core.errors import ArgumentError
from kerasdl.layers import AdaptedWeights, LearnedPrefix, PrefixPadding


def dense(**settings):
    layer = keras.layers.Dense(3, name="dense", **settings)
    layer.build((None, 4))
    return layer


def test_shift_and_factor_change_kernel_and_bias_by_their_formula():
    layer = dense(bias_initializer="ones")
    kernel = layer.kernel.numpy()
    factor = {"kind": "factor", "vector": "kernel"}
    changes = {
        "scaled": {"kernel": {**factor, "axes": [1]}, "bias": {**factor, "axes": [0]}},
        "moved": {"bias": {"kind": "shift"}},
    }
    adapted = AdaptedWeights(layer, changes, "scaled")
    x = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    adapted.part("scaled", "kernel", "factor").assign([1.0, 2.0, 3.0])
    adapted.part("moved", "bias", "shift").assign([5.0, 6.0, 7.0])
    np.testing.assert_allclose(adapted(x), (x @ kernel + 1) * [1, 2, 3], atol=1e-5)
    adapted.activate("moved")
    np.testing.assert_allclose(adapted(x), x @ kernel + [6, 7, 8], atol=1e-5)
    adapted.activate(None)
    np.testing.assert_allclose(adapted(x), x @ kernel + 1, atol=1e-5)
    assert not adapted.trainable_weights


def test_what_the_layer_inside_does_in_a_call_reaches_outside():
    """Its seeds move on, its regularizer counts, its mask goes on."""
    layer = keras.layers.Dropout(0.5, seed=1)
    x = np.ones((4, 50), "float32")
    layer(x)
    adapted = AdaptedWeights(layer, {}, None)
    first, second = (np.asarray(adapted(x, training=True)) for _ in range(2))
    assert np.any(first != second)
    assert np.array_equal(adapted(x), x)
    adapted = AdaptedWeights(dense(activity_regularizer="l2"), {}, None)
    y = np.asarray(adapted(x[:, :4]))
    np.testing.assert_allclose(adapted.losses[0], 0.01 * (y**2).sum() / len(y), rtol=1e-5)
    masked = keras.layers.Masking()(np.zeros((1, 2, 4), "float32"))
    sequence = keras.layers.Dense(3)
    sequence.build((None, 2, 4))
    assert np.array_equal(AdaptedWeights(sequence, {}, None)(masked)._keras_mask, [[False, False]])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"kernal": {"kind": "shift"}}, "'dense' must have the weight.*'kernal'"),
        ({"kernel": {"kind": "sum"}}, "kind"),
        ({"kernel": {"kind": "low_rank", "rank": 5, "alpha": 1, "inputs": [0]}}, "may not exceed either side"),
        ({"kernel": {"kind": "low_rank", "rank": 1, "alpha": 1, "inputs": [2]}}, "axes of a weight"),
        ({name: {"kind": "factor", "axes": [0], "vector": "v"} for name in ("kernel", "bias")}, "of one shape"),
    ],
)
def test_changes_that_do_not_fit_are_refused(change, text):
    with pytest.raises(ArgumentError, match=text):
        AdaptedWeights(dense(), {"a": change}, "a")


def test_layer_that_is_not_built_is_refused():
    with pytest.raises(ArgumentError, match="must be built"):
        AdaptedWeights(keras.layers.Dense(3), {}, None)


def test_prefix_and_padding_stand_in_front(tmp_path):
    x = keras.Input((3, 2))
    mask = keras.Input((3,), dtype="bool")
    net = keras.Model(
        [x, mask], [LearnedPrefix(2, name="prefix")(x), PrefixPadding(2)(mask), PrefixPadding(2, 0)(mask)]
    )
    a, seen = np.ones((2, 3, 2), "float32"), np.array([[True, False, True]] * 2)
    net.save(tmp_path / "net.keras")
    for each in (net, keras.models.load_model(tmp_path / "net.keras")):
        front, ones, zeros = (np.asarray(part) for part in each([a, seen]))
        np.testing.assert_array_equal(front[:, :2], np.repeat(net.get_layer("prefix").prefix.numpy(), 2, axis=0))
        np.testing.assert_array_equal(front[:, 2:], a)
        assert ones.tolist() == [[True, True, True, False, True]] * 2
        assert zeros.tolist() == [[False, False, True, False, True]] * 2
    for make in (lambda: LearnedPrefix(0), lambda: LearnedPrefix(1, -1.0), lambda: PrefixPadding(1, 2)):
        with pytest.raises(ArgumentError):
            make()
