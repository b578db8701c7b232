"""Files that take pixels as a camera gives them and give probabilities; their comparison with `predict`."""

import dataclasses
import json

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.bundles.operations.file_description import described
from kerasdl.core import ArgumentError
from kerasdl.core.registry import tasks
from kerasdl.data import prepare_images
from kerasdl.deploy import read_metadata, run_exported

RAW = (40, 36, 3)
SETTINGS = {"image_shape": (8, 8, 3), "scale": (0, 1)}
VARIANTS = {
    "float32": ("a.tflite", {}, 0.02),
    "float16": ("a.tflite", {"quantize": "float16"}, 0.05),
    "dynamic": ("a.tflite", {"quantize": "dynamic"}, 0.1),
    "int8": ("a.tflite", {"quantize": "int8"}, 0.2),
    "integer_io": ("a.tflite", {"quantize": "int8", "integer_io": True}, 0.2),
    "onnx": ("a.onnx", {}, 0.02),
    "onnx_int8": ("b.onnx", {"quantize": "int8"}, 0.2),
    "saved_model": ("served", {}, 0.02),
}
QUICK = ("float32", "int8")


@pytest.fixture(scope="module")
def pixels():
    images, _ = kerasdl.data.load("digits", "test", scale=None).take(60).arrays()
    return prepare_images(images, RAW, None)


def probabilities(bundle, images):
    rows = bundle.predict(list(images))
    return np.array([[row["scores"][label] for label in bundle.labels] for row in rows])


@pytest.mark.parametrize(
    "variant", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]
)
def test_uint8_pixels_go_in_and_probabilities_come_out(variant, digits, pixels, tmp_path):
    file, settings, bound = VARIANTS[variant]
    options = {"raw_dtype": "uint8", "scores": True, **settings}
    report = digits.export(tmp_path / file, raw_shape=RAW, representative="digits", **options)
    assert [each.dtype for each in report.inputs] == ["uint8"]
    (found,) = run_exported(tmp_path / file, pixels).values()
    expected = probabilities(digits, pixels)
    assert np.mean(found.argmax(axis=-1) == expected.argmax(axis=-1)) >= 0.95
    assert np.sqrt(np.mean((found - expected) ** 2)) < bound
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=0.03)
    assert report.predict_examples == 128
    assert report.predict_agreement >= 0.95
    with pytest.raises(ArgumentError, match="must be uint8"):
        run_exported(tmp_path / file, pixels.astype("float32"))


def softmax_bundle(activation="softmax", task="image_classification"):
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(6, 3)(image))
    model = keras.Model(image, keras.layers.Dense(4, activation=activation, name="head")(x))
    return Bundle.of(model, name="own", task=task, preprocess=SETTINGS, labels=list("abcd"))


def test_a_model_that_ends_in_a_softmax_gets_no_second_one(tmp_path):
    bundle, images = softmax_bundle(), np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    report = bundle.export(tmp_path / "own.tflite", scores=True)
    assert report.operations["SOFTMAX"] == 1
    (found,) = run_exported(tmp_path / "own.tflite", prepare_images(images, (8, 8, 3), (0, 1))).values()
    np.testing.assert_allclose(found, probabilities(bundle, images), atol=1e-5)


def test_scores_of_several_labels_are_a_sigmoid(tmp_path):
    bundle = softmax_bundle(None, "multi_label_classification")
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)
    layers = len(bundle.model.layers)
    report = bundle.export(tmp_path / "own.tflite", representative=list(images), scores=True)
    assert len(bundle.model.layers) == layers
    (found,) = run_exported(tmp_path / "own.tflite", prepare_images(images, (8, 8, 3), (0, 1))).values()
    np.testing.assert_allclose(found, probabilities(bundle, images), atol=1e-5)
    assert (report.predict_agreement, report.predict_examples) == (1, 30)


