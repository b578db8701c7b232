"""Nets of keras.applications in TFLite and ONNX; docs/applications.md has the other families.

The bridge they cross stands in test_legacy_models.py.
"""

import json
from functools import cache
from pathlib import Path

import applications
import pytest

from kerasdl.deploy import export_onnx, export_tflite

NETS = ("MobileNetV3Small", "EfficientNetB0", pytest.param("ConvNeXtTiny", marks=pytest.mark.bars))
RECORD = Path(__file__).parents[3] / "docs" / "applications.json"


made = cache(applications.make)


@pytest.mark.slow
@pytest.mark.parametrize("exporter", [export_tflite, export_onnx])
@pytest.mark.parametrize("name", NETS)
def test_files_compute_the_same(name, exporter, tmp_path):
    model, images = made(name)
    logits = model(images, training=False).numpy()
    assert logits.std(axis=0).max() > 1e-3, "the images are all one to the net"
    suffix = ".tflite" if exporter is export_tflite else ".onnx"
    report = exporter(model, tmp_path / f"model{suffix}", samples=images, tolerance=applications.FILE)
    assert report.worst_relative <= applications.FILE


def test_every_family_is_recorded_within_its_bounds():
    measured = json.loads(RECORD.read_text())["measured"]
    assert list(measured) == list(applications.NETS)
    for name, cells in measured.items():
        assert {cell["outcome"] for cell in cells.values()} == {"right"}, name
        assert cells["bridge"]["gap"] <= applications.BRIDGE
        assert max(cells[each]["gap"] for each in ("tflite", "onnx")) <= applications.FILE
