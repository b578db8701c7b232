"""Old models as people have them: text nets whose input is float, augmentation inside the net, SavedModel folders."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from kerasdl.core.errors import ArgumentError, ExportError
from kerasdl.deploy import from_tf_keras
from kerasdl.layers.migrated import BearsMask, legacy_hard_sigmoid

L = tf_keras.layers
AUGMENTATION = {
    "RandomFlip": L.RandomFlip,
    "RandomRotation": lambda: L.RandomRotation(0.2),
    "RandomZoom": lambda: L.RandomZoom(0.2),
    "RandomTranslation": lambda: L.RandomTranslation(0.1, 0.1),
    "RandomContrast": lambda: L.RandomContrast(0.3),
    "RandomBrightness": lambda: L.RandomBrightness(0.3),
    "GaussianNoise": lambda: L.GaussianNoise(0.3),
    "GaussianDropout": lambda: L.GaussianDropout(0.3),
    "AlphaDropout": lambda: L.AlphaDropout(0.3),
    "SpatialDropout2D": lambda: L.SpatialDropout2D(0.3),
}


@pytest.mark.parametrize("name", AUGMENTATION)
def test_augmentation_is_still_at_inference_and_at_work_in_training(name):
    old = tf_keras.Sequential([L.Input((8, 8, 3)), AUGMENTATION[name](), L.Conv2D(2, 3)])
    new = from_tf_keras(old)
    x = np.random.default_rng(0).uniform(size=(4, 8, 8, 3)).astype("float32")
    still = np.asarray(new(x, training=False))
    np.testing.assert_allclose(still, old(x, training=False), atol=1e-5)
    assert np.abs(np.asarray(new(x, training=True)) - still).max() > 1e-3


@pytest.mark.parametrize("make", [lambda: L.RandomCrop(6, 6), lambda: L.RandomHeight(0.2), lambda: L.RandomWidth(0.2)])
def test_what_keras_3_does_otherwise_is_refused_by_name(make):
    layer = make()
    old = tf_keras.Sequential([L.Input((8, 8, 3)), layer])
    with pytest.raises(ExportError, match=layer.name):
        from_tf_keras(old)


@pytest.mark.parametrize(
    "head",
    [
        lambda: [L.Embedding(20, 4, input_length=7), L.Flatten(), L.Dense(2)],
        lambda: [L.Embedding(20, 4, mask_zero=True), L.LSTM(3)],
    ],
    ids=["flattened", "masked"],
)
def test_a_text_model_without_an_input_layer(head):
    old = tf_keras.Sequential(head())
    ids = np.random.default_rng(0).integers(0, 20, (3, 7)).astype("float32")
    expected = old(ids)
    assert old.inputs[0].dtype == tf.float32
    np.testing.assert_allclose(from_tf_keras(old)(ids), expected, atol=1e-5)


def test_a_saved_model_folder_gets_a_sentence(tmp_path):
    old = tf_keras.Sequential([L.Input((3,)), L.Dense(2)])
    tf.saved_model.save(old, str(tmp_path / "saved"))
    with pytest.raises(ArgumentError, match=r"A SavedModel holds no layers: save the model as \.h5"):
        from_tf_keras(tmp_path / "saved")


LOAD = "import sys, kerasdl, keras; print(keras.models.load_model(sys.argv[1]).count_params())"


@pytest.mark.slow
def test_what_migration_puts_in_loads_after_import_kerasdl_alone(tmp_path):
    x, mask = keras.Input((2, 3)), keras.Input((2,), dtype="bool")
    hidden = keras.layers.Dense(2, activation=legacy_hard_sigmoid)(BearsMask()([x, mask]))
    keras.Model([x, mask], hidden).save(tmp_path / "net.keras")
    command = [sys.executable, "-c", LOAD, str(tmp_path / "net.keras")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()[-1:]) == (0, ["8"]), done.stderr[-1000:]
