"""Metadata that Android's libraries read: the table by its field numbers, and the zip at the end of the file."""

import struct
import zipfile

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import kerasdl
from kerasdl.core.errors import ArgumentError, BundleError, WeightsError
from kerasdl.deploy import run_exported
from kerasdl.deploy.migration.from_keras2 import from_tf_keras
from kerasdl.weights.torch_file import read as read_checkpoint


class Table:
    """Table of a flatbuffer, read by the format's own rules."""

    def __init__(self, content, place):
        self.content, self.place = content, place

    def at(self, field):
        (back,) = struct.unpack_from("<i", self.content, self.place)
        vtable = self.place - back
        (size,) = struct.unpack_from("<H", self.content, vtable)
        entry = 4 + 2 * field
        offset = struct.unpack_from("<H", self.content, vtable + entry)[0] if entry < size else 0
        return self.place + offset if offset else None

    def number(self, field, form):
        place = self.at(field)
        return 0 if place is None else struct.unpack_from(form, self.content, place)[0]

    def target(self, field):
        place = self.at(field)
        return place + struct.unpack_from("<I", self.content, place)[0]

    def table(self, field):
        return Table(self.content, self.target(field))

    def text(self, field):
        place = self.target(field)
        (size,) = struct.unpack_from("<I", self.content, place)
        return self.content[place + 4 : place + 4 + size].decode()

    def tables(self, field):
        place = self.target(field)
        (size,) = struct.unpack_from("<I", self.content, place)
        places = range(place + 4, place + 4 + 4 * size, 4)
        return [Table(self.content, each + struct.unpack_from("<I", self.content, each)[0]) for each in places]

    def floats(self, field):
        place = self.target(field)
        (size,) = struct.unpack_from("<I", self.content, place)
        return struct.unpack_from(f"<{size}f", self.content, place + 4)


def android_metadata(path):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes()))
    buffers = [model.buffers[each.buffer].data for each in model.metadata if each.name == b"TFLITE_METADATA"]
    if not buffers:
        return None
    content = np.asarray(buffers[0], np.uint8).tobytes()
    assert content[4:8] == b"M001"
    return Table(content, struct.unpack_from("<I", content)[0])


@pytest.fixture(scope="module")
def digits():
    return kerasdl.load_bundle("digits_mobilenet")


@pytest.mark.parametrize("raw_shape", [None, (40, 36, 3)])
def test_the_table_describes_image_and_scores(raw_shape, digits, tmp_path):
    path = tmp_path / "a.tflite"
    raw_dtype = "float32" if raw_shape is None else "uint8"
    digits.export(path, raw_shape=raw_shape, scores=True, raw_dtype=raw_dtype)
    (graph,) = android_metadata(path).tables(3)
    (image,), (scores,) = graph.tables(2), graph.tables(3)
    assert image.text(0) == ("image" if raw_shape is None else "raw")
    content = image.table(3)
    assert content.number(0, "<B") == 2  # ImageProperties
    height, width, _ = raw_shape or (32, 32, 3)
    properties = content.table(1)
    assert properties.number(0, "<b") == 1  # RGB
    assert (properties.table(1).number(0, "<I"), properties.table(1).number(1, "<I")) == (width, height)
    (unit,) = image.tables(4)
    assert unit.number(0, "<B") == 1  # NormalizationOptions
    mean, std = unit.table(1).floats(0), unit.table(1).floats(1)
    np.testing.assert_allclose((mean[0], std[0]), (127.5, 127.5) if raw_shape is None else (0, 1))
    (labels,) = scores.tables(6)
    assert (labels.text(0), labels.number(2, "<b")) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().split() == list(digits.labels)
        assert archive.infolist()[0].compress_type == zipfile.ZIP_STORED
    assert kerasdl.deploy.read_metadata(path)["labels"] == list(digits.labels)
    shape = (1, height, width, 3)
    assert run_exported(path, np.zeros(shape, raw_dtype))["scores"].shape == (1, 10)


def test_integer_ends_have_no_such_table(digits, tmp_path):
    path = tmp_path / "a.tflite"
    digits.export(path, quantize="int8", representative="digits", integer_io=True)
    assert android_metadata(path) is None
    assert not zipfile.is_zipfile(path)
    assert kerasdl.deploy.read_metadata(path)["labels"] == list(digits.labels)


def test_zip_readers_do_not_take_it_for_theirs(digits, tmp_path):
    path = tmp_path / "a.tflite"
    digits.export(path)
    assert zipfile.is_zipfile(path)
    with pytest.raises(ArgumentError, match="TFLite"):
        from_tf_keras(path)
    with pytest.raises(WeightsError, match="it is a TFLite file"):
        read_checkpoint(path)
    with pytest.raises(BundleError):
        kerasdl.load_bundle(path)