def test_options_that_cannot_work_are_refused(digits, tmp_path):
    model = kerasdl.build("mlp", features=2, classes=1)
    settings = {"mean": [0.0, 0.0], "std": [1.0, 1.0]}
    prices = Bundle.of(model, name="prices", task="tabular_regression", preprocess=settings)
    for bundle, options, arguments, rule in (
        (prices, {"scores": True}, {}, "scores is for tasks whose answers are probabilities"),
        (prices, {"raw_dtype": "uint8"}, {"raw_shape": (2,)}, "is for bundles of images"),
        (digits, {"raw_dtype": "uint8"}, {}, "needs raw_shape"),
        (digits, {"raw_dtype": "int8"}, {"raw_shape": RAW}, "raw_dtype must be one of"),
        (digits, {"scores": True, "trainable": True}, {}, "must give logits"),
    ):
        with pytest.raises(ArgumentError, match=rule):
            bundle.export(tmp_path / "a.tflite", **options, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_file_that_resizes_otherwise_than_predict_is_reported(digits, tmp_path, monkeypatch):
    """The traced graph has the same fault as the file, so that only the comparison with `predict` shows it."""

    def coarse(settings, raw_shape):
        return [keras.layers.Resizing(4, 4), keras.layers.Resizing(32, 32), keras.layers.Rescaling(1 / 127.5, -1)]

    faulty = dataclasses.replace(digits.task, preprocess_layers=coarse)
    monkeypatch.setitem(tasks._tasks, "image_classification", faulty)
    report = digits.export(tmp_path / "a.tflite", raw_shape=(64, 64, 3), representative="digits")
    assert report.worst_relative < 1e-3
    assert report.top1_agreement == 1
    assert report.predict_agreement < 0.9
    assert report.predict_difference > 0.3
    same = round(report.predict_agreement * report.predict_examples)
    words = f"same answer as predict on {same} of 128 examples"
    assert words in report.to_markdown()
    assert words in digits.card()
    assert words in (tmp_path / "a.tflite.md").read_text()
    assert json.loads((tmp_path / "a.tflite.json").read_text())["predict_agreement"] == report.predict_agreement


def test_without_data_the_report_says_noise(digits, tmp_path):
    report = digits.export(tmp_path / "a.tflite")
    assert report.samples() == "random noise only"
    assert report.predict_agreement is None
    card = (tmp_path / "a.tflite.md").read_text()
    assert "Samples: random noise only" in card
    assert "compared on random noise only" in card


@pytest.mark.parametrize("file", ["a.tflite", pytest.param("a.onnx", marks=pytest.mark.slow), "served"])
def test_labels_and_the_way_of_an_image_stand_in_and_beside_the_file(file, digits, pixels, tmp_path):
    digits.export(tmp_path / file, raw_shape=RAW, raw_dtype="uint8", scores=True)
    beside = json.loads((tmp_path / f"{file}.json").read_text())
    stored = read_metadata(tmp_path / file)
    for name in ("labels", "task", "gives", "image"):
        assert stored[name] == beside[name], name
    assert stored["labels"] == (tmp_path / f"{file}.labels.txt").read_text().splitlines() == list(digits.labels)
    (taken,), (given,) = beside["inputs"], beside["outputs"]
    assert (taken["index"], taken["dtype"], taken["shape"][1:], taken["range"]) == (0, "uint8", list(RAW), [0, 255])
    assert (given["range"], beside["gives"]) == ([0, 1], "probabilities")
    assert (stored["image"]["channels"], stored["image"]["alpha"]) == ("RGB", "dropped")
    assert "Feed the pixels, 0 to 255, as uint8" in stored["image"]["steps"][-1]


def test_numbers_of_the_description_make_the_input_of_the_file(digits, pixels, tmp_path):
    digits.export(tmp_path / "a.tflite", representative="digits", quantize="int8", integer_io=True)
    beside = json.loads((tmp_path / "a.tflite.json").read_text())
    image, (taken,) = beside["image"], beside["inputs"]
    raw = prepare_images(pixels, (image["height"], image["width"], 3), None)
    values = raw * np.array(image["multiply"]) + np.array(image["add"])
    np.testing.assert_allclose(values, digits.task.preprocess(pixels, digits.preprocess)[0], atol=1e-6)
    np.testing.assert_allclose(taken["range"], [-1, 1], atol=0.02)
    assert taken["range"][0] == taken["scale"] * (-128 - taken["zero_point"])


def test_files_of_16_bits_are_described(digits):
    deep = dataclasses.replace(digits, preprocess={**digits.preprocess, "levels": 4095})
    image = described(deep, "a.tflite", RAW, "uint8", "logits")["image"]
    assert image["levels"] == 4095
    assert "min(value, 4095) * 256 / 4096" in image["steps"][1]
    values = np.array([[0, 15, 16, 2048, 4095]], np.uint16)
    by_the_words = np.minimum(values.astype(int), 4095) * 256 // 4096
    np.testing.assert_array_equal(prepare_images(values, (1, 5, 1), None, levels=4095)[0, :, :, 0], by_the_words)
    assert "levels" not in described(digits, "a.tflite", RAW, "uint8", "logits")["image"]


@pytest.mark.slow
@pytest.mark.parametrize("file", ["a.tflite", "a.onnx", "served"])
def test_the_code_in_a_card_runs_as_written(file, digits, tmp_path, monkeypatch):
    digits.export(tmp_path / file, raw_shape=RAW, raw_dtype="uint8")
    code = (tmp_path / f"{file}.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    (answer,) = names["outputs"].values()
    assert np.asarray(answer).shape == (1, 10)
