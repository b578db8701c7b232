"""Warning of pixels from 0 to 255 for nets that take values about 0: where it comes, and where not."""

import warnings

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.core.errors import ArgumentError
from kerasdl.data import DataWarning, as_dataset
from kerasdl.data.model_fit import check_dataset_fits, warn_of_raw_pixels
from kerasdl.train import RunConfig, fit

SAID = "has pixels up to 255, and lenet5 takes values from -1 to 1. Map them by keras.layers.Rescaling"
LEVELS = np.random.default_rng(0).integers(0, 256, (12, 28, 28, 1)).astype("float32")
LEVELS[0, 0, 0, 0] = 255
LABELS = np.arange(12, dtype="int32") % 3
L = keras.layers


@pytest.fixture(scope="module")
def net():
    return kerasdl.build("lenet5", image_shape=(28, 28, 1), classes=3)


def pipeline(values):
    return tf.data.Dataset.from_tensor_slices((values, LABELS)).batch(4)


def is_silent(model, data) -> bool:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_raw_pixels(model, as_dataset(data, name="photos"))
    return not caught


@pytest.mark.parametrize("data", [(LEVELS, LABELS), (LEVELS.astype("uint8"), LABELS), pipeline(LEVELS)])
def test_levels_for_a_registered_net_are_named(net, data):
    with pytest.warns(DataWarning, match=f"photos {SAID}"):
        warn_of_raw_pixels(net, as_dataset(data, name="photos"))


def test_raw_images_by_name_are_named_and_scaled_ones_are_not(net):
    with pytest.warns(DataWarning, match="mnist has pixels up to 255"):
        warn_of_raw_pixels(net, kerasdl.data.load("mnist", scale=None))
    assert is_silent(net, kerasdl.data.load("mnist"))


def test_scaled_pixels_and_other_nets_are_not_named(net):
    assert is_silent(net, (LEVELS / 127.5 - 1, LABELS))
    assert is_silent(net, (LEVELS / 255, LABELS))
    assert is_silent(net, pipeline(LEVELS / 127.5 - 1))
    image = keras.Input((28, 28, 1))
    scaling = keras.Model(image, L.Dense(3)(L.Flatten()(L.Rescaling(1 / 255)(image))), name="lenet5")
    assert is_silent(scaling, (LEVELS, LABELS))
    scaled_too_late = keras.Model(image, L.Rescaling(2.0)(L.Dense(3)(L.Flatten()(image))), name="lenet5")
    assert not is_silent(scaled_too_late, (LEVELS, LABELS))
    rows = kerasdl.build("mlp", features=4, classes=3)
    assert is_silent(rows, (np.full((12, 4), 200.0, "float32"), LABELS))


@pytest.mark.parametrize("values", [LEVELS, LEVELS.astype("uint8")])
def test_levels_for_a_net_of_ones_own_that_does_not_scale_them_are_named(values):
    said = "photos has pixels up to 255, and own has no layer that scales them: nets learn best from -1 to 1. Map them"
    image = keras.Input((28, 28, 1))
    flat = L.Dense(3)(L.Flatten()(L.RandomFlip()(image)))
    layers = [L.Conv2D(4, 3), L.Flatten(), L.Dense(3)]
    for own in (keras.Model(image, flat, name="own"), keras.Sequential([L.Input((28, 28, 1)), *layers], name="own")):
        with pytest.warns(DataWarning, match=said):
            warn_of_raw_pixels(own, as_dataset((values, LABELS), name="photos"))
        assert is_silent(own, (values / 255, LABELS))
        assert is_silent(own, (LEVELS // 16, LABELS))  # the levels of scikit-learn's digits


@pytest.mark.parametrize(
    "scaled", [lambda x: x / 255, L.BatchNormalization(), L.Rescaling(1 / 255), L.Activation("tanh")]
)
def test_levels_for_a_net_of_ones_own_that_may_scale_them_are_not_named(scaled):
    image = keras.Input((28, 28, 1))
    own = keras.Model(image, L.Dense(3)(L.Flatten()(scaled(image))), name="own")
    assert is_silent(own, (LEVELS, LABELS))


def test_fit_and_evaluate_say_it(net):
    config = RunConfig(steps=1, batch_size=4, progress="off", strategy=None)
    with pytest.warns(DataWarning, match=SAID):
        fit(net, pipeline(LEVELS), task="image_classification", config=config)
    settings = {"image_shape": (28, 28, 1), "scale": (-1, 1)}
    bundle = Bundle.of(net, name="b", task="image_classification", preprocess=settings, labels=("a", "b", "c"))
    with pytest.warns(DataWarning, match=SAID):
        bundle.evaluate(pipeline(LEVELS))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bundle.evaluate((LEVELS.astype("uint8"), LABELS))  # raw images, which the bundle scales


def test_a_dataset_of_another_shape_is_refused(net):
    with pytest.raises(ArgumentError, match="must have the shape and dtype that 'lenet5' takes"):
        check_dataset_fits(net, as_dataset((LEVELS[:, :20], LABELS)))


def test_warnings_name_the_line_that_called_kerasdl(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(4):
            PIL.Image.new("RGB", (8, 8), (number, len(label), 0)).save(tmp_path / label / f"{number}.png")
    (tmp_path / "cat" / "broken.png").write_bytes(b"\x89PNG")
    net = kerasdl.build("lenet5", image_shape=(28, 28, 1), classes=10)
    pixels = np.full((4, 28, 28, 1), 255, np.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kerasdl.data.load(f"folder:{tmp_path}", "all")
        config = kerasdl.train.RunConfig(epochs=1, progress="off")
        kerasdl.train.fit(net, (pixels, np.arange(4)), config=config)
    places = {str(each.message)[:10]: each.filename for each in caught if each.category is DataWarning}
    assert len(places) == 3
    assert set(places.values()) == {__file__}
