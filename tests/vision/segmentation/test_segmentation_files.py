"""Segmenters from a bundle to a file: answers, figures, classes of each pixel, and the program beside a file."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from bright_squares import bright, pointwise
from PIL import Image

import kerasdl
from kerasdl import Bundle
from kerasdl.core import ArgumentError
from kerasdl.core.errors import BundleError, DataError
from kerasdl.data import load
from kerasdl.deploy import run_exported
from kerasdl.vision.segmentation import PixelDecoder, Segmenter
from kerasdl.vision.segmentation.logits_of_pixels import chosen_classes, resized_scores
from kerasdl.vision.segmentation.task import class_map

SETTINGS = {"image_shape": (16, 16, 3), "scale": (-1.0, 1.0)}


def bundle_of(network, labels=("ground", "red", "green")):
    return Bundle.of(network, name="mine", task="semantic_segmentation", preprocess=SETTINGS, labels=labels)


def test_a_bundle_answers_by_names_shares_and_masks(tmp_path):
    network = pointwise()
    path = bundle_of(network).save(tmp_path / "mine.zip")
    bundle = kerasdl.load_bundle(path)
    image = np.random.default_rng(0).integers(0, 256, (20, 33, 3)).astype("uint8")
    (result,) = bundle.predict([image])
    assert sum(result["shares"]) == pytest.approx(1)
    classes = class_map(result, bundle.labels)
    np.testing.assert_array_equal(classes, Segmenter(network).predict(image)[0])
    for label, share in zip(result["labels"], result["shares"], strict=True):
        assert share == (classes == bundle.labels.index(label)).mean()
    assert bundle.task.table(result)[0]["share"] == max(result["shares"])
    (folder := tmp_path / "drawn").mkdir()
    written = kerasdl.cli.write_drawings(folder, ["a.png"], [image], [result], bundle)
    assert written == ["a.png", "a_classes.png"]
    with Image.open(folder / "a_classes.png") as indexed:
        assert indexed.mode == "P"
        np.testing.assert_array_equal(np.asarray(indexed), classes)


def test_a_bundle_is_measured_on_raw_images_of_any_size():
    images, labels = bright(6)
    bundle = bundle_of(pointwise())
    levels = np.round((images + 1) * 127.5).astype("uint8")
    figures = bundle.evaluate((levels, {"semantic": labels}))
    wanted = Segmenter(bundle.model).mean_iou((levels / np.float32(127.5) - 1, labels))
    assert figures["mean_iou"] == pytest.approx(float(wanted.result()), abs=1e-6)
    assert {"IoU ground", "IoU red", "IoU green", "pixel_accuracy"} <= set(figures)
    twice = (levels.repeat(2, axis=1).repeat(2, axis=2), {"semantic": labels.repeat(2, axis=1).repeat(2, axis=2)})
    assert bundle.evaluate(twice)["mean_iou"] == pytest.approx(figures["mean_iou"], abs=0.02)
    with pytest.raises(ArgumentError, match="maps of classes"):
        bundle.evaluate(load("shapes", size=2, scale=None))
    with pytest.raises(BundleError, match="a label for each of its 3 classes"):
        bundle_of(pointwise(), ("a", "b"))


@pytest.mark.parametrize(
    ("file", "settings"), [("m.tflite", {}), ("m.tflite", {"quantize": "int8"}), ("m.onnx", {}), ("m", {})]
)
def test_files_give_the_class_of_each_pixel_of_their_raw_image(tmp_path, file, settings):
    bundle = bundle_of(pointwise())
    images, labels = bright(24)
    levels = np.round((images + 1) * 127.5).astype("uint8").repeat(2, axis=1).repeat(3, axis=2)
    data = (levels, {"semantic": labels.repeat(2, axis=1).repeat(3, axis=2)})
    report = bundle.export(tmp_path / file, representative=data, raw_shape=(32, 48, 3), **settings)
    assert {each.name for each in report.outputs} == {"classes", "scores"}
    found = run_exported(tmp_path / file, {report.inputs[0].name: levels[:1].astype("float32")})
    assert found["classes"].shape == (1, 32, 48)
    same = (found["classes"][0] == Segmenter(bundle.model).predict(levels[0])[0]).mean()
    assert same >= (0.9 if settings else 0.98)  # the file resizes without rounding to levels


@pytest.mark.parametrize("file", ["m.tflite", "m.onnx"])
def test_the_program_beside_a_file_gives_the_classes_of_the_photo(tmp_path, file):
    bundle = bundle_of(pointwise())
    images, labels = bright(24)
    levels = np.round((images + 1) * 127.5).astype("uint8")
    bundle.export(tmp_path / file, representative=(levels, {"semantic": labels}))
    photo = levels[0].repeat(2, axis=1).repeat(3, axis=0)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    command = [sys.executable, f"{file}.py", "photo.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "photo_classes.png") as answer:
        found = np.asarray(answer)
    prepared = kerasdl.data.prepare_images(photo, (16, 16, 3))
    small = Segmenter(bundle.model).segment(prepared)[0].argmax(axis=-1)
    np.testing.assert_array_equal(found, small.repeat(2, axis=1).repeat(3, axis=0))
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert {label for _, label, _ in rows} == {bundle.labels[each] for each in np.unique(small)}
    for _, label, share in rows:
        assert float(share) == pytest.approx((small == bundle.labels.index(label)).mean(), abs=1e-4)
    missing = subprocess.run([*command[:2], "none.png"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert missing.returncode == 1
    assert "cannot read the image none.png" in missing.stderr
    alike = subprocess.run([*command, "more/photo.jpg"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert alike.returncode == 1
    assert "unlike names" in alike.stderr


def test_a_class_that_is_neither_labelled_nor_answered_has_no_figure():
    network = pointwise()
    network.get_layer("logits").set_weights([np.zeros((1, 1, 8, 3), "float32"), np.array([1, 0, -9], "float32")])
    images, labels = np.zeros((2, 16, 16, 3), "uint8"), np.zeros((2, 16, 16), "uint8")
    labels[:, 8:] = 1
    figures = bundle_of(network).evaluate((images, labels))
    assert figures["IoU ground"] == figures["pixel_accuracy"] == 0.5
    assert figures["mean_iou"] == 0.25
    assert {"IoU red"} == {name for name in figures if name.startswith("IoU")} - {"IoU ground"}


def test_maps_of_another_size_than_their_images_are_refused():
    bundle, images = bundle_of(pointwise()), np.zeros((2, 20, 30, 3), "uint8")
    with pytest.raises(DataError, match=r"size of their images, \(20, 30\); got \(30, 20\) at 0"):
        bundle.evaluate((images, np.zeros((2, 30, 20), "uint8")))
    of_sizes = [np.zeros((20, 30), "uint8"), np.zeros((30, 20), "uint8")]
    with pytest.raises(DataError, match=r"got \(30, 20\) at 1"):
        bundle.evaluate((images, {"semantic": of_sizes}))


def test_the_decoder_gives_class_and_probability():
    logits = np.random.default_rng(0).normal(0, 3, (2, 6, 5, 4)).astype("float32")
    found = PixelDecoder((12, 20))(logits)
    scores = resized_scores(keras.ops.softmax(logits).numpy(), (12, 20))
    np.testing.assert_array_equal(found["classes"], np.stack([chosen_classes(each) for each in scores]))
    np.testing.assert_allclose(found["scores"], scores.max(axis=-1), rtol=1e-6)
    one = PixelDecoder()(logits[..., :1])
    np.testing.assert_array_equal(one["classes"], logits[..., 0] > 0)
    assert (one["scores"].numpy() >= 0.5).all()
    decoder = PixelDecoder.from_config(PixelDecoder((12, 20)).get_config())
    assert decoder.image_size == (12, 20)
    many = {"classes": np.zeros((2, 100, 100), int)}
    few, more = np.zeros((2, 2, 100, 100), int)
    few[0, 0, :10], more[0, 0, :11] = 1, 1
    assert not decoder.in_order_of(many, {"classes": few})["classes"].any()
    assert decoder.in_order_of(many, {"classes": more})["classes"].sum() == 11
