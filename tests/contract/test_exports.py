"""The cover in every format: the file computes what the model computes, or the spec says why not."""

import pytest
from cases import EVERY_CLASS, EXPORTED
from contract_rows import check_export

from kerasdl.core import EXPORT_FORMATS

DEFAULT_LANE = "float32"
# How layers are joined shows in every format alike, which the nets of the cover share in turns; what differs between
# formats is what becomes of a layer, and one net of each class at least takes them all.
IN_TURNS = ("float32", "onnx", "int8", "int16x8")


def pairs():
    for number, name in enumerate(EXPORTED):
        some = [IN_TURNS[number % len(IN_TURNS)]]
        for export_format in EXPORT_FORMATS if name in EVERY_CLASS else some:
            marks = [] if export_format == DEFAULT_LANE else [pytest.mark.slow]
            yield pytest.param(name, export_format, marks=marks, id=f"{name}-{export_format}")


@pytest.mark.parametrize(("name", "export_format"), [*pairs()])
def test_export_computes_what_the_model_computes(name, export_format, net, tmp_path):
    check_export(net(name), export_format, tmp_path)
