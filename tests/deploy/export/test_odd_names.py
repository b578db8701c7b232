"""Names that TensorFlow's graphs cannot hold: the files have others, said in the report; the model keeps its own."""

import re

import keras
import numpy as np
import pytest

from kerasdl.core import ArgumentError
from kerasdl.deploy import export_onnx, export_saved_model, export_tflite, export_trainable_tflite, run_exported

L = keras.layers
EXPORTS = {"net.tflite": export_tflite, "net.onnx": export_onnx, "net": export_saved_model}
X = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")


def net(name, model="net"):
    inputs = keras.Input((8, 8, 3), name="image")
    hidden = L.GlobalAveragePooling2D()(L.Conv2D(4, 3, name=name)(inputs))
    return keras.Model(inputs, L.Dense(2, name="head")(hidden), name=model)


@pytest.mark.parametrize("file", EXPORTS)
@pytest.mark.parametrize("name", ["_conv", "conv 1", "conv:0", "卷积", "a\\b", "two\nlines"])
def test_layers_of_any_name_are_exported(name, file, tmp_path):
    model = net(name, "_my model")
    before = [variable.path for variable in model.variables], [variable._value.name for variable in model.variables]
    report = EXPORTS[file](model, tmp_path / file)
    np.testing.assert_allclose(run_exported(tmp_path / file, X)["head"], model(X), atol=1e-5)
    assert [note for note in report.notes if note.startswith(f"{name!r} is called")]
    assert model.get_layer(name).name == name
    after = [variable.path for variable in model.variables], [variable._value.name for variable in model.variables]
    assert after == before
    assert model.name == "_my model"


def test_names_that_fall_together_stay_apart(tmp_path):
    inputs = keras.Input((8, 8, 3), name="image")
    hidden = inputs
    for name in ("x_1", "x 1", "x:1"):
        hidden = L.Conv2D(3, 1, name=name)(hidden)
    model = keras.Model(inputs, L.Dense(2, name="head")(L.GlobalAveragePooling2D()(hidden)))
    report = export_tflite(model, tmp_path / "net.tflite")
    np.testing.assert_allclose(run_exported(tmp_path / "net.tflite", X)["head"], model(X), atol=1e-5)
    notes = [note.partition(" in the file")[0] for note in report.notes if "is called" in note]
    assert notes == ["'x 1' is called 'x_1_'", "'x:1' is called 'x_1__'"]


@pytest.mark.parametrize("file", EXPORTS)
@pytest.mark.parametrize("stem", ["net", 'my "best" $net', "back\\slash", "Überblick", "it's"])
def test_code_of_the_report_feeds_files_of_any_name(stem, file, tmp_path, monkeypatch):
    path = tmp_path / file.replace("net", stem)
    if file == "net" and "\\" in stem:
        with pytest.raises(ArgumentError, match="neither"):
            EXPORTS[file](net("conv"), path)
        return
    report = EXPORTS[file](net("conv"), path)
    monkeypatch.chdir(tmp_path)
    code, *kotlin = re.findall(r"```(?:python|kotlin)\n(.*?)```", report.to_markdown(), flags=re.S)
    names = {}
    exec(code, names)
    assert np.shape(names["outputs"]["head"]) == (1, 2)
    if kotlin:
        literal = re.search(r'context, "((?:[^"\\]|\\.)*)"\)', kotlin[0])[1]
        assert "$" not in re.sub(r"\\.", "", literal)
        assert re.sub(r"\\(.)", r"\1", literal) == path.name


@pytest.mark.parametrize("name", ["_conv", "ü"])
def test_weights_of_such_layers_learn_on_the_device(name, tmp_path):
    export_trainable_tflite(net(name), tmp_path / "net.tflite")  # which trains a step in the file and compares
