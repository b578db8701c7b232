"""Bundles for the tests: honest ones, and forged ones whose checksums are right, so that deeper checks are reached."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import h5py

from kerasdl.bundles.format import archive
from kerasdl.bundles.format.manifest import Manifest, read_json, read_manifest
from kerasdl.bundles.format.model_file import load_model_file

FIELDS = {
    "name": "tiny",
    "task": "tabular_classification",
    "inputs": [{"name": "features", "shape": [6], "dtype": "float32"}],
    "labels": ["a", "b", "c", "d"],
}


def write_bundle(model, path: Path) -> Path:
    """Writes an honest bundle of a model."""

    def fill(folder: Path) -> None:
        model.save(folder / "model.keras")
        (folder / "bundle.json").write_text(Manifest(**FIELDS).to_json())
        (folder / "preprocess.json").write_text('{"mean": [0.0]}')
        (folder / "card.md").write_text("# tiny\n")

    return archive.write(fill, path)


def read_bundle(path: Path, digest: str | None = None):
    """Reads a bundle as `load_bundle` does; returns its manifest and model."""
    with archive.read(path, digest) as folder:
        manifest = read_manifest(folder)
        read_json(folder / manifest.parts["preprocess"])
        return manifest, load_model_file(folder / manifest.parts["model"])


def members(content: bytes) -> dict[str, bytes]:
    """Returns the files in a zip."""
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def zipped(files: dict[str, bytes]) -> bytes:
    """Returns a zip of files, whose names are written as they are, however evil."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in files.items():
            entry = zipfile.ZipInfo("replaced below")
            entry.filename, entry.compress_type = name, zipfile.ZIP_DEFLATED
            packed.writestr(entry, content)
    return buffer.getvalue()


def summed(files: dict[str, bytes]) -> dict[str, bytes]:
    """Returns the files with checksums that are right."""
    files = {name: content for name, content in files.items() if name != "SHA256SUMS"}
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    return {**files, "SHA256SUMS": "".join(lines).encode()}


def forge_model(content: bytes, change=None, weights: bytes | None = None) -> bytes:
    """Returns a .keras file with its configuration changed by a function, or with other weights."""
    files = members(content)
    if change is not None:
        config = json.loads(files["config.json"])
        files["config.json"] = json.dumps(change(config) or config).encode()
    if weights is not None:
        files["model.weights.h5"] = weights
    return zipped(files)


def saved(model, folder):
    path = folder / "model.keras"
    model.save(path)
    return path


def layer(class_name, module="keras.layers", registered=None, /, **config):
    return {"module": module, "class_name": class_name, "config": config, "registered_name": registered}


def stacked(shape, *inner):
    """Returns a function that replaces a model by a Sequential of the given layers."""
    first = layer("InputLayer", batch_shape=[None, *shape], dtype="float32", name="input")
    for number, each in enumerate(inner):
        if isinstance(each, dict):
            each["config"].setdefault("name", f"layer{number}")
    config = {"name": "forged", "layers": [first, *inner]}
    return lambda _: {"module": "keras", "class_name": "Sequential", "config": config, "registered_name": None}


def weights_file(arrays, change=None):
    """Returns an HDF5 file in memory, changed by a function before it is closed."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, value in arrays.items():
            file[name] = value
        if change is not None:
            change(file)
    return buffer.getvalue()


def without_ids(value):
    """Drops what numbers objects by their address."""
    if isinstance(value, dict):
        return {
            key: without_ids(each) for key, each in value.items() if key not in ("shared_object_id", "build_config")
        }
    return [without_ids(each) for each in value] if isinstance(value, (list, tuple)) else value
