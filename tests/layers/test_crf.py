"""CRF as a layer: what it computes, saving, narrow policies, and a task that only a chain can learn."""

import keras
import numpy as np
import pytest

from kerasdl import layers, losses, ops
from kerasdl.core import ArgumentError

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(2, 4, 3)).astype("float32")
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool)


def net(length=4):
    logits, mask = keras.Input((length, 3), name="logits"), keras.Input((length,), dtype="bool", name="mask")
    return keras.Model([logits, mask], layers.CRF(name="crf")([logits, mask]))


def test_the_layer_gives_the_potentials_of_its_weights_and_survives_a_save(tmp_path):
    model = net()
    weights = [RNG.normal(size=weight.shape).astype("float32") for weight in model.weights]
    model.set_weights(weights)
    assert [weight.name for weight in model.weights] == ["transitions", "start", "end"]
    found = model([LOGITS, MASK]).numpy()
    np.testing.assert_array_equal(found, ops.chain_potentials(LOGITS, *weights, MASK))
    plain = layers.CRF()
    plain.build((None, 4, 3))
    plain.set_weights(weights)
    np.testing.assert_array_equal(plain(LOGITS), ops.chain_potentials(LOGITS, *weights))
    assert model.output_shape == (None, 4, 3, 3)
    assert net(None).output_shape == (None, None, 3, 3)
    model.save(tmp_path / "net.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "net.keras")([LOGITS, MASK]), found)


def test_what_stands_behind_the_tokens_changes_nothing():
    model = net(None)
    model.set_weights([RNG.normal(size=weight.shape) for weight in model.weights])
    longer = [np.pad(LOGITS, [(0, 0), (0, 3), (0, 0)], constant_values=7), np.pad(MASK, [(0, 0), (0, 3)])]
    for read in (ops.chain_log_partition, lambda potentials: ops.viterbi(potentials)[1]):
        np.testing.assert_allclose(read(model(longer)), read(model([LOGITS, MASK])), rtol=1e-5)


def test_it_computes_in_float32_under_a_narrow_policy():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = layers.CRF("zeros")
    finally:
        keras.config.set_dtype_policy(before)
    assert layer(LOGITS)[0, 0, 0].numpy().tolist() == LOGITS[0, 0].tolist()  # bfloat16 would round them


def test_a_chain_learns_what_tokens_do_not_show():
    """Tags take turns, and tokens show nothing: a net without a chain is right half the time."""
    model = keras.Sequential([keras.Input((4, 1)), keras.layers.Dense(2), layers.CRF()])
    tags = (np.arange(4) + np.arange(8)[:, None]) % 2
    seen = np.where(np.arange(4) == 0, tags[:, :1] - 0.5, 0.0)[..., None].astype("float32")  # the first is shown
    model.compile(keras.optimizers.Adam(0.3), loss=losses.CRFLoss(), run_eagerly=True)
    model.fit(seen, tags, epochs=25, verbose=0)
    assert (ops.viterbi(model(seen))[0].numpy() == tags).all()
    likelihood = ops.chain_log_likelihood(model(seen), np.where(np.arange(4) < 2, tags, -1))
    assert float(likelihood.numpy().max()) <= 0
    assert float(likelihood.numpy().min()) > -0.5


def test_labels_beyond_the_tags_and_other_shapes_are_named():
    potentials = np.zeros((1, 2, 3, 3), "float32")
    for predictions in (potentials, potentials[..., 0]):
        assert not np.isfinite(losses.CRFLoss()(np.array([[0, 3]]), predictions))
        assert not np.isfinite(losses.CRFLoss()(np.array([[-2, 0]]), predictions))
    independent = losses.CRFLoss()(np.array([[0, -1], [1, 2]]), LOGITS[:, :2])
    each = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
    expected = each(np.array([0, 1, 2]), LOGITS[[0, 1, 1], [0, 0, 1]]).numpy().sum() / 2
    assert float(independent) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ArgumentError, match="labels must be"):
        losses.CRFLoss()(np.zeros((2,)), potentials)
    with pytest.raises(ArgumentError, match="K known"):
        layers.CRF()(keras.Input((3,)))
