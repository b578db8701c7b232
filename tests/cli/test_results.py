"""What `kerasdl predict` prints of results of any form: rows as their task says, JSON for programs."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from kerasdl.bundles import Bundle
from kerasdl.cli import read_inputs
from kerasdl.cli.commands import app
from kerasdl.cli.output import show_json, show_results
from kerasdl.core import get_task, register_task
from kerasdl.core.outputs.decoding import one_row
from kerasdl.core.registry import tasks


def detected(scores, labels, context):
    """One result for each row of scores: as many boxes as there are high scores, as NumPy's own types."""
    return [
        {
            "boxes": np.array([[k, 0, 4, 4] for k in np.flatnonzero(row > 0)], "float32").reshape(-1, 4),
            "scores": row[row > 0],
            "count": np.int64((row > 0).sum()),
            "mask": b"\xff\x00",
            "caption": b"caf\xc3\xa9",
            "nothing": None,
            "more": {"best": {"score": np.float32(0.5)}, 3: (True, tf.constant([1, 2]))},
        }
        for row in np.asarray(scores)
    ]


def a_row_a_box(result):
    return [{"box": box, "score": score} for box, score in zip(result["boxes"], result["scores"], strict=True)]


@pytest.fixture
def saved(tmp_path):
    plain = get_task("tabular_regression")
    task = dataclasses.replace(plain, name="rows_of_boxes", module=__name__, decode=detected, table=a_row_a_box)
    register_task(task)
    inputs = keras.Input((2,))
    layer = keras.layers.Dense(2, name="head")
    model = keras.Model(inputs, layer(inputs))
    layer.set_weights([np.eye(2), np.zeros(2)])
    settings = {"mean": [0.0, 0.0], "std": [1.0, 1.0]}
    yield Bundle.of(model, name="boxes", task=task, preprocess=settings).save(tmp_path / "boxes.zip")
    del tasks._tasks[task.name]


def predicted(saved, tmp_path, *options):
    (tmp_path / "rows.json").write_text("[[0.25, 0.5], [-1.0, -1.0], [0.75, -1.0]]")
    result = CliRunner().invoke(app, ["predict", str(saved), str(tmp_path / "rows.json"), *options])
    assert result.exit_code == 0, result.output
    return result.output


def cells_of(table):
    """Returns the cells of the rows of a printed table."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines() if line.startswith("│")]


def test_nested_results_are_shown_in_the_rows_that_their_task_says(saved, tmp_path):
    assert [(name[-3:], *cells) for name, *cells in cells_of(predicted(saved, tmp_path))] == [
        ("[0]", "[0, 0, 4, 4]", "0.25"),
        ("[0]", "[1, 0, 4, 4]", "0.5"),
        ("[1]", "-", "-"),
        ("[2]", "[0, 0, 4, 4]", "0.75"),
    ]


def test_json_holds_arrays_numbers_bytes_and_nested_values(saved, tmp_path):
    first, second, _ = json.loads(predicted(saved, tmp_path, "--json"))
    assert first["boxes"] == [[0.0, 0.0, 4.0, 4.0], [1.0, 0.0, 4.0, 4.0]]
    assert first["count"] == 2
    assert first["mask"] == {"base64": "/wA="}
    assert first["caption"] == "café"
    assert first["nothing"] is None
    assert first["more"] == {"best": {"score": 0.5}, "3": [True, [1, 2]]}
    assert second["boxes"] == []


def test_results_of_unlike_columns_share_one_table(capsys):
    show_results(["a", "b"], [{"label": "cat", "scores": {"cat": 1.0}}, {"value": 1_000, "parts": {"x": 0.5}}], one_row)
    text = capsys.readouterr().out
    assert "scores" not in text
    assert cells_of(text) == [["a", "cat", "-", "-"], ["b", "-", "1,000", "{x: 0.5}"]]


def test_what_json_cannot_hold_is_no_json():
    with pytest.raises(TypeError):
        show_json({"model": object()})


def test_texts_and_named_inputs_stay_what_they_are(tmp_path):
    (tmp_path / "x.json").write_text('["a text", {"left": [1, 2]}, 0.5, [1, 2]]')
    assert read_inputs([tmp_path / "x.json"])[1] == ["a text", {"left": [1, 2]}, [0.5], [1, 2]]
