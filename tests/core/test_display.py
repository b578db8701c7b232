"""Display of results: at most six lines of at most 100 characters, and HTML with tables and pictures."""

import base64
import io
import re

import keras
import numpy as np
from PIL import Image

import kerasdl
from kerasdl.core.display.results import Displayed, names_text
from kerasdl.deploy import ComparedFile, Comparison, export_tflite, profile_model
from kerasdl.deploy.quantization.quantized_model import QuantizedModel
from kerasdl.train import Run, SweepResult
from kerasdl.train.evaluation.sweep_results import Cell, Interval
from kerasdl.train.loop.state import Best


def small():
    return keras.Sequential([keras.Input((4,), name="input"), keras.layers.Dense(3, name="head")], name="small")


def shown(thing):
    """Returns the lines of a repr and the HTML, both within their limits."""
    lines = repr(thing).splitlines()
    assert 1 <= len(lines) <= 6
    assert max(map(len, lines)) <= 100
    return lines, thing._repr_html_()


def picture(text):
    return Image.open(io.BytesIO(base64.b64decode(re.search('base64,([^"]+)"', text)[1])))


def test_a_dataset_shows_its_form_and_a_grid_of_images():
    lines, text = shown(kerasdl.data.load("digits"))
    assert lines[0] == "Dataset digits: 1,078 examples, image classification"
    assert lines[1].split() == [
        "inputs",
        "(32,",
        "32,",
        "1)",
        "float32,",
        "levels",
        "0",
        "to",
        "255",
        "as",
        "-1.0",
        "to",
        "1.0",
    ]
    assert len(np.unique(np.asarray(picture(text)))) > 50  # images, not an empty figure
    _, table = shown(kerasdl.data.load("iris"))
    assert "setosa, versicolor, virginica" in table
    assert "<img" not in table


def test_a_bundle_shows_labels_inputs_and_figures():
    lines, text = shown(kerasdl.load_bundle("digits_mobilenet"))
    assert lines[0] == "Bundle digits_mobilenet: image classification, 139,258 parameters"
    assert "image (32, 32, 3) float32, after preprocessing" in text
    assert "accuracy" in lines[4]


def test_a_run_shows_its_best_epoch_and_curves():
    history = {"loss": [2.0, 1.0], "val_loss": [1.5, 1.25], "learning_rate": [0.1, 0.1]}
    lines, text = shown(Run(small(), history, Best(1.25, 2, 1.25), 3.0, 20, None, False, "early"))
    assert lines[0] == "Run: 2 epochs, 20 updates, 3.0 s, stopped early"
    assert lines[1].split() == ["best", "epoch", "2,", "val_loss", "1.25"]
    assert picture(text).size == (504, 360)


def test_reports_and_profiles_show_their_tables(tmp_path):
    lines, _ = shown(export_tflite(small(), tmp_path / "small.tflite"))
    assert lines[0].startswith("ExportReport ")
    assert "input (1, 4) float32" in "".join(lines)
    lines, text = shown(profile_model(small()))
    assert lines[0] == "Profile small: 15 parameters, 12 MACs"
    assert "head" in text
    rows = [ComparedFile(f"file{number}", "tflite", 10, 5, 1.0, 2.0, 100, 1.0) for number in range(9)]
    lines, text = shown(Comparison(tuple(rows), 50, 1))
    assert lines[-1] == "  ... 6 more: table()"
    assert "file8" in text
    assert "file8" not in "".join(lines)


def test_a_quantized_model_shows_what_is_in_float():
    lines, _ = shown(QuantizedModel(small(), kerasdl.deploy.QuantizationScheme()))
    assert re.fullmatch(r"QuantizedModel of small: \d+ of \d+ layers in int8", lines[0])


def test_names_and_long_lines_are_cut():
    assert names_text(()) == ""

    class Wide(Displayed):
        def _shown(self):
            return "Wide", {"a": "x" * 200, "none": None, "b": "<b>"}

    lines, text = shown(Wide())
    assert lines[1].endswith("x ...")
    assert "none" not in text
    assert "&lt;b&gt;" in text


def test_a_sweep_shows_its_table_and_picture():
    intervals = [Interval(0.5, 0.125, 0.25, 0.75, 2), Interval(0.75, 0.125, 0.5, 1.0, 2)]
    cells = [
        Cell(f"width={number}", {"width": number}, {0: each.mean, 1: each.mean}, {}, each, None, "unclear", 1.0)
        for number, each in enumerate(intervals)
    ]
    lines, text = shown(SweepResult("val_accuracy", "max", 0.95, (0, 1), tuple(cells)))
    assert lines[0] == "SweepResult: val_accuracy over 2 seeds, best width=1"
    assert len(lines) == 4
    assert picture(text).size[0] > 500
