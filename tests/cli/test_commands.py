"""The command line as its user meets it: tables, JSON, exit codes, one line for a mistake."""

import dataclasses
import json
import shutil
from types import SimpleNamespace
from typing import ClassVar

import keras
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import kerasdl
from kerasdl.cli.commands import app
from kerasdl.core import ArgumentError


def run(*words: str):
    return CliRunner().invoke(app, list(map(str, words)))


def read(*words: str):
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Real digits as PNG files in class folders, two classes of eight."""
    folder = tmp_path_factory.mktemp("photos")
    images, labels = kerasdl.data.load("digits", scale=None).arrays()
    for digit, name in ((3, "three"), (8, "eight")):
        (folder / name).mkdir()
        for k, image in enumerate(images[labels == digit][:8]):
            Image.fromarray(image.squeeze()).save(folder / name / f"{k}.png")
    return folder


def test_models_and_describe():
    assert [spec["name"] for spec in read("models", "vision/resnet*")] == kerasdl.list_models("vision/resnet*")
    assert read("describe", "mobilenet_v2")["params"] == 3_538_984
    assert "3,538,984" in run("models", "mobilenet_v2").stdout
    assert "1801.04381" in run("describe", "mobilenet_v2").stdout


def test_bundles():
    assert [each["name"] for each in read("bundles")] == kerasdl.bundles.list_bundles()
    assert "glyphs_mobilenet" in run("bundles").stdout


@pytest.mark.slow
def test_a_folder_of_images_becomes_a_bundle_that_predicts_and_exports(photos, tmp_path):
    out = tmp_path / "mine.zip"
    figures = read("finetune", "glyphs_mobilenet", photos, "--out", out, "--epochs", 2, "--batch-size", 4)
    assert figures["bundle"] == str(out)
    assert kerasdl.load_bundle(out).labels == ("eight", "three")
    answers = read("predict", out, photos / "three", photos / "eight" / "0.png")
    assert len(answers) == 9
    assert {answer["label"] for answer in answers} <= {"eight", "three"}
    assert {"loss", "accuracy", "confusion"} <= set(read("evaluate", out, photos, "--split", "all"))
    report = read("export", out, tmp_path / "mine.tflite", "--quantize", "int8", "--data", photos)
    assert report["bytes"] == (tmp_path / "mine.tflite").stat().st_size
    assert read("benchmark", tmp_path / "mine.tflite")["rows"][0]["median_ms"] > 0


def test_a_peer_becomes_a_bundle_of_ones_own(photos, tmp_path):
    peer = keras.applications.MobileNet((32, 32, 3), weights=None, alpha=0.25, classes=7, classifier_activation=None)
    peer.save_weights(tmp_path / "peer.weights.h5")
    source = ("--from", "keras-applications:MobileNet(alpha=0.25)", "--weights", tmp_path / "peer.weights.h5")
    out = tmp_path / "mine.zip"
    read(
        "finetune",
        *source,
        "--side",
        32,
        photos,
        "--out",
        out,
        "--epochs",
        1,
        "--batch-size",
        4,
        "--freeze",
        "backbone",
    )
    bundle = kerasdl.load_bundle(out)
    assert bundle.labels == ("eight", "three")
    assert bundle.preprocess["scale"] == [-1.0, 1.0]
    assert bundle.manifest.builder == "mobilenet_025"
    kernel = bundle.model.get_layer("stem_conv").get_weights()[0]  # the head alone has learnt
    np.testing.assert_array_equal(kernel, peer.get_layer("conv1").get_weights()[0])
    assert "the default for images alone" in run("finetune", "iris", "--out", "x").output
    assert "the data alone with --from" in run("finetune", "a", "b", *source, "--out", "x").output


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("describe", "mobilenet_v22"), 2, "Did you mean 'mobilenet_v2'"),
        (("finetune", "glyphs_mobilenet", "digits", "--out", "x", "--freeze", "half"), 2, "freeze must be one of"),
        (("predict", "digits_mobilenet", "none.png"), 3, "nothing is at none.png"),
        (("predict", "none.zip", "none.png"), 3, "nothing is at"),
        (("export", "digits_mobilenet", "x.tflite", "--quantize", "int8"), 2, "needs representative data"),
        (("evaluate", "digits_mobilenet", "tfds:nothing_here"), 3, "tfds"),
        (("evaluate", "none.tflite", "digits"), 3, "nothing is at none.tflite. Check the path"),
        (("nonsense",), 2, "No such command"),
        (("quickstart", "--out", __file__), 2, "It is a file"),
        (("quickstart", "--data", "letters"), 2, "data must be one of ('emoji', 'digits')"),
        (
            ("finetune", "digits", "--from", "keras-applications:MobileNet", "--weights", "none.h5", "--out", "x.zip"),
            3,
            "nothing is at none.h5",
        ),
        (("models", "zzz*"), 2, "must fit at least one model"),
        (("finetune", "glyphs_mobilenet", "nowhere", "--out", "x.zip"), 2, "No folder stands at nowhere"),
        (("finetune", "glyphs_mobilenet", "iris", "--out", "x.zip"), 2, "data must be of the task image_class"),
        (("export", "digits_mobilenet", "x.tflit"), 2, "the suffix of path must be one of"),
        (("export", "digits_mobilenet", "x.tflite", "--raw-shape", "big"), 2, "whole numbers with an x between"),
        (("finetune", "glyphs_mobilenet", "digits"), 2, "--out"),
        (("export", "digits_mobilenet", "x.tflite", "--raw-shape", "0x0x3"), 2, "all known"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(words, code, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*words)
    assert result.exit_code == code
    assert text in result.stderr
    assert "Traceback" not in result.output
    if result.stderr.startswith("error:"):
        assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_damaged_image_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing more")
    result = run("predict", "digits_mobilenet", tmp_path / "broken.png")
    assert result.exit_code == 3
    assert "broken.png" in result.stderr


@pytest.mark.parametrize("text", ["not JSON", "[]", "3", '{"a": 1}'])
def test_a_json_file_that_holds_no_inputs_is_named(tmp_path, text):
    (tmp_path / "rows.json").write_text(text)
    result = run("predict", "digits_mobilenet", tmp_path / "rows.json")
    assert result.exit_code == 3
    assert "rows.json must hold" in result.stderr


def test_json_may_hold_pixels(tmp_path):
    (tmp_path / "image.json").write_text(json.dumps([np.zeros((8, 8), int).tolist()]))
    assert read("predict", "digits_mobilenet", tmp_path / "image.json")[0]["label"] in "0123456789"


def test_a_file_that_is_no_model_is_not_timed(tmp_path):
    (tmp_path / "bad.tflite").write_text("nothing")
    result = run("benchmark", tmp_path / "bad.tflite")
    assert result.exit_code == 4
    assert "does not run" in result.stderr


def test_one_image_a_class_is_enough_without_validation(photos, tmp_path):
    for name in ("three", "eight"):
        (tmp_path / "few" / name).mkdir(parents=True)
        (tmp_path / "few" / name / "0.png").write_bytes((photos / name / "0.png").read_bytes())
    result = run(
        "finetune", "glyphs_mobilenet", tmp_path / "few", "--out", tmp_path / "few.zip", "--epochs", 1, "--json"
    )
    assert result.exit_code == 0
    *_, validation, lonely = json.loads(result.stdout)["notes"]
    assert "No validation" in validation
    assert "Classes with one image to learn from: eight, three." in lonely


def test_a_folder_with_train_and_test_alone_validates_on_a_part_of_train(photos, tmp_path):
    for file in photos.rglob("*.png"):  # 0.png to 7.png in each class
        home = tmp_path / "split" / ("train" if file.stem < "5" else "test") / file.parent.name
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, home)
    out = tmp_path / "mine.zip"
    done = run("finetune", "glyphs_mobilenet", tmp_path / "split", "--out", out, "--epochs", 1, "--freeze", "backbone")
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "16 images in 2 classes: eight 8, three 8." in text
    assert "8 to train, 2 to validate (10 % of each class of train, drawn by seed 0)." in text
    assert "the loss chooses the epoch that is kept" in text
    assert "head epoch 1/1" in text
    assert text.count("computes on") == 1
    assert "Epoch kept in the last stage: 1 of 1, the best by val_loss on 2 validation examples." in text
    assert f"Saved to {out}" in done.output.replace("\n", "")
    figures = read("evaluate", out, tmp_path / "split")
    assert (figures["split"], figures["examples"], figures["left_out"]) == ("test", 6, 0)


def test_a_file_where_a_folder_must_be_is_named_before_training(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "kerasdl.bundles.bundle.finetuning.finetune_networks", lambda *args, **kwargs: pytest.fail("trained")
    )
    (tmp_path / "file").write_text("x")
    done = run("finetune", "glyphs_mobilenet", photos, "--out", tmp_path / "file" / "mine.zip")
    assert (done.exit_code, "file is a file" in done.output) == (3, True)
    done = run("finetune", "glyphs_mobilenet", photos, "--out", tmp_path / "m.zip", "--folder", tmp_path / "file")
    assert (done.exit_code, "It is a file" in done.output) == (2, True)


def test_what_stands_at_out_is_looked_at_before_training(photos, tmp_path):
    result = run("finetune", "glyphs_mobilenet", photos, "--out", photos)
    assert result.exit_code == 3
    assert "may replace only a bundle" in result.stderr


def test_version():
    assert run("--version").stdout.strip() == kerasdl.__version__


def test_doctor_knows_what_is_installed():
    report = read("doctor")
    assert report["missing"] == []
    assert report["versions"]["keras"].startswith("3.15")
    assert any(device.startswith("CPU") for device in report["devices"])


def test_predict_reads_rows_from_json(tmp_path):
    bundle = kerasdl.bundles.Bundle.of(
        kerasdl.build("mlp", features=2, classes=2),
        name="rows",
        task="tabular_classification",
        preprocess={"mean": [0, 0], "std": [1, 1]},
        labels=("no", "yes"),
    )
    bundle.save(tmp_path / "rows.zip")
    rows = np.array([[0.5, -1.0], [2.0, 3.0]])
    (tmp_path / "rows.json").write_text(json.dumps(rows.tolist()))
    answers = read("predict", tmp_path / "rows.zip", tmp_path / "rows.json")
    assert [answer["scores"] for answer in answers] == [each["scores"] for each in bundle.predict(rows)]


def test_all_seeds_split_data_alike(photos, tmp_path, monkeypatch):
    seen = []

    class Stand:
        preprocess: ClassVar = {}
        manifest, task = SimpleNamespace(provenance={}), SimpleNamespace(name="image_classification")

        def finetune(self, train, *_, **__):
            seen.append({str(file) for file in train.source.inputs})
            raise ArgumentError("enough, or pass resume=False")

    monkeypatch.setattr(kerasdl, "load_bundle", lambda name: Stand())
    for seed in (5, 6):
        done = run("finetune", "digits_mobilenet", photos, "--out", tmp_path / "o.zip", "--seed", seed)
        assert "enough, or pass --no-resume" in done.stderr  # the option's name, not the argument's
    assert len(seen[0]) == 12
    assert seen[0] == seen[1]


@pytest.mark.slow
def test_images_alone_are_learnt_by_the_imagenet_net(photos, tmp_path):
    out = tmp_path / "mine.zip"
    read("finetune", photos, "--side", 64, "--out", out, "--epochs", 1, "--batch-size", 4, "--freeze", "backbone")
    bundle = kerasdl.load_bundle(out)
    assert bundle.manifest.builder == "efficientnet_lite0"
    assert bundle.model.input_shape == (None, 64, 64, 3)
    assert bundle.labels == ("eight", "three")


@pytest.mark.parametrize(("agreement", "is_advised"), [(0.0, True), (0.94, True), (0.96, False), (None, False)])
def test_a_plain_int8_file_that_answers_otherwise_gets_advice(agreement, is_advised, tmp_path, monkeypatch):
    usual = kerasdl.Bundle.export

    def export(bundle, path, **options):
        report = usual(bundle, path, **{**options, "quantize": None, "representative": None})
        return dataclasses.replace(report, predict_agreement=agreement)

    monkeypatch.setattr(kerasdl.Bundle, "export", export)
    words = ("export", "digits_mobilenet", tmp_path / "m.tflite", "--quantize", "int8")
    assert ("advice: --selective" in run(*words).stdout) is is_advised
    assert "advice" not in run(*words, "--selective").stdout


@pytest.mark.slow
def test_advice_of_a_refused_export_names_options_of_the_command_line(tmp_path, monkeypatch):
    usual = kerasdl.Bundle.export
    monkeypatch.setattr(kerasdl.Bundle, "export", lambda *args, **options: usual(*args, **options, tolerance=1e-12))
    words = ("export", "digits_mobilenet", tmp_path / "m.tflite", "--quantize", "int8", "--data", "digits")
    result = run(*words)
    assert result.exit_code == 4
    assert "export with --selective or --quantize dynamic. In Python, tolerance= accepts a larger" in result.output
