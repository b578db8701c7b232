"""Figures of exported detectors and segmenters, of their files in their own runtimes."""

import json

import numpy as np
import pytest

import kerasdl
from kerasdl.bundles import EvaluationData, evaluate_classes, evaluate_file
from kerasdl.bundles.operations import file_evaluation
from kerasdl.cli import evaluation_report
from kerasdl.core.errors import ArgumentError
from kerasdl.vision.segmentation import task as segmentation

SHAPE = (160, 200, 3)
KINDS = {
    "plain.tflite": ({}, 0.005),
    "raw bytes.tflite": ({"raw_shape": SHAPE, "raw_dtype": "uint8"}, 0.1),
    "plain.onnx": ({}, 0.005),
}


@pytest.fixture(scope="module")
def scenes():
    return kerasdl.data.load("shapes", "test", size=12, scale=None)


def raw_file(labels, outputs):
    """Returns the metadata of a file that takes photos as bytes, and two thresholds."""
    image = {"name": "raw", "shape": [1, *SHAPE], "dtype": "uint8", "scale": None, "zero_point": None}
    numbers = [{**image, "name": name, "shape": [1], "dtype": "float32"} for name in ("min_score", "overlap")]
    stored = {"task": "object_detection", "labels": list(labels), "image": {}, "inputs": [*numbers, image]}
    thresholds = {"min_score": 0.3, "overlap": 0.6}
    return {**stored, "outputs": [{"name": name, "shape": [1, 100]} for name in outputs], "thresholds": thresholds}


def outputs_of(labels, shift=0.0):
    """Returns the outputs of a file that finds every true object of a batch, moved by so many pixels."""
    boxes, classes = labels["boxes"].to_tensor().numpy() + shift, labels["classes"].to_tensor().numpy()
    count = np.array([len(each) for each in labels["classes"]])
    return {"boxes": boxes, "scores": np.full(classes.shape, 0.9, "float32"), "classes": classes, "count": count}


@pytest.mark.parametrize(("shift", "figure"), [(0.0, 1.0), (60.0, 0.0)])
def test_objects_of_a_file_count_in_pixels_of_its_input(scenes, monkeypatch, shift, figure):
    batches, fed = iter(scenes.prepared(SHAPE, None).batches(8)), []

    def run(path, arrays):
        images, labels = next(batches)
        np.testing.assert_array_equal(arrays["raw"], images.numpy())
        fed.append(arrays)
        return outputs_of(labels, shift)

    monkeypatch.setattr(file_evaluation, "read_metadata", lambda path: raw_file(scenes.class_names, ("boxes", "count")))
    monkeypatch.setattr(file_evaluation, "run_exported", run)
    found, own, different = evaluate_file("any.tflite", scenes)
    assert (own, different) == (None, None)
    assert found.figures["AP50"] == pytest.approx(figure, abs=0.1)
    assert fed[0]["raw"].dtype == np.uint8
    assert fed[0]["min_score"].tolist() == [pytest.approx(0.05)] * 8  # what AP counts, not what the app shows
    assert fed[0]["overlap"].tolist() == [pytest.approx(0.6)] * 8
    confusion = np.array(found.measured.values["confusion"])
    assert (np.trace(confusion) == confusion[:-1].sum()) == (figure == 1)
    assert [row[0] for row in found.measured.rows] == list(scenes.class_names)


def test_files_that_give_neither_scores_nor_answers_are_refused(scenes, monkeypatch):
    boxes = [{"name": "boxes", "shape": [1, 100, 4]}]
    stored = {**raw_file(scenes.class_names, ()), "task": "image_classification", "outputs": boxes}
    monkeypatch.setattr(file_evaluation, "read_metadata", lambda path: stored)
    with pytest.raises(ArgumentError, match=r"one row of scores, objects or a map of classes; any\.tflite does not"):
        evaluate_file("any.tflite", scenes)


def test_a_detector_is_reported_class_by_class_with_its_mistakes(scenes, tmp_path, capsys):
    evaluation = evaluate_classes(kerasdl.load_bundle("shapes_yolo"), EvaluationData(scenes, "all", scenes.size, 0))
    assert evaluation.figures["AP50"] > 0.5
    names = evaluation_report.write_report(tmp_path, evaluation)
    assert sorted(names) == sorted(each.name for each in tmp_path.iterdir())
    assert {"confusion.png", "objects.png"} < set(names)
    stored = json.loads((tmp_path / "evaluation.json").read_text())
    assert set(stored["classes"]) == set(scenes.class_names)
    assert np.shape(stored["confusion"]) == (len(scenes.class_names) + 1,) * 2
    measured = [each["AP50"] for each in stored["classes"].values() if each["AP50"] is not None]
    assert np.mean(measured) == pytest.approx(evaluation.figures["AP50"])
    evaluation_report.show_evaluation("shapes", evaluation)
    printed = capsys.readouterr().out
    assert "objects" in printed
    assert scenes.class_names[0] in printed


def test_maps_of_a_file_are_measured_by_their_classes():
    data = kerasdl.data.load("shapes", "test", size=4, scale=None, labels="semantic", image_shape=(32, 48, 3))
    data = segmentation.ready(data, {"image_shape": (32, 48, 3), "scale": (0.0, 255.0)})
    for shift in (0, 16):
        batches = iter(data.batches(8))

        def run(images, batches=batches, shift=shift):
            maps = next(batches)[1]["semantic"].numpy().astype("int32")
            return {"classes": np.roll(np.where(maps == 255, 0, maps), shift, axis=2)}

        measured = segmentation.file_figures(run, data, data.class_names)
        assert (measured.figures["mean_iou"] == 1) == (shift == 0)
        shown = [name for name in measured.figures if name.startswith("IoU")]
        assert 1 < len(shown) <= len(data.class_names)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_a_detector_has_the_figures_of_its_bundle(name, scenes, tmp_path):
    options, room = KINDS[name]
    bundle = kerasdl.load_bundle("shapes_yolo")
    bundle.export(tmp_path / name, **options)
    of_file, of_bundle, different = evaluate_file(tmp_path / name, scenes, bundle=bundle)
    assert different is None
    assert of_bundle.figures["AP50"] > 0.5
    for figure in ("AP", "AP50", "AP75"):
        assert of_file.figures[figure] == pytest.approx(of_bundle.figures[figure], abs=room)
