"""A bundle for images of another size keeps its weights, and is refused where they depend on the size."""

import warnings

import numpy as np
import pytest

import kerasdl
from kerasdl.bundles import Bundle, resized
from kerasdl.core import ArgumentError, BundleError
from kerasdl.data import DataWarning


@pytest.fixture(scope="module")
def digits():
    return kerasdl.load_bundle("digits_mobilenet")


def test_weights_labels_and_pixels_stay(digits):
    larger = resized(digits, (64, 64, 3))
    assert larger.model.input_shape == (None, 64, 64, 3)
    assert larger.labels == digits.labels
    assert larger.preprocess["scale"] == digits.preprocess["scale"]
    assert larger.manifest.provenance["resized from"] == (32, 32, 3)
    assert not larger.manifest.metrics
    for before, after in zip(digits.model.get_weights(), larger.model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_same_size_gives_the_same_answers(digits):
    images, _ = kerasdl.data.load("digits", "test", scale=None).take(8).arrays()
    np.testing.assert_allclose(resized(digits, (32, 32, 3)).logits(images), digits.logits(images), atol=1e-6)


def test_a_resized_bundle_is_saved_tuned_and_loaded(digits, tmp_path):
    few = kerasdl.data.load("digits").per_class(1)
    quiet = kerasdl.train.RunConfig(progress="off")
    tuned = resized(digits, (40, 48, 3)).finetune(few, epochs=1, config=quiet)
    loaded = kerasdl.load_bundle(tuned.save(tmp_path / "tuned.zip"))
    assert loaded.model.input_shape == (None, 40, 48, 3)
    again = resized(loaded, (32, 32, 3))
    np.testing.assert_array_equal(again.model.get_weights()[0], tuned.model.get_weights()[0])


def test_learned_positions_are_refused():
    with pytest.raises(BundleError, match=r"position.*net of convolutions"):
        resized(kerasdl.load_bundle("glyphs_vit"), (64, 64, 3))


def test_other_channels_and_impossible_sizes_are_refused(digits):
    with pytest.raises(ArgumentError, match="channels of the bundle"):
        resized(digits, (32, 32, 1))
    with pytest.raises(ArgumentError, match="image_shape"):
        resized(digits, (0, 32, 3))


@pytest.mark.parametrize(("name", "small", "enough"), [("glyphs_resnet", 8, 32), ("shapes_yolo", 16, 32)])
def test_images_that_leave_one_place_of_the_last_map_are_warned_of(name, small, enough):
    bundle = kerasdl.load_bundle(name)
    with pytest.warns(DataWarning, match=f"images of {small}x{small} pixels leave 1x1 .* such as {enough}x{enough}"):
        resized(bundle, (small, small, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resized(bundle, (enough, enough, 3))


def test_a_model_of_ones_own_is_refused(digits):
    own = Bundle.of(digits.model, name="own", task=digits.task, preprocess=digits.preprocess, labels=digits.labels)
    with pytest.raises(BundleError, match="a model of its own"):
        resized(own, (64, 64, 3))
