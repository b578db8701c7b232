"""The cover in every format: the file computes what the model computes, or the spec says why not."""

import re

import pytest
from cases import EXPORTED
from exporting import export_as

from kerasdl.core import EXPORT_FORMATS, ExportError, get_task

DEFAULT_LANE = ("float32",)
SAMPLES = 164  # a quarter of them, held back from calibration, judges
# Tighter than the exporter's defaults, which leave room for the depth of full-size nets.
TINY_BOUNDS = {"float16": 1e-2, "dynamic": 0.05, "int8": 0.1, "int16x8": 0.05}


def pairs():
    for name in EXPORTED:
        for export_format in EXPORT_FORMATS:
            marks = [] if export_format in DEFAULT_LANE else [pytest.mark.slow]
            yield pytest.param(name, export_format, marks=marks, id=f"{name}-{export_format}")


@pytest.mark.parametrize(("name", "export_format"), [*pairs()])
def test_export_computes_what_the_model_computes(name, export_format, net, tmp_path):
    spec, model = net(name).spec, net(name).model
    samples, _ = get_task(spec.task).example(model, SAMPLES, 0)
    if export_format in spec.exports:
        operation = re.search(r"(?<=kernel for )[A-Z_0-9]+", spec.exports[export_format]).group()
        with pytest.raises(ExportError, match=operation):
            export_as(model, tmp_path, export_format, samples)
        assert not list(tmp_path.iterdir())
        return
    report = export_as(model, tmp_path, export_format, samples)
    assert report.bytes > 0
    assert report.worst_relative <= TINY_BOUNDS.get(export_format, 1e-4)
