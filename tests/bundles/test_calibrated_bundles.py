"""Bundles that answer none of these: temperature and threshold in predict, the bundle's files, and the command line."""

import dataclasses
import json
import runpy

import keras
import numpy as np
import pytest
import tensorflow as tf
from colour_photos import COLOURS, colour_bundle
from PIL import Image
from typer.testing import CliRunner

import kerasdl
from kerasdl.bundles import Bundle, evaluate_file, load_bundle
from kerasdl.cli.commands import app
from kerasdl.core.errors import ArgumentError, BundleError
from kerasdl.core.outputs.decoding import softmax
from kerasdl.data import DataWarning
from kerasdl.train import RunConfig

QUIET = RunConfig(progress="off", strategy=None)
SCALE = 2.0  # of the logits of a colour


def pictures(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy pictures of the colours, of which every sixth has another class than it shows."""
    rng = np.random.default_rng(seed)
    shown = np.arange(count) % 3
    levels = np.array(list(COLOURS.values()))[shown, None, None] + rng.integers(-60, 61, (count, 12, 12, 3))
    levels = levels * rng.uniform(0.4, 1, (count, 1, 1, 1))
    return np.clip(levels, 0, 255).astype("uint8"), np.where(np.arange(count) % 6 == 5, (shown + 1) % 3, shown)


def greys(count: int) -> np.ndarray:
    levels = np.random.default_rng(1).integers(0, 256, (count, 1, 1, 1))
    return np.broadcast_to(levels, (count, 12, 12, 3)).astype("uint8")


def bundle_of(end: str = "logits") -> Bundle:
    """A bundle that tells colours by their mean, and is too sure of it: logits are four times what they should be."""
    start = colour_bundle()
    kernel = np.tile(np.eye(3)[:, ::-1], (64, 1)) * SCALE * 4 / 64
    start.model.set_weights([kernel, np.zeros(3)])
    x = start.model.outputs[0]
    if end == "softmax":
        x = keras.layers.Softmax(name="end")(x)
    elif end == "activation":
        x = keras.layers.Activation("softmax", name="end")(x)
    elif end == "reshape":
        x = keras.layers.Reshape((3,), name="end")(keras.layers.Activation("softmax")(x))
    elif end == "dense":
        flat = keras.layers.Flatten()(start.model.inputs[0])
        x = keras.layers.Dense(3, activation="softmax", name="end")(flat)
    model = keras.Model(start.model.inputs, x)
    model.set_weights([kernel, np.zeros(3)])
    settings = dict(start.preprocess)
    return Bundle.of(model, name="c", task="image_classification", preprocess=settings, labels=tuple(COLOURS))


@pytest.fixture(scope="module")
def plain():
    return bundle_of()


@pytest.fixture(scope="module")
def calibrated(plain):
    return plain.calibrate(pictures(240), list(greys(30)))


def test_scores_are_those_of_the_temperature_and_low_ones_have_no_label(plain, calibrated):
    images = [*pictures(30, seed=3)[0], *greys(10)]
    temperature, threshold = dataclasses.astuple(calibrated.calibration)
    assert temperature > 1.5
    expected = softmax(plain.logits(images).astype(float) / temperature)
    answers, before = calibrated.predict(images), plain.predict(images)
    for scores, answer, other in zip(expected, answers, before, strict=True):
        assert [answer["scores"][label] for label in COLOURS] == pytest.approx(scores.tolist())
        assert [*answer["scores"]] == [*other["scores"]]  # the order stays
        assert answer["label"] == (None if scores.max() < threshold else other["label"])
    assert [answer["label"] for answer in answers[30:]] == [None] * 10
    assert np.mean([answer["label"] is None for answer in answers[:30]]) < 0.2


def test_the_threshold_keeps_the_share_of_right_answers_that_was_asked(plain):
    images, truth = pictures(240)
    for keep in (0.5, 0.95, 1.0):
        bundle = plain.calibrate((images, truth), list(greys(30)), keep=keep)
        answers = bundle.predict(images)
        right = [
            a for a, t in zip(answers, truth, strict=True) if max(a["scores"], key=a["scores"].get) == [*COLOURS][t]
        ]
        kept = np.mean([answer["label"] is not None for answer in right])
        assert keep <= kept < keep + 0.02
        assert bundle.manifest.metrics["arrays calibration"]["right answers kept"] == pytest.approx(kept)


def test_figures_say_the_errors_and_the_shares(calibrated):
    figures = calibrated.manifest.metrics["arrays calibration"]
    assert figures["calibration error"] < figures["calibration error before"]
    assert figures["none rejected"] == 1.0
    assert calibrated.manifest.provenance["calibrated on"] == "arrays, 240 examples; 30 of none of the classes"
    card = " ".join(calibrated.card().split())
    assert "the label is None: none of these." in card
    assert "any other input still gets one" not in card
    assert "; none below 0." in repr(calibrated)


def test_images_of_none_come_as_folder_dataset_array_and_name(plain, tmp_path):
    data, grey = pictures(240), greys(30)
    (tmp_path / "other" / "deep").mkdir(parents=True)
    for k, image in enumerate(grey):
        Image.fromarray(image).save(tmp_path / "other" / "deep" / f"{k}.png")
    as_dataset = kerasdl.data.as_dataset((grey, np.zeros(30, int)), name="greys", task="image_classification")
    as_dataset = dataclasses.replace(as_dataset, images=True, scale=None)
    ways = (list(grey), tmp_path / "other", f"folder:{tmp_path / 'other'}", as_dataset)
    found = {plain.calibrate(data, none).calibration for none in ways}
    assert len(found) == 1
    with pytest.raises(ArgumentError, match="must be a folder that holds images"):
        (tmp_path / "empty").mkdir()
        plain.calibrate(data, tmp_path / "empty")


def test_a_saved_bundle_keeps_it_and_new_weights_drop_it(calibrated, tmp_path):
    loaded = load_bundle(calibrated.save(tmp_path / "c.zip"))
    assert loaded.calibration == calibrated.calibration
    assert loaded.predict(greys(2)[0])[0]["label"] is None
    assert loaded.to_float().calibration == calibrated.calibration
    data = pictures(30)
    tuned = loaded.finetune(data, epochs=1, freeze="none", config=QUIET)
    taught = kerasdl.train.distill(loaded, loaded, data, config=dataclasses.replace(QUIET, epochs=1))
    for changed in (tuned, taught):
        assert changed.calibration is None
        assert "calibration" not in changed.manifest.parts
        assert changed.predict(greys(1)[0])[0]["label"] in COLOURS


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{}", "with the fields"),
        (b"[1, 2]", "with the fields"),
        (b'{"temperature": 1.0, "threshold": 0.5, "more": 1}', "with the fields"),
        (b'{"temperature": 0.0, "threshold": 0.5}', "temperature must be a number from 0.01"),
        (b'{"temperature": NaN, "threshold": 0.5}', "must be finite"),
        (b'{"temperature": 1.0, "threshold": 1.5}', "threshold must be a number from 0.0"),
        (b'{"temperature": true, "threshold": 0.5}', "temperature must be a number"),
        (b'{"temperature": "1", "threshold": 0.5}', "temperature must be a number"),
        (b'{"temperature": [1], "threshold": 0.5}', "temperature must be a number"),
        (b"\xff\xfe", "damaged"),
        (b'{"temperature": 1.0, "threshold": 0.5}' + b" " * 1000, "at most 1000 bytes"),
    ],
)
def test_a_damaged_part_is_refused(calibrated, content, said):
    with pytest.raises(BundleError) as caught:
        dataclasses.replace(calibrated, extra={"calibration": content})
    assert said in str(caught.value)


def test_a_calibration_of_a_regressor_is_refused(calibrated):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    settings = {"mean": [0.0] * 2, "std": [1.0] * 2}
    bundle = Bundle.of(model, name="r", task="tabular_regression", preprocess=settings)
    with pytest.raises(ArgumentError, match="classifiers that name one class for each input; got 'tabular_regression'"):
        bundle.calibrate((np.zeros((3, 2)), np.zeros(3)))
    manifest = dataclasses.replace(bundle.manifest, parts=calibrated.manifest.parts)
    with pytest.raises(BundleError, match="calibration is for classifiers"):
        dataclasses.replace(bundle, manifest=manifest, extra=calibrated.extra)


def test_few_and_easy_data_are_said(plain):
    with pytest.warns(DataWarning, match="stand on 30 examples of arrays, and are coarse below 100"):
        plain.calibrate(pictures(30))
    images, truth = pictures(30)
    shown = np.arange(30) % 3
    easy_said = pytest.warns(DataWarning, match="all 20 answers on arrays are right, so that the temperature stays 1")
    with easy_said, pytest.warns(DataWarning, match="stand on 20 examples of arrays, and are coarse below 100"):
        easy = plain.calibrate((images[shown != 1], truth[shown != 1] * 0 + shown[shown != 1]))
    assert easy.calibration.temperature == 1
    with pytest.raises(ArgumentError, match="keep must be above 0"):
        plain.calibrate((images, truth), keep=0)


FILES = {
    "plain.tflite": {},
    "scores.tflite": {"scores": True},
    "int8.tflite": {"quantize": "int8"},
    "int8 scores.tflite": {"quantize": "int8", "scores": True},
    "whole int8.tflite": {"quantize": "int8", "scores": True, "integer_io": True},
    "plain.onnx": {},
    "scores.onnx": {"scores": True},
}
QUICK = ("plain.tflite", "int8 scores.tflite", "scores.onnx")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in FILES])
def test_files_and_their_programs_know_none(name, calibrated, tmp_path):
    images, truth = pictures(90, seed=5)
    images = np.concatenate([images, greys(10)])
    room = 0.02 if "int8" in name else 1e-4
    report = calibrated.export(tmp_path / name, representative=(images[:90], truth), **FILES[name])
    assert report.predict_difference < room
    stored = kerasdl.deploy.read_metadata(tmp_path / name)["calibration"]
    assert (stored["temperature"], stored["threshold"]) == dataclasses.astuple(calibrated.calibration)
    assert stored["temperature_in_file"] == ("scores" in FILES[name])
    assert json.loads((tmp_path / f"{name}.json").read_text())["calibration"] == stored
    program = runpy.run_path(str(tmp_path / f"{name}.py"))
    assert program["THRESHOLD"] == stored["threshold"]
    for k, (image, answer) in enumerate(zip(images[::5], calibrated.predict(list(images[::5])), strict=True)):
        Image.fromarray(image).save(tmp_path / f"{k}.png")
        scores = program["scores"](tmp_path / f"{k}.png")
        np.testing.assert_allclose(scores, [answer["scores"][label] for label in COLOURS], atol=room)
        if abs(scores.max() - stored["threshold"]) > room:
            assert (scores.max() < stored["threshold"]) == (answer["label"] is None)


def test_the_program_prints_none_of_these(calibrated, tmp_path, capsys, monkeypatch):
    calibrated.export(tmp_path / "c.tflite")
    Image.fromarray(greys(1)[0]).save(tmp_path / "grey.png")
    monkeypatch.setattr("sys.argv", ["c.tflite.py", str(tmp_path / "grey.png")])
    runpy.run_path(str(tmp_path / "c.tflite.py"), run_name="__main__")
    assert capsys.readouterr().out.split("\t")[1] == "none of these"
    threshold = calibrated.calibration.threshold
    kotlin, swift = (tmp_path / f"c.tflite{suffix}" for suffix in (".kt", ".swift"))
    assert f"takeIf {{ it.score >= {threshold!r}f }}" in kotlin.read_text()
    assert f"values[it] / {calibrated.calibration.temperature!r}f" in kotlin.read_text()
    assert f"$0.score >= {threshold!r} ? $0 : nil" in swift.read_text()
    assert f"values.map {{ $0 / {calibrated.calibration.temperature!r} }}" in swift.read_text()


@pytest.mark.parametrize("end", ["softmax", "activation", "dense"])
def test_files_of_models_that_end_in_a_softmax_hold_the_temperature(end, calibrated, tmp_path):
    bundle = bundle_of(end).calibrate(pictures(240), list(greys(30)))
    assert bundle.calibration.temperature == pytest.approx(calibrated.calibration.temperature, rel=1e-3)
    images = np.concatenate([pictures(20, seed=5)[0], greys(4)])
    report = bundle.export(tmp_path / "c.tflite", representative=images)
    assert report.predict_difference < 1e-4
    assert kerasdl.deploy.read_metadata(tmp_path / "c.tflite")["calibration"]["temperature_in_file"]


def test_a_softmax_that_is_not_the_last_layer_is_named(tmp_path):
    bundle = bundle_of("reshape").calibrate(pictures(240))
    with pytest.raises(ArgumentError, match="a model that ends in a softmax layer; got 'end'"):
        bundle.export(tmp_path / "c.tflite")


def test_the_signature_of_image_files_knows_none(calibrated, tmp_path):
    with pytest.raises(ArgumentError, match="temperature in the graph; got 'scores=False'"):
        calibrated.export(tmp_path / "served", image_bytes=True)
    calibrated.export(tmp_path / "served", image_bytes=True, scores=True)
    serve = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_bytes"]
    images = [pictures(1)[0][0], greys(1)[0]]
    outputs = serve(image_bytes=tf.stack([tf.io.encode_png(image) for image in images]))
    expected = calibrated.predict(images)
    assert outputs["label"].numpy().tolist() == [expected[0]["label"].encode(), b""]
    np.testing.assert_allclose(outputs["score"], [each["score"] for each in expected], atol=1e-5)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folders of the colours and of greys, and the bundle that is too sure of itself."""
    folder = tmp_path_factory.mktemp("place")
    images, truth = pictures(300, seed=8)
    for k, (image, label) in enumerate(zip(images, truth, strict=True)):
        home = folder / "photos" / [*COLOURS][label]
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(home / f"{k}.png")
    (folder / "other").mkdir()
    for k, image in enumerate(greys(12)):
        Image.fromarray(image).save(folder / "other" / f"{k}.png")
    bundle_of().save(folder / "plain.zip")
    return folder


def command(*words) -> str:
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_commands_calibrate_predict_and_evaluate(place):
    out = place / "c.zip"
    words = ("calibrate", place / "plain.zip", place / "photos", "--none", place / "other", "--out", out)
    words += ("--keep", "0.9")
    shown = " ".join(command(*words).split())
    calibration = load_bundle(out).calibration
    assert f"below a score of {calibration.threshold:.4g} its answer is none of these." in shown
    assert "All 300 images are used, since the bundle learnt from none of them. Evaluate it on others." in shown
    assert (
        load_bundle(place / "plain.zip").calibrate(place / "photos", place / "other", keep=0.9).calibration
        == calibration
    )
    values = json.loads(command(*words, "--json"))
    assert (values["temperature"], values["threshold"]) == dataclasses.astuple(calibration)
    assert values["examples"] == "folder:photos, 300 examples; 12 of none of the classes"
    assert values["none rejected"] == 1.0
    assert "none of these" in command("predict", out, place / "other" / "0.png")
    assert json.loads(command("predict", out, place / "other" / "0.png", "--json"))[0]["label"] is None
    figures = json.loads(command("evaluate", out, place / "photos", "--json"))
    before = json.loads(command("evaluate", place / "plain.zip", place / "photos", "--json"))
    assert figures["accuracy"] == before["accuracy"]
    assert figures["calibration_error"] < before["calibration_error"]
    assert 0 < figures["rejected"] < 0.5
    assert "rejected" not in before


def test_a_file_is_evaluated_by_its_own_calibration(place):
    bundle = load_bundle(place / "plain.zip").calibrate(pictures(240), list(greys(30)))
    data = f"folder:{place / 'photos'}"
    for name, scores in (("logits.tflite", False), ("scores.tflite", True)):
        bundle.export(place / name, scores=scores)
        of_file, of_bundle, different = evaluate_file(place / name, data, bundle=bundle)
        assert different == 0
        assert of_file.figures["rejected"] == of_bundle.figures["rejected"] > 0
        assert of_file.figures["calibration_error"] == pytest.approx(of_bundle.figures["calibration_error"], abs=1e-4)
