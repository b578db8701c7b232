"""Reader of safetensors: a JSON header with the place of each array, then raw bytes. Nothing is executed."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kerasdl.core.errors import WeightsError

MAX_HEADER = 100 * 2**20
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns the arrays of a file, or of a folder with model.safetensors or its shards, by name; floats as float32.

    Arrays are memory-mapped and read on first use.

    Raises:
        WeightsError: the file does not exist or is damaged.

    Example:
        >>> read("vit/model.safetensors")["classifier.bias"].shape
        (1000,)
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise WeightsError(f"weights must be a file; nothing is at {str(path)!r}. Check the path.")
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(MAX_HEADER, size - 8):
            raise WeightsError(f"{path} must be safetensors; its header would have {length} bytes of {size}.")
        try:
            header = json.loads(file.read(length))
            entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
            checked = {name: _checked(entry, size - 8 - length) for name, entry in entries.items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise WeightsError(f"{path} must be safetensors with a valid header; got: {error}") from error
    return {
        name: _floats(
            np.memmap(path, dtype, "r", 8 + length + start, shape) if math.prod(shape) else np.zeros(shape), kind
        )
        for name, (kind, dtype, shape, start) in checked.items()
    }


def _read_folder(folder: Path) -> dict[str, np.ndarray]:
    if (folder / SINGLE).is_file():
        return read(folder / SINGLE)
    if not (folder / INDEX).is_file():
        raise WeightsError(f"a folder of weights must hold {SINGLE} or {INDEX}; got {str(folder)!r}.")
    try:
        parts: Mapping[str, str] = json.loads((folder / INDEX).read_text())["weight_map"]
        names = sorted({Path(part).name for part in parts.values()})  # no path that leaves the folder
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightsError(f"{folder / INDEX} must map names to files; got: {error}") from error
    return {name: array for part in names for name, array in read(folder / part).items()}


def _checked(entry: Mapping, room: int) -> tuple[str, str, tuple[int, ...], int]:
    kind, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    dtype = DTYPES[kind]
    if not all(type(size) is int and size >= 0 for size in (*shape, start, end)) or end > room:
        raise ValueError(f"an array at {start} to {end} of {room} bytes")
    if math.prod(shape) * np.dtype(dtype).itemsize != end - start:
        raise ValueError(f"{end - start} bytes for the shape {shape} of {kind}")
    return kind, dtype, shape, start


def _floats(array: np.ndarray, kind: str) -> np.ndarray:
    if kind == "BF16":  # the upper half of a float32
        return (array.astype("<u4") << 16).view("<f4")
    return array.astype("float32") if kind in ("F16", "F64") else array
