"""Small models that break Keras's exporters: ours write files that compute the same, or say why there can be none."""

import json
from pathlib import Path

import awkward
import comparing
import pytest

from kerasdl.core.errors import ExportError
from kerasdl.deploy import export_onnx, export_tflite

RECORD = Path(__file__).parents[3] / "docs" / "awkward.json"
EXPORTERS = {"tflite": export_tflite, "onnx": export_onnx}
QUICK = (
    "bigru_padded",
    "grouped_conv_2d",
    "encoder_block",
    "one_hot_argmax",
    "unordered_inputs",
    "odd_names",
    "late_sequential",
)
BOUND = 1e-4


@pytest.mark.parametrize("file_format", EXPORTERS)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in awkward.MODELS]
)
def test_files_compute_what_the_model_computes(name, file_format, tmp_path):
    model, arrays = awkward.MODELS[name]()
    path = tmp_path / f"model.{file_format}"
    samples = arrays if len(arrays) > 1 else arrays[0]
    reason = awkward.REFUSED.get((name, file_format))
    if reason is not None:
        with pytest.raises(ExportError, match=reason):
            EXPORTERS[file_format](model, path, samples=samples)
        assert not list(tmp_path.iterdir())
        return
    report = EXPORTERS[file_format](model, path, samples=samples, tolerance=BOUND)
    assert {drift.inputs for drift in report.drifts} == {"real", "random"}
    model_in_float32, _ = awkward.IN_FLOAT32.get(name, awkward.MODELS[name])()
    outputs = list(dict.fromkeys(drift.output for drift in report.drifts))
    run = comparing.run_lite if file_format == "tflite" else comparing.run_onnx
    given = run(path, model, arrays, outputs)
    assert comparing.gap(comparing.outputs_of(model_in_float32, arrays), given) <= BOUND


def test_the_record_holds_every_model_and_what_breaks_it():
    measured = json.loads(RECORD.read_text())["measured"]
    assert list(measured) == list(awkward.MODELS)
    for name, cells in measured.items():
        for file_format in EXPORTERS:
            expected = "refused" if (name, file_format) in awkward.REFUSED else "right"
            assert cells[f"ours_{file_format}"]["outcome"] == expected, (name, file_format)
    broken = [
        name
        for name, cells in measured.items()
        if {cells[f"stock_{each}"]["outcome"] for each in EXPORTERS} != {"right"}
    ]
    held = [name for name in broken if all((name, each) not in awkward.REFUSED for each in EXPORTERS)]
    assert len(held) >= 40
