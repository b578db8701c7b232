"""Exports of a bundle: options by format, the report beside the file, labels and preprocessing inside it."""

import io
import json
from typing import get_type_hints

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kerasdl
from kerasdl.bundles.operations.exports import ExportKeywords, ExportOptions
from kerasdl.core import ArgumentError, UnknownNameError


@pytest.mark.parametrize(
    ("file", "options", "rule"),
    [
        ("model.onnx", {"integer_io": True}, r"integer_io is for \.tflite"),
        ("model.onnx", {"correct_biases": True}, r"correct_biases is for \.tflite"),
        ("model.tflite", {"opset": 17}, r"opset is for \.onnx"),
        ("model", {"quantize": "int8"}, r"quantize is for \.tflite and \.onnx"),
        ("model.tflite", {"image_bytes": True}, "image_bytes is for a folder"),
    ],
)
def test_each_option_has_its_formats(file, options, rule, digits, tmp_path):
    with pytest.raises(ArgumentError, match=rule):
        digits.export(tmp_path / file, **options)
    assert not list(tmp_path.iterdir())


def test_the_report_stands_beside_and_the_card_has_a_line(tmp_path):
    bundle = kerasdl.load_bundle("digits_mobilenet")
    report = bundle.export(
        tmp_path / "net.tflite", quantize="int8", representative="digits", integer_io=True, layer_report=True
    )
    assert json.loads((tmp_path / "net.tflite.json").read_text())["bytes"] == report.bytes
    assert report.layers[0].error >= report.layers[-1].error > 0
    (line,) = [line for line in bundle.card().splitlines() if "exported as tflite int8" in line]
    assert f"{report.bytes:,} bytes" in line
    loaded = kerasdl.load_bundle(bundle.save(tmp_path / "again.zip"))
    assert line in loaded.card().splitlines()


def test_labels_and_preprocessing_go_along(digits, tmp_path):
    digits.export(tmp_path / "net.tflite")
    metadata = kerasdl.deploy.read_metadata(tmp_path / "net.tflite")
    assert metadata["labels"] == list(digits.labels)
    assert tuple(metadata["preprocessing"]["image_shape"]) == (32, 32, 3)


def test_onnx_in_integers(digits, tmp_path):
    report = digits.export(
        tmp_path / "net.onnx", representative="digits", quantize="int8", opset=17, dynamic_axes="batch"
    )
    assert report.top1_agreement > 0.95
    assert report.operations["DequantizeLinear"] > 10


@pytest.mark.slow
def test_a_served_folder_takes_files_as_predict_does(digits, raw, tmp_path):
    images, _ = raw
    contents = []
    for image in images[:8]:
        stream = io.BytesIO()
        Image.fromarray(np.repeat(image, 3, axis=-1).repeat(5, axis=0).repeat(7, axis=1)).save(stream, "PNG")
        contents.append(stream.getvalue())
    digits.export(tmp_path / "served", image_bytes=True)
    serve = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_bytes"]
    given = serve(image_bytes=tf.constant(contents))
    decoded = [np.asarray(Image.open(io.BytesIO(each))) for each in contents]
    np.testing.assert_allclose(given["head"], digits.logits(decoded), atol=1e-4)
    assert [label.decode() for label in given["label"].numpy()] == [row["label"] for row in digits.predict(decoded)]


def test_an_option_with_a_slip_of_the_pen_is_refused_by_name(digits, tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'integer_io'"):
        digits.export(tmp_path / "net.tflite", integer_oi=True)
    assert not list(tmp_path.iterdir())


def test_type_checkers_see_every_option_in_its_own_type():
    shown = get_type_hints(ExportKeywords) | {"quantize": str | None, "tolerance": float | None}
    assert shown == get_type_hints(ExportOptions)
