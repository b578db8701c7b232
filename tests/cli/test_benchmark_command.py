"""`kerasdl benchmark` on several files: a table, JSON, a picture, and one line for a mistake."""

import json

import keras
import pytest
from filling import fill_weights
from PIL import Image
from typer.testing import CliRunner

from kerasdl.cli.commands import app
from kerasdl.deploy import export_onnx, export_tflite


def run(*words):
    return CliRunner().invoke(app, ["benchmark", *map(str, words)])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    x = keras.Input((6,))
    model = fill_weights(keras.Model(x, keras.layers.Dense(3, name="head")(x)))
    export_tflite(model, folder / "model.tflite")
    export_onnx(model, folder / "model.onnx")
    return folder


def test_several_files_make_a_table_and_a_picture(written, tmp_path):
    result = run(written / "model.tflite", written / "model.onnx", "--runs", 3, "--plot", tmp_path / "bars.png")
    assert result.exit_code == 0, result.output
    for word in ("model.tflite", "model.onnx", "3 runs in turns, threads: 1"):
        assert word in result.stdout
    with Image.open(tmp_path / "bars.png") as picture:
        assert picture.width > 400
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10


def test_json_holds_every_row(written):
    result = run(written / "model.onnx", written / "model.tflite", "--runs", 3, "--threads", 2, "--json")
    record = json.loads(result.stdout)
    assert [row["kind"] for row in record["rows"]] == ["onnx", "tflite"]
    assert [row["bytes"] for row in record["rows"]] == [
        (written / name).stat().st_size for name in ("model.onnx", "model.tflite")
    ]
    assert record["rows"][0]["ratio"] == 1
    assert (record["runs"], record["threads"]) == (3, 2)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["none.tflite"], 3, "nothing is at none.tflite"),
        (["model.tflite", "--runs", "0"], 2, "runs must be"),
        (["model.tflite", "--threads", "0"], 2, "threads must be"),
        (["model.tflite", "--plot", "bars.txt"], 2, "the suffix of --plot"),
        (["bad.onnx"], 4, "does not run"),
        ([], 2, "Missing argument"),
    ],
)
def test_a_mistake_is_one_line(words, code, text, written, monkeypatch):
    monkeypatch.chdir(written)
    (written / "bad.onnx").write_text("nothing")
    result = run(*words)
    assert result.exit_code == code
    assert text in result.stderr
    assert "Traceback" not in result.output
