"""Descriptions of model files of every kind, and one line for what is none."""

import io
import json
import struct
import zipfile

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

import kerasdl
from kerasdl.bundles import Bundle, inspect_file
from kerasdl.cli.commands import app
from kerasdl.core.errors import BundleError


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with one small classifier in every form."""
    folder = tmp_path_factory.mktemp("files")
    inputs = keras.Input((6, 6, 3), name="image")
    hidden = keras.layers.Dropout(0.1)(keras.layers.Flatten(name="flat")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(hidden), name="small")
    model.compile("adam", "mse")
    model.fit(np.zeros((2, 6, 6, 3)), np.zeros((2, 2)), verbose=0)  # the optimizer's slots are no weights
    settings = {"image_shape": (6, 6, 3), "scale": (-1, 1)}
    bundle = Bundle.of(model, name="pets", task="image_classification", preprocess=settings, labels=("cat", "dog"))
    bundle = bundle.with_metrics("mine", {"accuracy": 0.75})
    bundle.save(folder / "pets.zip")
    bundle.save(folder / "pets")
    model.save(folder / "small.keras")
    model.save_weights(folder / "small.weights.h5")
    bundle.export(folder / "pets.tflite")
    kerasdl.deploy.export_onnx(model, folder / "small.onnx")
    header = json.dumps({"kernel": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}}).encode()
    (folder / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(48))
    with zipfile.ZipFile(folder / "net.pth", "w") as archive:
        archive.writestr("net/data.pkl", b"\x80\x02}q\x00.")
    return folder


PARAMS = 6 * 6 * 3 * 2 + 2


@pytest.mark.parametrize("name", ["pets.zip", "pets"])
def test_a_bundle_tells_what_it_takes_and_gives(place, name):
    seen = inspect_file(place / name)
    assert seen.kind == "kerasdl bundle"
    assert seen.inputs == ({"name": "image", "shape": (6, 6, 3), "dtype": "float32"},)
    assert seen.outputs[0]["shape"] == (None, 2)
    assert seen.labels == ("cat", "dog")
    assert seen.preprocess == {"image_shape": [6, 6, 3], "scale": [-1, 1]}
    assert seen.facts["params"] == PARAMS
    assert seen.facts["measured"] == {"mine": {"accuracy": 0.75}}


def test_files_of_keras_are_read_without_building_them(place):
    seen = inspect_file(place / "small.keras")
    assert (seen.kind, seen.facts["layers"], seen.facts["params"]) == ("Keras model", 4, PARAMS)
    assert seen.inputs == ({"name": "image", "shape": (None, 6, 6, 3), "dtype": "float32"},)
    assert [each["name"] for each in seen.outputs] == ["head"]
    seen = inspect_file(place / "small.weights.h5")
    assert (seen.kind, seen.facts["params"]) == ("Keras weights in HDF5", PARAMS)


def test_exported_files_tell_their_tensors(place):
    seen = inspect_file(place / "pets.tflite")
    assert seen.kind == "TFLite"
    assert (seen.inputs[0]["shape"], seen.inputs[0]["dtype"]) == ([1, 6, 6, 3], "float32")
    assert (seen.labels, seen.preprocess["scale"]) == (("cat", "dog"), [-1, 1])
    seen = inspect_file(place / "small.onnx")
    assert (seen.kind, seen.inputs[0]["name"], seen.outputs[0]["shape"][-1]) == ("ONNX", "image", 2)


def test_weights_of_others_are_counted_or_left_closed(place):
    seen = inspect_file(place / "w.safetensors")
    assert (seen.kind, seen.facts["params"]) == ("weights in safetensors", 12)
    assert seen.facts["first tensors"] == ["kernel F32 (3, 4)"]
    assert "not opened" in inspect_file(place / "net.pth").facts["content"]


def junk():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("notes.txt", "nothing")
    return {
        "a.txt": b"words",
        "empty.keras": b"",
        "cut.zip": b"PK\3\4 cut short",
        "other.zip": packed.getvalue(),
        "bad.tflite": b"\x10\0\0\0TFL3" + bytes(9),
        "bad.onnx": b"\x08\x07 no graph",
        "bad.h5": b"\x89HDF\r\n\x1a\n" + bytes(64),
        "bad.safetensors": struct.pack("<Q", 20) + b"{ this is no JSON   ",
    }


@pytest.mark.parametrize("name", junk())
def test_junk_is_refused_in_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(junk()[name])
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / name)])
    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(BundleError, match="nothing is at"):
        inspect_file(tmp_path / "none.tflite")
    with pytest.raises(BundleError, match="is none of them"):
        inspect_file(tmp_path)


def test_a_changed_manifest_is_refused(place, tmp_path):
    with zipfile.ZipFile(place / "pets.zip") as old, zipfile.ZipFile(tmp_path / "new.zip", "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            is_manifest = entry.filename == "bundle.json"
            new.writestr(entry.filename, content.replace(b"cat", b"cow") if is_manifest else content)
    with pytest.raises(BundleError, match=r"bundle\.json must be the file that SHA256SUMS lists"):
        inspect_file(tmp_path / "new.zip")


def test_the_command_prints_rows_and_json(place):
    text = CliRunner().invoke(app, ["inspect", str(place / "pets.zip")]).stdout
    assert "image: float32 (6, 6, 3)" in text
    assert "mine" in text
    values = json.loads(CliRunner().invoke(app, ["inspect", str(place / "pets.tflite"), "--json"]).stdout)
    assert values["labels"] == ["cat", "dog"]
