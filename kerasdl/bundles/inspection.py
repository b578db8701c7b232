"""Description of a model file of any kind: its inputs, outputs, labels and preprocessing; nothing in it is executed."""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from kerasdl import deploy
from kerasdl.core.errors import BundleError
from kerasdl.core.files import near_miss

from .format.archive import MANIFEST, one_error, open_zip
from .format.single_files import read_manifest_alone, read_single_files
from .format.weight_counts import weights_of_h5, weights_of_keras
from .listing import list_bundles, path_of
from .locating import check_not_beside

KINDS = "a bundle, .keras, .h5, .tflite, .onnx, .safetensors, .pth or a SavedModel"
LARGEST_HEADER = 2**26
FIRST = 8
"""Tensors that are listed of a file of weights."""


@dataclass(frozen=True)
class FileDescription:
    """Description of a model file.

    Example:
        >>> inspect_file("digits_mobilenet").kind
        'kerasdl bundle'
    """

    path: str
    """The file or folder."""
    kind: str
    """Its kind, such as `TFLite`."""
    bytes: int
    """Its size."""
    inputs: tuple[Mapping[str, Any], ...] = ()
    """Name, shape, dtype and, of quantised ones, scale and zero point of each input; None is a free size."""
    outputs: tuple[Mapping[str, Any], ...] = ()
    """The same of each output."""
    labels: tuple[str, ...] = ()
    """Names of the outputs' columns."""
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    """Settings that turn raw input into the model's."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else the file tells: model, number of weights, figures, operations."""


def inspect_file(path: str | os.PathLike) -> FileDescription:
    """Describes a model file: its kind, inputs, outputs, labels and preprocessing.

    Args:
        path: a bundle (a folder, a .zip, an embedded name), a .keras, .h5, .tflite, .onnx, .safetensors or .pth file,
            or a SavedModel folder. The content decides the kind. A pickle, as in .pth files, is not opened.

    Returns:
        The description.

    Raises:
        BundleError: nothing is there, or it is damaged or of another kind.

    Example:
        >>> description = inspect_file("digits_mobilenet")
        >>> description.inputs[0]["shape"], description.labels[:2]
        ((32, 32, 3), ('0', '1'))
    """
    if not Path(path).exists() and str(path) in list_bundles():
        return _bundle(path_of(str(path)))
    path = Path(path)
    if not path.exists():
        raise BundleError(f"inspect reads {KINDS}; nothing is at {str(path)!r}. Check the path.{near_miss(path)}")
    check_not_beside(path)
    with one_error(path, "file"):
        reader = _reader_of_folder(path) if path.is_dir() else _reader_of_file(path)
        if reader is None:
            raise BundleError(f"inspect reads {KINDS}; {str(path)!r} is none of them.")
        return reader(path)


def _reader_of_folder(path: Path) -> Callable | None:
    names = {each.name for each in path.iterdir()}
    return _bundle if MANIFEST in names else partial(_exported, "SavedModel") if "saved_model.pb" in names else None


def _reader_of_file(path: Path) -> Callable | None:
    with open(path, "rb") as file:
        head = file.read(16)
    if head[4:8] == b"TFL3":  # before zip: Android's metadata make the file end like one
        return partial(_exported, "TFLite")
    if head[:4] == b"PK\3\4":
        with open_zip(path, max_files=100_000, max_bytes=2**40) as (_, entries):
            names = {entry.filename.rpartition("/")[2] for entry in entries}
        kinds = {MANIFEST: _bundle, "model.weights.h5": _keras, "data.pkl": _torch}
        return next((reader for name, reader in kinds.items() if name in names), None)
    if head[:4] == b"\x89HDF":
        return _h5
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < LARGEST_HEADER:
        return _safetensors
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return partial(_exported, "ONNX")
    return _torch if suffix in (".pth", ".pt") and head[:1] == b"\x80" else None


def _bundle(path: Path) -> FileDescription:
    manifest, settings = read_manifest_alone(path)
    model = manifest.parts["model"]
    content = read_single_files(path, [model], limit=2**28)[model]
    width = (None, len(manifest.labels))
    outputs = ({"name": manifest.outputs or "outputs", "shape": width, "dtype": "float32"},) if manifest.labels else ()
    facts = {
        "name": manifest.name,
        "task": manifest.task,
        "model": manifest.builder or "of its own",
        "params": weights_of_keras(content),
        "licence": manifest.licence or "not stated",
        "measured": {data: dict(figures) for data, figures in manifest.metrics.items()},
        "provenance": dict(manifest.provenance),
    }
    return FileDescription(
        str(path), "kerasdl bundle", _size(path), manifest.inputs, outputs, manifest.labels, settings, facts
    )


def _keras(path: Path) -> FileDescription:
    with open_zip(path) as (archive, _):
        config = json.loads(archive.read("config.json"))
    settings = config["config"]
    layers = settings["layers"]
    entries = [each["config"] for each in layers if each["class_name"] == "InputLayer"]
    inputs = [{"name": each["name"], "shape": tuple(each["batch_shape"]), "dtype": each["dtype"]} for each in entries]
    names = _layer_names(settings["output_layers"]) if "output_layers" in settings else [layers[-1]["config"]["name"]]
    facts = {"class": config["class_name"], "layers": len(layers), "params": weights_of_keras(path.read_bytes())}
    outputs = tuple({"name": name, "shape": "as its layers compute it", "dtype": "-"} for name in names)
    return FileDescription(str(path), "Keras model", _size(path), tuple(inputs), outputs, facts=facts)


def _layer_names(value: Any) -> list[str]:
    """Returns the names in Keras's lists of `[layer, node, tensor]`, which may be nested in lists and dicts."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if value and isinstance(value[0], str):
        return [value[0]]
    return [name for each in value for name in _layer_names(each)]


def _h5(path: Path) -> FileDescription:
    params, is_model = weights_of_h5(path)
    kind = "Keras model in HDF5" if is_model else "Keras weights in HDF5"
    return FileDescription(str(path), kind, _size(path), facts={"params": params})


def _exported(kind: str, path: Path) -> FileDescription:
    stored = dict(deploy.read_metadata(path))
    sides = [tuple(stored.pop(side, ())) for side in ("inputs", "outputs")]
    labels, preprocess = tuple(stored.pop("labels", ())), stored.pop("preprocessing", {})
    return FileDescription(str(path), kind, _size(path), *sides, labels, preprocess, stored)


def _safetensors(path: Path) -> FileDescription:
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    tensors = {name: each for name, each in header.items() if name != "__metadata__"}
    params = sum(math.prod(each["shape"]) for each in tensors.values())
    listed = [f"{name} {each['dtype']} {tuple(each['shape'])}" for name, each in list(tensors.items())[:FIRST]]
    facts = {"tensors": len(tensors), "params": params, "first tensors": listed, **header.get("__metadata__", {})}
    return FileDescription(str(path), "weights in safetensors", _size(path), facts=facts)


def _torch(path: Path) -> FileDescription:
    note = "a pickle can run code, so it is not opened; save it as .safetensors, or name it by --weights with its peer"
    return FileDescription(str(path), "PyTorch file", _size(path), facts={"content": note})


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)
