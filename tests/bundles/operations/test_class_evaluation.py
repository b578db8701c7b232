"""Figures class by class, against scikit-learn's, and of bundles and files over folders of images."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from colour_photos import COLOURS, colour_bundle, write_photos
from PIL import Image
from sklearn import metrics
from typer.testing import CliRunner

import kerasdl
from kerasdl.bundles import Evaluation, EvaluationData, choose_evaluation_data, evaluate_classes, evaluate_file
from kerasdl.bundles.operations.finetuning import _kept_epoch
from kerasdl.cli.commands import app
from kerasdl.core import get_task
from kerasdl.core.errors import ArgumentError
from kerasdl.data import as_dataset
from kerasdl.train import RunConfig
from kerasdl.train.loop.state import Best


def made(truth, scores, labels):
    data = as_dataset((np.zeros((len(truth), 2), "float32"), truth), name="rows")
    return Evaluation(EvaluationData(data, "test", len(truth), 0), {}, labels, np.array(truth), np.array(scores))


def test_confusion_precision_and_recall_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(0, 4, 60), rng.dirichlet(np.ones(4), 60)
    evaluation = made(truth, scores, tuple("abcd"))
    np.testing.assert_array_equal(evaluation.confusion, metrics.confusion_matrix(truth, scores.argmax(1)))
    precision, recall, _, support = metrics.precision_recall_fscore_support(truth, scores.argmax(1))
    rows = evaluation.classes()
    np.testing.assert_allclose([row.precision for row in rows], precision)
    np.testing.assert_allclose([row.recall for row in rows], recall)
    assert [row.examples for row in rows] == support.tolist()
    wrong = evaluation.mistakes()
    assert len(wrong) == int((scores.argmax(1) != truth).sum())
    assert [each.score for each in wrong] == sorted((each.score for each in wrong), reverse=True)
    assert all(scores[each.place].max() == each.score for each in wrong)


def test_a_class_without_examples_or_without_answers_has_no_share():
    row_a, row_b, row_c = made([0, 0, 1], [[0.9, 0.1, 0], [0.2, 0.8, 0], [0.3, 0.7, 0]], ("a", "b", "c")).classes()
    assert (row_a.recall, row_a.precision, row_a.taken_for) == (0.5, 1.0, {"b": 1})
    assert (row_b.recall, row_b.precision) == (1.0, 0.5)
    assert (row_c.examples, row_c.recall, row_c.precision) == (0, None, None)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of plain colours, a bundle that tells them by their mean colour, and its fine-tuned copy."""
    folder = tmp_path_factory.mktemp("colours")
    write_photos(folder / "photos")
    start = colour_bundle()
    data = f"folder:{folder / 'photos'}"
    config = RunConfig(progress="off", batch_size=8)
    train, held = (kerasdl.data.load(data, split) for split in ("train", "validation"))
    tuned = start.finetune(train, held, epochs=4, freeze="none", learning_rate=0.02, config=config, name="tuned")
    tuned.save(folder / "tuned.zip")
    tuned.export(folder / "tuned.tflite")
    return folder


def command(*words):
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_fine_tuned_bundle_knows_its_images_and_the_epoch_that_was_kept(place):
    tuned, data = kerasdl.load_bundle(place / "tuned.zip"), f"folder:{place / 'photos'}"
    assert tuned.manifest.provenance["epoch kept"].endswith("of 4, the best by val_loss on 3 validation examples")
    chosen = choose_evaluation_data(tuned, data)
    assert (chosen.dataset.size, chosen.left_out) == (3, 27)
    with pytest.warns(UserWarning, match="27 of 30 images were left out"):
        figures = tuned.evaluate(data)
    with pytest.warns(UserWarning, match="27 of 30 images were left out"):
        assert tuned.evaluate(place / "photos") == figures
    evaluation = evaluate_classes(tuned, chosen)
    assert {name: evaluation.figures[name] for name in figures} == figures
    assert set(evaluation.figures) - set(figures) == {"calibration_error"}
    assert np.mean(evaluation.answers == evaluation.truth) == pytest.approx(figures["accuracy"])


def test_evaluate_prints_counts_and_writes_pictures(place, tmp_path):
    out = " ".join(command("evaluate", place / "tuned.zip", place / "photos", "--report", tmp_path / "out").split())
    assert "Measured on 3 of 30 images in 3 classes" in out
    assert "27 of 30 images were left out, since they took part in the fine-tuning of the bundle." in out
    assert all(name in out for name in COLOURS)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "confusion.png",
        "evaluation.json",
        "mistakes.png",
    ]
    values = json.loads(command("evaluate", place / "tuned.zip", place / "photos", "--split", "all", "--json"))
    assert (values["examples"], values["left_out"]) == (30, 0)
    assert np.sum(values["confusion"]) == 30
    assert values["accuracy"] == pytest.approx(np.trace(values["confusion"]) / 30)
    assert len(values["mistakes"]) == 30 - np.trace(values["confusion"])


def test_the_contact_sheet_holds_the_mistakes(place, tmp_path):
    tuned = kerasdl.load_bundle(place / "tuned.zip")
    chosen = choose_evaluation_data(tuned, f"folder:{place / 'photos'}", "all")
    right = evaluate_classes(tuned, chosen)
    wrong = dataclasses.replace(right, scores=np.roll(right.scores, 1, axis=1))
    assert len(wrong.mistakes()) > 20
    report = kerasdl.cli.evaluation_report
    report.write_report(tmp_path / "wrong", wrong)
    picture = np.asarray(Image.open(tmp_path / "wrong" / "mistakes.png").convert("RGB")).astype(int)
    for colour in COLOURS.values():
        assert (np.abs(picture - colour).max(axis=-1) < 30).sum() > 2_000


