"""Letterbox of detectors: the same in predict, evaluate, bundle, exported file and the description beside it."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from test_detector import tiny

import kerasdl
from kerasdl import Bundle
from kerasdl.core import get_task
from kerasdl.core.errors import BundleError
from kerasdl.data import as_dataset, prepare_images
from kerasdl.data.letterboxing import GREY, inset
from kerasdl.deploy import run_exported
from kerasdl.vision.classification.task import preparing_layers
from kerasdl.vision.detection.detector import Detector
from kerasdl.vision.detection.object_decoder import ObjectDecoder

SETTINGS = {"image_shape": (64, 64, 3), "scale": (-1.0, 1.0), "min_score": 0.02, "letterbox": True}


@pytest.fixture(scope="module")
def bundle():
    made = {"builder": "fcos", "arguments": kerasdl.spec("fcos").tiny}
    return Bundle.of(
        tiny("fcos"), name="mine", task="object_detection", preprocess=SETTINGS, labels=("r", "g", "b"), **made
    )


@pytest.fixture(scope="module")
def wide():
    """Image of 24 x 80 pixels: 19 x 64 in the letterbox, with 22 rows above it and 23 below."""
    return np.random.default_rng(0).integers(0, 255, (24, 80, 3), "uint8")


def test_predict_gives_boxes_in_pixels_of_the_image(wide):
    detector = Detector(tiny("fcos"))
    (found,) = detector.predict(wide, letterbox=True, min_score=0.02)
    (inside,) = detector.detect(prepare_images(wide, (64, 64, 3), letterbox=True), min_score=0.02)
    expected = (inside.boxes - [0, 22, 0, 22]) * [80 / 64, 24 / 19, 80 / 64, 24 / 19]
    assert len(found.boxes) > 3
    np.testing.assert_allclose(found.boxes, np.clip(expected, 0, [80, 24, 80, 24]), atol=1e-4)
    np.testing.assert_array_equal(found.scores, inside.scores)
    assert not np.array_equal(found.scores, detector.predict(wide, min_score=0.02)[0].scores)


def test_the_decoder_of_a_file_does_the_same(wide):
    network = tiny("fcos")
    given = {"image_size": (24, 80), "letterbox": True, "min_score": 0.02}
    decoder = ObjectDecoder("fcos", (64, 64), **given)
    answer = ObjectDecoder.from_config(decoder.get_config())(network(prepare_images(wide, (64, 64, 3), letterbox=True)))
    (found,) = Detector(network).predict(wide, letterbox=True, min_score=0.02)
    count = int(answer["count"][0])
    assert count == len(found.boxes)
    np.testing.assert_allclose(answer["boxes"][0, :count], found.boxes, atol=1e-3)
    assert not answer["boxes"][0, count:].numpy().any()


def test_a_bundle_keeps_it_and_moves_the_boxes_of_its_data(bundle, wide, tmp_path):
    again = kerasdl.load_bundle(bundle.save(tmp_path / "mine.zip"))
    assert again.preprocess["letterbox"] is True
    (answer,) = again.predict(wide)
    (found,) = Detector(again.model).predict(wide, letterbox=True, min_score=0.02)
    np.testing.assert_allclose(answer["boxes"], found.boxes, atol=1e-4)
    labels = {"boxes": [np.array([[10, 4, 40, 24]])] * 2, "classes": [np.zeros(1, int)] * 2}
    data = again.ready(as_dataset(([wide, wide[:, :40]], labels)))
    ((first,), (second,)) = data.source.labels["boxes"]
    np.testing.assert_allclose(first, [8, 22 + 4 * 19 / 24, 32, 41], rtol=1e-5)
    place = inset((24, 40), (64, 64))
    np.testing.assert_allclose(second[[0, 3]], [10 * 64 / 40, place.top + place.height], rtol=1e-5)
    np.testing.assert_array_equal(data.arrays()[0][:1], prepare_images(wide, (64, 64, 3), letterbox=True))


def test_masks_move_with_the_boxes_of_data():
    box, mask = np.array([[10, 4, 40, 24]], "float32"), np.zeros((1, 24, 80), "uint8")
    mask[0, 4:24, 10:40] = 1
    labels = {"boxes": [box], "classes": [np.zeros(1, int)], "masks": [mask]}
    raw = as_dataset((np.zeros((1, 24, 80, 3), "uint8"), labels))
    ((_, moved),) = get_task("object_detection").ready(raw, SETTINGS)
    rows, columns = (np.arange(64) + 0.5 for _ in range(2))
    left, top, right, bottom = moved["boxes"][0]
    inside = np.outer((rows > top) & (rows < bottom), (columns > left) & (columns < right))
    np.testing.assert_array_equal(moved["masks"], inside[np.newaxis])
    ((_, stretched),) = raw.prepared((48, 160, 3))
    np.testing.assert_array_equal(stretched["masks"][0], mask[0].repeat(2, axis=0).repeat(2, axis=1))


@pytest.mark.parametrize("raw_shape", [(24, 80, 3), (90, 50, 3), (64, 64, 3), (128, 128, 3)])
def test_layers_of_an_exported_graph_are_within_one_grey_level(raw_shape):
    image = np.random.default_rng(1).integers(0, 255, (1, *raw_shape), "uint8")
    x = raw = keras.Input(raw_shape)
    for layer in preparing_layers({**SETTINGS, "scale": (0, 255)}, raw_shape):
        x = layer(x)
    given = keras.Model(raw, x)(image.astype("float32")).numpy()
    expected = prepare_images(image, (64, 64, 3), None, letterbox=True).astype("float32")
    assert np.abs(given - expected).max() <= 1 + 1e-3
    borders = (expected == GREY).all(axis=(0, 3))
    np.testing.assert_allclose(given[0][borders], GREY, atol=1e-4)


def test_a_file_with_the_preprocessing_gives_boxes_of_the_raw_image(bundle, wide, tmp_path):
    bundle.export(tmp_path / "raw.tflite", raw_shape=(24, 80, 3))
    found = run_exported(tmp_path / "raw.tflite", wide[None].astype("float32"))
    (answer,) = bundle.predict(wide)
    count = int(found["count"][0])
    assert abs(count - len(answer["boxes"])) <= 2  # scores near the bound, after pixels that are not rounded
    near = np.abs(found["boxes"][0][:count, None] - np.array(answer["boxes"])[None]).max(axis=-1)
    assert (near.min(axis=1) < 1.0).mean() > 0.9
    facts = json.loads((tmp_path / "raw.tflite.json").read_text())
    assert facts["image"]["letterbox"] == GREY
    assert any("level 114" in step for step in facts["image"]["steps"])


def test_a_letterbox_is_true_or_false_and_of_detectors_alone(bundle):
    with pytest.raises(BundleError, match="letterbox must be one of"):
        dataclasses.replace(bundle, preprocess={**SETTINGS, "letterbox": "grey"})
    digits = kerasdl.load_bundle("digits_mobilenet")
    with pytest.raises(BundleError, match="letterbox is for detectors"):
        dataclasses.replace(digits, preprocess={**digits.preprocess, "letterbox": True})
