"""Layers and activations of Keras at magnitudes from 1e-30 to 1e30: files are right, or refused by name."""

import inspect
import json
from pathlib import Path

import extremes
import keras
import pytest

from kerasdl.core.errors import ExportError

RECORD = Path(__file__).parents[3] / "docs" / "extremes.json"
QUICK = ("softplus", "UnitNormalization", "LayerNormalization_of_axes")
FIXED = (*QUICK, "celu", "selu", "sparse_plus", "squareplus", "log_softmax", "GroupNormalization", "ops.std_axis_-1")
FIXED += ("Dot_normalized", "Attention", "Masking", "Resizing_area")
LACKING = {"MaxPooling3D": "MaxPool3D", "AveragePooling3D": "AvgPool3D"}


@pytest.mark.parametrize("file_format", extremes.FORMATS)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in FIXED]
)
def test_files_are_right_up_to_the_stated_magnitude(name, file_format, tmp_path):
    wrong = extremes.wrong_magnitudes(name, file_format, tmp_path)
    assert [magnitude for magnitude in wrong if magnitude <= extremes.STATED] == []


def test_a_spectrogram_of_half_precision_keeps_its_waves(tmp_path):
    """The logarithm of what waves of float16 did not cancel was off by more than 0.1."""
    wrong = extremes.wrong_magnitudes("STFTSpectrogram", "float16", tmp_path)
    assert [magnitude for magnitude in wrong if magnitude <= extremes.STATED] == []


@pytest.mark.parametrize("name", LACKING)
def test_what_tflite_lacks_is_refused_by_name(name, tmp_path):
    with pytest.raises(ExportError, match=f"{LACKING[name]} of layer"):
        extremes.write(extremes.MODELS[name](), tmp_path / "model.tflite", "float32")
    assert not list(tmp_path.iterdir())


def test_the_record_holds_every_row_and_nothing_wrong_in_silence():
    measured = json.loads(RECORD.read_text())["measured"]
    assert list(measured) == list(extremes.MODELS)
    for name, cells in measured.items():
        assert set(cells) == set(extremes.FORMATS)
        for file_format, cell in cells.items():
            wrong = [magnitude for magnitude in cell.get("wrong", []) if magnitude <= extremes.STATED]
            assert wrong == [], (name, file_format)
            assert "wrong" in cell or "layer" in cell["refused"], (name, file_format)


def test_every_layer_and_activation_of_keras_has_a_row_or_a_reason():
    classes = {value for value in vars(keras.layers).values() if inspect.isclass(value)}
    layers = {each for each in classes if issubclass(each, keras.Layer)} - {keras.layers.InputLayer}
    shown = {type(layer) for make in extremes.MODELS.values() for layer in make().layers}
    reasoned = {getattr(keras.layers, name) for names in extremes.WITHOUT_ROW.values() for name in names}
    assert {each.__name__ for each in layers - shown - reasoned} == set()
    assert {each.__name__ for each in reasoned & shown} <= {"Dense"}, "a row and a reason"
    functions = {name for name, value in vars(keras.activations).items() if inspect.isfunction(value)}
    assert functions - {"get", "serialize", "deserialize"} <= set(extremes.MODELS)
