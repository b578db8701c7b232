"""CosFace and ArcFace against their equations, at inference, at the ends of the angle, and in a bundle's file."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl import layers
from kerasdl.core import ArgumentError

RNG = np.random.default_rng(0)
VECTORS, LABELS = RNG.normal(size=(5, 4)).astype("float32"), np.array([0, 2, 1, 1, 0])


def cosines(layer):
    centres = layer.get_weights()[0]
    return (VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)) @ (centres / np.linalg.norm(centres, axis=0))


@pytest.mark.parametrize(
    ("make", "lowered"),
    [
        (layers.CosFace, lambda cosine, margin: cosine - margin),
        (layers.ArcFace, lambda cosine, margin: np.cos(np.arccos(cosine) + margin)),
    ],
)
def test_the_true_class_alone_is_lowered_and_only_in_training(make, lowered):
    layer = make(3, margin=0.3, scale=10.0)
    trained, plain = layer([VECTORS, LABELS]).numpy(), layer(VECTORS).numpy()
    wanted = cosines(layer)
    np.testing.assert_allclose(plain, 10 * wanted, atol=1e-4)
    is_true = np.eye(3, dtype=bool)[LABELS]
    wanted[is_true] = lowered(wanted[is_true], 0.3)
    np.testing.assert_allclose(trained, 10 * wanted, atol=1e-4)


def test_the_angle_falls_throughout_and_has_gradients_at_its_ends():
    layer = layers.ArcFace(2, margin=0.5, scale=1.0)
    layer.build((None, 2))
    layer.set_weights([np.eye(2, dtype="float32")])
    angles = np.linspace(0, np.pi, 200)
    x = tf.constant(np.stack([np.cos(angles), np.sin(angles)], axis=1), "float32")
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = layer([x, np.zeros(200, "int32")])
    own = logits.numpy()[:, 0]
    assert (np.diff(own) < 1e-6).all()
    assert np.isfinite(tape.gradient(logits, x)).all()
    assert np.isfinite(layer([np.zeros((1, 2), "float32"), np.array([0])])).all()


@pytest.mark.parametrize("make", [layers.CosFace, layers.ArcFace])
def test_margins_survive_a_save_and_stay_wide_in_narrow_precision(make, tmp_path):
    inputs = [keras.Input((4,)), keras.Input((), dtype="int32")]
    model = keras.Model(inputs, make(3, margin=0.2, scale=8.0, dtype="mixed_bfloat16")(inputs))
    assert model.output.dtype == "float32"
    model.save(tmp_path / "margin.keras")
    again = keras.models.load_model(tmp_path / "margin.keras")
    np.testing.assert_array_equal(again([VECTORS, LABELS]), model([VECTORS, LABELS]))


def test_what_does_not_fit_is_refused():
    for make in (layers.CosFace, layers.ArcFace):
        with pytest.raises(ArgumentError, match="classes must be an integer of 2 or more"):
            make(1)
        with pytest.raises(ArgumentError, match="margin"):
            make(3, margin=2.0)
        with pytest.raises(ArgumentError, match="inputs must be embeddings"):
            make(3)(np.zeros((2, 3, 4), "float32"))
