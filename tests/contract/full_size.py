"""Nets at full size in every format, across the bridge and under QAT: what `make prove` runs beside the tiny ones."""

import numpy as np
import pytest
from cases import PROVED_IN_FULL
from exporting import export_as
from filling import fill_weights, settle_statistics
from tiny_nets import fed, leaves

import kerasdl
from kerasdl.core import EXPORT_FORMATS, ExportError, get_task
from kerasdl.deploy import quantize_aware
from kerasdl.deploy.keras2.bridge import bridge

SAMPLES = 24


@pytest.fixture(scope="module", params=PROVED_IN_FULL)
def full(request):
    """Gives a name, its net with calm weights, and examples."""
    model = fill_weights(kerasdl.build(request.param))
    inputs, targets = get_task(kerasdl.spec(request.param).task).example(model, SAMPLES, 0)
    return request.param, settle_statistics(model, fed(model, inputs)), inputs, targets


@pytest.mark.parametrize("export_format", EXPORT_FORMATS)
def test_full_size_exports_within_the_exporters_own_bounds(full, export_format, tmp_path):
    name, model, samples, _ = full
    if export_format in kerasdl.spec(name).exports:
        with pytest.raises(ExportError):
            export_as(model, tmp_path, export_format, samples)
        return
    report = export_as(model, tmp_path, export_format, samples)
    assert report.worst_relative <= report.tolerance


def test_full_size_crosses_the_bridge(full):
    _, model, inputs, _ = full
    inputs = fed(model, inputs)
    found = leaves(bridge(model).model(inputs, training=False))
    for given, expected in zip(found, leaves(model(inputs, training=False)), strict=True):
        np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


def test_full_size_quantises(full, tmp_path):
    _, model, inputs, targets = full
    quantized = quantize_aware(model, (inputs, targets), epochs=0)
    report = quantized.export_tflite(tmp_path / "net.tflite", samples=inputs)
    assert next(drift for drift in report.drifts if drift.inputs == "real").rmse < 0.05
