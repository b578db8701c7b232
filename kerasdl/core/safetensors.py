"""Reader and writer of safetensors: a JSON header with the place of each array, then raw bytes. Nothing is executed."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .errors import WeightsError
from .files import writing

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
    checked, start, _ = _header(path)
    return {
        name: _floats(np.memmap(path, dtype, "r", start + place, shape) if math.prod(shape) else np.zeros(shape), kind)
        for name, (kind, dtype, shape, place) in checked.items()
    }


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """Returns the texts that a file keeps beside its arrays, by name.

    Raises:
        WeightsError: the file does not exist or is damaged.

    Example:
        >>> read_metadata("vit/model.safetensors")["format"]
        'pt'
    """
    return _header(Path(path))[2]


def write(path: str | os.PathLike, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Writes arrays of float32 by name, atomically; equal arrays give equal bytes.

    Args:
        path: the new file.
        arrays: numbers, written as float32.
        metadata: texts by name, which stand in the header.

    Example:
        >>> write("small.safetensors", {"kernel": np.eye(2)}, {"format": "pt"})
        >>> read("small.safetensors")["kernel"].shape
        (2, 2)
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    plain, place = {name: np.asarray(array, "<f4") for name, array in sorted(arrays.items())}, 0
    for name, array in plain.items():
        header[name] = {"dtype": "F32", "shape": [*array.shape], "data_offsets": [place, place + array.nbytes]}
        place += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with writing(path) as beside, open(beside, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in plain.values():
            file.write(array.tobytes())


def _header(path: Path) -> tuple[dict[str, tuple[str, str, tuple[int, ...], int]], int, dict[str, str]]:
    """Returns kind, dtype, shape and place of each array, the start of the arrays, and the metadata."""
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
    metadata = header.get("__metadata__") or {}
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise WeightsError(f"{path} must be safetensors; its metadata are no texts by name.")
    return checked, 8 + length, metadata


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
