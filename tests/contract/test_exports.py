"""Every registered model in every format: the file computes what the model computes, or the spec says why not."""

import pytest
from cases import DISTINCT

import kerasdl
from kerasdl.core import EXPORT_FORMATS, ExportError, get_task

DEFAULT_LANE = ("float32", "onnx")


def pairs():
    for name in DISTINCT:
        for export_format in EXPORT_FORMATS:
            marks = [] if export_format in DEFAULT_LANE else [pytest.mark.slow]
            yield pytest.param(name, export_format, marks=marks, id=f"{name}-{export_format}")


def export(model, path, export_format, samples):
    if export_format == "onnx":
        return kerasdl.deploy.export_onnx(model, path / "model.onnx", samples=samples)
    if export_format == "saved_model":
        return kerasdl.deploy.export_saved_model(model, path / "saved", samples=samples)
    quantize = None if export_format == "float32" else export_format
    return kerasdl.deploy.export_tflite(
        model, path / "model.tflite", quantize=quantize, representative=samples, samples=samples
    )


@pytest.mark.parametrize(("name", "export_format"), pairs())
def test_export_computes_what_the_model_computes(name, export_format, tiny, tmp_path):
    spec, model = kerasdl.spec(name), tiny(name)
    samples, _ = get_task(spec.task).example(model, 64, 0)
    if export_format in spec.exports:
        with pytest.raises(ExportError):
            export(model, tmp_path, export_format, samples)
        assert not list(tmp_path.iterdir())
        return
    report = export(model, tmp_path, export_format, samples)
    assert report.bytes > 0
    assert report.worst_relative <= report.tolerance
    if export_format in ("float32", "onnx", "saved_model"):
        assert report.worst_relative <= 1e-4
