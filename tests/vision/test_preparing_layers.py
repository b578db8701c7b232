"""Preprocessing in the graph of an exported file: pixels within one grey level of `prepare_images`."""

from pathlib import Path

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.data import prepare_images
from kerasdl.deploy import export_onnx, export_tflite, run_exported
from kerasdl.vision.classification.task import preparing_layers

PHOTOS = sorted((Path(__file__).parent.parent / "bundles" / "photos").glob("*.jpg"))
SHAPES = {
    "shrink": (224, 200),
    "grow": (50, 70),
    "odd": (97, 131),
    "one side each way": (64, 250),
    "as it is": (128, 96),
}


def preparing_model(raw_shape):
    x = raw = keras.Input(raw_shape, name="raw")
    for layer in preparing_layers({"image_shape": (128, 96, 3), "scale": (0, 255)}, raw_shape):
        x = layer(x)
    return keras.Model(raw, x)


@pytest.mark.parametrize("size", SHAPES.values(), ids=SHAPES)
def test_photos_are_within_one_grey_level_of_predict(size):
    raw = prepare_images(PHOTOS, (*size, 3), None)
    expected = prepare_images(raw, (128, 96, 3), None).astype("float32")
    distance = np.abs(preparing_model((*size, 3))(raw.astype("float32")).numpy() - expected)
    assert distance.max() <= 1 + 1e-3
    assert distance.mean() < 0.35


def test_small_pictures_are_within_one_grey_level_of_predict():
    raw, _ = kerasdl.data.load("emoji_kinds", "test", scale=None).take(40).arrays()
    expected = prepare_images(raw, (32, 32, 3), None).astype("float32")
    (layer, _) = preparing_layers({"image_shape": (32, 32, 3), "scale": (0, 255)}, raw.shape[1:])
    assert np.abs(layer(raw.astype("float32")).numpy() - expected).max() <= 1 + 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "quantize", "levels"), [("a.tflite", None, 1), ("a.tflite", "int8", 3), ("a.onnx", None, 1)]
)
def test_files_resize_as_the_layers_do(file, quantize, levels, tmp_path):
    raw = prepare_images(PHOTOS, (97, 131, 3), None)
    export = export_tflite if file.endswith("tflite") else export_onnx
    pixels = raw.astype("float32")
    export(preparing_model((97, 131, 3)), tmp_path / file, quantize=quantize, representative=pixels)
    (found,) = run_exported(tmp_path / file, pixels).values()
    assert np.abs(found - prepare_images(raw, (128, 96, 3), None)).max() <= levels + 0.01
