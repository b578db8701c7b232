"""The cover in every format: the file computes what the model computes, or the spec says why not."""

import pytest
from cases import EVERY_CLASS, EXPORTED, PROVED
from contract_rows import check_export

from kerasdl.core import EXPORT_FORMATS

DEFAULT_LANE = "float32"
# How layers are joined shows in every format alike, which the nets of the cover share in turns. Nets that bring a class
# of layer take the three formats whose converters differ, and share the others, which store the same graph otherwise.
DIFFERENT = ("float32", "onnx", "int8")
IN_TURNS = (*DIFFERENT, "int16x8")
ALSO = ("int16x8", "float16", "dynamic", "saved_model")


def formats_of(name: str) -> tuple[str, ...]:
    """Returns the formats of a net in the lanes; of one that is to be proved all."""
    if PROVED:
        return EXPORT_FORMATS
    if name in EVERY_CLASS:
        return (*DIFFERENT, ALSO[EVERY_CLASS.index(name) % len(ALSO)])
    return (IN_TURNS[EXPORTED.index(name) % len(IN_TURNS)],)


def pairs():
    for name in EXPORTED:
        for export_format in formats_of(name):
            marks = [] if export_format == DEFAULT_LANE else [pytest.mark.slow]
            yield pytest.param(name, export_format, marks=marks, id=f"{name}-{export_format}")


@pytest.mark.parametrize(("name", "export_format"), [*pairs()])
def test_export_computes_what_the_model_computes(name, export_format, net, tmp_path):
    check_export(net(name), export_format, tmp_path)
