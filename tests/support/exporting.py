"""Exports by the name that a spec uses for a format."""

from pathlib import Path

import kerasdl


def export_as(model, folder: Path, export_format: str, samples):
    """Writes `model` into `folder` as one of `kerasdl.core.EXPORT_FORMATS`; returns the report."""
    if export_format == "onnx":
        return kerasdl.deploy.export_onnx(model, folder / "model.onnx", samples=samples)
    if export_format == "saved_model":
        return kerasdl.deploy.export_saved_model(model, folder / "saved", samples=samples)
    quantize = None if export_format == "float32" else export_format
    return kerasdl.deploy.export_tflite(model, folder / "model.tflite", quantize=quantize, representative=samples)