def test_the_two_lines_above_a_flat_image_stand_apart(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(kerasdl.cli.pictures, "keep", lambda figure, path: kept.append(figure))
    flat = np.zeros((10, 80, 3), "uint8")
    kerasdl.cli.pictures.draw_contact_sheet(tmp_path / "sheet.png", [(flat, "boot, taken for", "shoe 79%")], "one")
    kept[0].draw_without_rendering()
    above, below = (text.get_window_extent() for text in kept[0].axes[0].texts)
    assert above.y0 >= below.y1


def test_a_file_is_measured_in_its_own_runtime_beside_its_bundle(place):
    tuned, data = kerasdl.load_bundle(place / "tuned.zip"), f"folder:{place / 'photos'}"
    of_file, of_bundle, different = evaluate_file(place / "tuned.tflite", data, "all", tuned)
    assert different == 0
    np.testing.assert_allclose(of_file.scores, of_bundle.scores, atol=1e-4)
    assert of_file.figures["accuracy"] == pytest.approx(of_bundle.figures["accuracy"])
    alone, _, _ = evaluate_file(place / "tuned.tflite", data)
    assert (alone.chosen.split, alone.chosen.dataset.size) == ("all", 30)
    assert "Images of the fine-tuning may be among them" in alone.chosen.notes[-1]
    assert "may be among them" not in " ".join(of_file.chosen.notes)
    words = ("evaluate", place / "tuned.tflite", place / "photos", "--bundle", place / "tuned.zip", "--json")
    values = json.loads(command(*words))
    assert (values["examples"], values["bundle"]["answers_that_differ"]) == (3, 0)


def test_a_file_that_takes_raw_pixels_gets_them(place, tmp_path):
    tuned, data = kerasdl.load_bundle(place / "tuned.zip"), f"folder:{place / 'photos'}"
    tuned.export(tmp_path / "raw.tflite", raw_shape=(12, 12, 3))
    of_file, of_bundle, different = evaluate_file(tmp_path / "raw.tflite", data, "all", tuned)
    assert different == 0
    np.testing.assert_allclose(of_file.scores, of_bundle.scores, atol=0.05)


def test_an_onnx_file_is_measured_too(place, tmp_path):
    tuned, data = kerasdl.load_bundle(place / "tuned.zip"), f"folder:{place / 'photos'}"
    tuned.export(tmp_path / "tuned.onnx")
    of_file, of_bundle, different = evaluate_file(tmp_path / "tuned.onnx", data, "all", tuned)
    assert (different, len(of_file.truth)) == (0, 30)
    np.testing.assert_allclose(of_file.scores, of_bundle.scores, atol=1e-4)


def test_integers_at_the_ends_of_a_file_are_converted(place, tmp_path):
    tuned, data = kerasdl.load_bundle(place / "tuned.zip"), f"folder:{place / 'photos'}"
    options = ["--quantize", "int8", "--data", place / "photos", "--integer-io"]
    command("export", place / "tuned.zip", tmp_path / "int8.tflite", *options)
    assert kerasdl.bundles.inspect_file(tmp_path / "int8.tflite").inputs[0]["dtype"] == "int8"
    of_file, of_bundle, _ = evaluate_file(tmp_path / "int8.tflite", data, "all", tuned)
    np.testing.assert_allclose(of_file.scores, of_bundle.scores, atol=0.05)


def test_camera_pixels_go_in_and_probabilities_come_out(place, tmp_path):
    tuned, data = kerasdl.load_bundle(place / "tuned.zip"), f"folder:{place / 'photos'}"
    options = ("--raw-shape", "12x12x3", "--raw-dtype", "uint8", "--scores")
    assert "answers: compared on random noise only" in command(
        "export", place / "tuned.zip", tmp_path / "c.tflite", *options
    )
    assert kerasdl.bundles.inspect_file(tmp_path / "c.tflite").inputs[0]["dtype"] == "uint8"
    of_file, of_bundle, _ = evaluate_file(tmp_path / "c.tflite", data, "all", tuned)
    np.testing.assert_allclose(of_file.scores, of_bundle.scores, atol=0.02)


def test_what_is_no_classifier_of_these_classes_is_refused(place, tmp_path):
    with pytest.raises(ArgumentError, match="must have its classes"):
        evaluate_file(place / "tuned.tflite", "digits")
    result = CliRunner().invoke(app, ["evaluate", str(place / "tuned.zip"), "digits", "--bundle", "x"])
    assert result.exit_code == 2
    assert "--bundle stands beside a .tflite or .onnx file" in " ".join(result.stderr.split())


@pytest.mark.parametrize(("best", "name"), [(Best(0.8, 3), "val_loss"), (Best(0.3, 2), "val_mean_iou")])
def test_the_figure_that_chose_the_epoch_is_the_one_that_is_named(best, name):
    history = {"loss": [1.0, 0.9, 0.7], "val_loss": [1.0, 0.9, 0.8], "val_mean_iou": [0.1, 0.3, 0.2]}
    run, validation = SimpleNamespace(history=history, best=best), SimpleNamespace(size=3)
    kept = _kept_epoch(run, validation, get_task("semantic_segmentation"), RunConfig(epochs=3))
    assert kept == f"{best.epoch} of 3, the best by {name} on 3 validation examples"
