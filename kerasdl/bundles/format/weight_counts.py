"""Number of weights in files of Keras, read from the shapes in HDF5 without TensorFlow; no array is read."""

import io
import math
import zipfile
from pathlib import Path

import h5py

LARGEST = 2**30
NOT_WEIGHTS = ("seed_generator", "optimizer")
"""Groups of a file that hold no weights of layers."""


def weights_of_keras(content: bytes) -> int:
    """Returns the number of weights in the content of a .keras file."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entry = archive.getinfo("model.weights.h5")
        if entry.file_size > LARGEST:
            raise ValueError(f"its weights take {entry.file_size} bytes")
        return _counted(io.BytesIO(archive.read(entry)))[0]


def weights_of_h5(path: Path) -> tuple[int, bool]:
    """Returns the number of weights in an HDF5 file, and whether it holds a model's configuration too."""
    return _counted(path)


def _counted(file: io.BytesIO | Path) -> tuple[int, bool]:
    total = 0

    def add(name: str, entry: h5py.Group | h5py.Dataset) -> None:
        nonlocal total
        if isinstance(entry, h5py.Dataset) and not any(word in name for word in NOT_WEIGHTS):
            total += math.prod(entry.shape)

    with h5py.File(file, "r") as opened:
        opened.visititems(add)  # follows no links to other files
        return total, "model_config" in opened.attrs
