"""TFLite Metadata as Android's Task Library and MediaPipe read it: a table in the file, and labels in a zip after it.

Field numbers are those of metadata_schema.fbs, version 1.1.0, of tensorflow/tflite-support. A file with labels ends as
a zip does, so that zip readers open it: look for the identifier `TFL3` at its fifth byte first.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers

from ...export.file_tensors import FileTensor
from ...export.metadata import label_lines

NAME, IDENTIFIER, LABELS_FILE = "TFLITE_METADATA", b"M001", "labels.txt"
MIN_PARSER = "1.0.0"
TENSOR_AXIS_LABELS, IMAGE_PROPERTIES = 2, 2  # of the schema's enumeration and of a union
NORMALIZATION, SCORE_THRESHOLDING = 1, 3  # of its union of process units
COLOUR_SPACES = {3: 1, 1: 2}  # RGB and GRAYSCALE by the number of channels
DATE = (1980, 1, 1, 0, 0, 0)  # equal files for equal models


def describes(inputs: Sequence[FileTensor], outputs: Sequence[FileTensor], metadata: Mapping[str, Any]) -> bool:
    """Tells whether the format can describe a file: an image in uint8 or float32, a score for each label out."""
    image, labels = metadata.get("image"), metadata.get("labels")
    if not image or not labels or (len(inputs), len(outputs)) != (1, 1):
        return False
    (source,), (answer,) = inputs, outputs
    is_image = len(source.shape) == 4 and source.shape[3] in COLOUR_SPACES
    dtypes_fit = source.dtype in ("uint8", "float32") and answer.dtype in ("float32", "uint8")
    return is_image and dtypes_fit and answer.shape == (1, len(labels))


def model_metadata(source: FileTensor, answer: FileTensor, metadata: Mapping[str, Any]) -> bytes:
    """Returns the table ModelMetadata of an image classifier.

    Args:
        source: the input of the file.
        answer: its output.
        metadata: `task`, `gives` and `image`, where `multiply` and `add` turn pixels 0..255 into values of the input;
            `calibration`, whose `threshold` a file that gives probabilities names as the least score of a label.
    """
    builder = flatbuffers.Builder(1024)
    image = _input(builder, source, metadata["image"])
    scores = _output(builder, answer, metadata)
    graph = _table(builder, {2: _tables(builder, [image]), 3: _tables(builder, [scores])}, 8)
    texts = {0: metadata.get("task", "classifier"), 1: "Written by kerasdl.", 7: MIN_PARSER}
    fields = {place: builder.CreateString(text) for place, text in texts.items()}
    builder.Finish(_table(builder, {**fields, 3: _tables(builder, [graph])}, 8), IDENTIFIER)
    return bytes(builder.Output())


def with_labels(content: bytes, labels: Sequence[str]) -> bytes:
    """Returns the content of a file followed by a zip that holds labels.txt, not compressed."""
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(zipfile.ZipInfo(LABELS_FILE, DATE), label_lines(labels))
    return stream.getvalue()


def _input(builder: flatbuffers.Builder, source: FileTensor, image: Mapping[str, Any]) -> int:
    """Writes TensorMetadata of an image, whose values are (pixel - mean) / std."""
    size = _table(builder, {}, 2, {0: source.shape[2], 1: source.shape[1]})
    properties = _table(builder, {1: size}, 2, {0: COLOUR_SPACES[source.shape[3]]}, bytes_at=(0,))
    content = _table(builder, {1: properties}, 3, {0: IMAGE_PROPERTIES}, bytes_at=(0,))
    factors, offsets = (image[name] if isinstance(image[name], list) else [image[name]] for name in ("multiply", "add"))
    mean = _floats(builder, [-offset / factor for factor, offset in zip(factors, offsets, strict=True)])
    std = _floats(builder, [1 / factor for factor in factors])
    options = _table(builder, {0: mean, 1: std}, 2)
    unit = _unit(builder, NORMALIZATION, options)
    texts = {0: source.name, 1: " ".join(image["steps"])}
    fields = {place: builder.CreateString(text) for place, text in texts.items()}
    return _table(builder, {**fields, 3: content, 4: _tables(builder, [unit])}, 7)


def _output(builder: flatbuffers.Builder, answer: FileTensor, metadata: Mapping[str, Any]) -> int:
    """Writes TensorMetadata of scores, with the file of their labels."""
    texts = {0: LABELS_FILE, 1: "The label of each score, a line each."}
    fields = {place: builder.CreateString(text) for place, text in texts.items()}
    labels = _table(builder, fields, 5, {2: TENSOR_AXIS_LABELS}, bytes_at=(2,))
    texts = {0: answer.name, 1: f"The {metadata.get('gives', 'scores')} of each label."}
    fields = {place: builder.CreateString(text) for place, text in texts.items()}
    units = _threshold(builder, metadata)
    return _table(builder, {**fields, **units, 6: _tables(builder, [labels])}, 7)


def _threshold(builder: flatbuffers.Builder, metadata: Mapping[str, Any]) -> dict[int, int]:
    """Writes the process unit of the least score, for outputs that are the scores; returns it by its field."""
    calibration = metadata.get("calibration")
    if not calibration or metadata.get("gives") != "probabilities":
        return {}
    builder.StartObject(1)
    builder.PrependFloat32Slot(0, calibration["threshold"], 0.0)
    options = builder.EndObject()
    return {4: _tables(builder, [_unit(builder, SCORE_THRESHOLDING, options)])}


def _unit(builder: flatbuffers.Builder, kind: int, options: int) -> int:
    return _table(builder, {1: options}, 2, {0: kind}, bytes_at=(0,))


def _table(
    builder: flatbuffers.Builder,
    offsets: Mapping[int, int],
    fields: int,
    numbers: Mapping[int, int] | None = None,
    bytes_at: Sequence[int] = (),
) -> int:
    """Writes a table: other objects by field, and numbers, of one byte at `bytes_at` and of four elsewhere."""
    builder.StartObject(fields)
    for place, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(place, offset, 0)
    for place, number in (numbers or {}).items():
        write = builder.PrependUint8Slot if place in bytes_at else builder.PrependUint32Slot
        write(place, number, 0)
    return builder.EndObject()


def _tables(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _floats(builder: flatbuffers.Builder, numbers: Sequence[float]) -> int:
    builder.StartVector(4, len(numbers), 4)
    for number in reversed(numbers):
        builder.PrependFloat32(number)
    return builder.EndVector()
