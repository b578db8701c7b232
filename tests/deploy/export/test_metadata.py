"""Metadata of exported files as texts, and of the three formats as one reader reads them."""

import onnxruntime
import pytest

from kerasdl.core import ArgumentError
from kerasdl.deploy import export_onnx, export_saved_model, read_metadata
from kerasdl.deploy.export.metadata import as_texts, label_lines, of_texts

VALUES = {"labels": ["cat", "grüner Hund"], "description": "12", "size": 12, "image": {"height": 8}}


def test_texts_keep_every_value():
    assert of_texts(as_texts(VALUES)) == VALUES
    assert as_texts(VALUES)["description"] == "12"
    assert of_texts({"author": "someone"}) == {"author": "someone"}


def test_a_label_takes_one_line():
    assert label_lines(["a", "b\nc"]) == "a\nb c\n"


def test_other_formats_hold_metadata_too(make, tmp_path):
    model = make("conv_bn")
    export_onnx(model, tmp_path / "m.onnx", metadata=VALUES)
    export_saved_model(model, tmp_path / "served", metadata=VALUES)
    for path in (tmp_path / "m.onnx", tmp_path / "served"):
        stored = read_metadata(path)
        assert {name: stored[name] for name in VALUES} == VALUES
        assert [each["name"] for each in stored["inputs"]] == ["image"]
    props = onnxruntime.InferenceSession(tmp_path / "m.onnx").get_modelmeta().custom_metadata_map
    assert props["labels"] == '["cat", "grüner Hund"]'
    assert (tmp_path / "served/assets.extra/labels.txt").read_text().splitlines() == VALUES["labels"]
    for export in (export_onnx, export_saved_model):
        with pytest.raises(ArgumentError, match="labels of metadata must be a list of texts"):
            export(model, tmp_path / "n.onnx" if export is export_onnx else tmp_path / "n", metadata={"labels": "ab"})
