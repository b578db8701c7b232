"""The cover in every format: the file computes what the model computes, or the spec says why not."""

import pytest
from cases import EVERY_CLASS, EXPORTED
from contract_rows import check_export

from kerasdl.core import EXPORT_FORMATS

DEFAULT_LANE = ("float32",)
# Formats that differ from float32, which all nets of the cover take, in how weights are stored, or hold TensorFlow's
# own operations: what matters to them is the class of a layer, not how layers are joined.
BY_CLASS = ("float16", "dynamic", "saved_model")


def pairs():
    for export_format in EXPORT_FORMATS:
        for name in EVERY_CLASS if export_format in BY_CLASS else EXPORTED:
            marks = [] if export_format in DEFAULT_LANE else [pytest.mark.slow]
            yield pytest.param(name, export_format, marks=marks, id=f"{name}-{export_format}")


@pytest.mark.parametrize(("name", "export_format"), [*pairs()])
def test_export_computes_what_the_model_computes(name, export_format, net, tmp_path):
    check_export(net(name), export_format, tmp_path)
