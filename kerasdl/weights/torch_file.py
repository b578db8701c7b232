"""Reader of PyTorch checkpoints (.pth, .pt, .bin) without PyTorch: tensors by name, without running code.

A checkpoint is a pickle that names storages, and the bytes of these. Only the names that build a tensor are allowed.
"""

import collections
import math
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kerasdl.core import files
from kerasdl.core.errors import WeightsError

SUFFIXES = (".pth", ".pt", ".bin")
DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of the format before 2020, several pickles in a row
MAX_PICKLE = 100 * 2**20
MAX_DEPTH = 4


@dataclass(frozen=True)
class Kind:
    """The dtype of a storage, named as PyTorch names it."""

    name: str


@dataclass(frozen=True)
class Storage:
    """Storage: numbers of one dtype that tensors refer to."""

    kind: Kind
    key: str
    count: int


@dataclass(frozen=True)
class View:
    """Tensor as a view of its storage; offset and strides count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns the tensors of a checkpoint by name; floats as float32.

    If the state is part of a larger record, such as `{"state_dict": ..., "epoch": 3}`, the only mapping that holds
    tensors is read.

    Raises:
        WeightsError: the file does not exist or is damaged, it holds several networks, or it names something other than
            a part of a tensor.

    Example:
        >>> read("efficientnet-lite0.pth")["_fc.bias"].shape
        (1000,)
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"weights must be a file; nothing is at {str(path)!r}. Check the path.")
    if files.is_tflite(path):
        raise WeightsError(f"{path} must be a valid PyTorch checkpoint; it is a TFLite file. Give what was trained.")
    try:
        if zipfile.is_zipfile(path):
            return _read_zip(path)
        with open(path, "rb") as file:
            return _read_row(file, path.stat().st_size)
    except WeightsError as error:
        raise WeightsError(f"{path} {error}") from None
    except RecursionError:
        raise WeightsError(f"{path} must be a valid PyTorch checkpoint; its records are nested too deep.") from None
    except Exception as error:  # a stranger's pickle can fail in any way
        raise WeightsError(f"{path} must be a valid PyTorch checkpoint; got: {str(error)[:200]}") from error


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        records = [info for info in archive.infolist() if info.filename.rsplit("/", 1)[-1] == "data.pkl"]
        if len(records) != 1 or any(info.compress_type for info in archive.infolist()):
            raise WeightsError("must hold one data.pkl and be stored as it is, as torch.save writes it.")
        root = records[0].filename.removesuffix("data.pkl")
        order = f"{root}byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise WeightsError("must be little-endian; save it again on a little-endian machine.")
        with archive.open(records[0]) as file:
            state = _unpickled(file)

        def bytes_of(storage: Storage) -> bytes:
            return archive.read(f"{root}data/{storage.key}")

        return _arrays(state, bytes_of)


def _read_row(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    if _unpickled(file) != MAGIC or _unpickled(file) != PROTOCOL:
        raise WeightsError("must be written by torch.save.")
    if not _unpickled(file).get("little_endian"):
        raise WeightsError("must be little-endian; save it again on a little-endian machine.")
    reader = Reader(file)
    state, keys = reader.load(), _unpickled(file)
    content = {}
    for key in keys:
        storage = reader.storages[key]
        count = int.from_bytes(file.read(8), "little")
        length = count * np.dtype(_dtype(storage.kind)).itemsize
        if count != storage.count or length > size:
            raise WeightsError(f"must hold {storage.count} numbers in the storage {key!r}; it says {count}.")
        content[key] = file.read(length)
    return _arrays(state, lambda storage: content[storage.key])


class Reader(pickle.Unpickler):
    """Unpickler that builds tensors, dicts and plain values, and refuses any other name."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Returns the substitute for an allowed name; refuses any other name."""
        if module in ("torch", "torch.storage") and name in DTYPES:
            return Kind(name)
        allowed = {
            ("torch._utils", "_rebuild_tensor_v2"): _view,
            ("torch._utils", "_rebuild_tensor"): _view,
            ("torch._utils", "_rebuild_parameter"): _first,
            ("collections", "OrderedDict"): collections.OrderedDict,
        }
        if (module, name) not in allowed:
            raise WeightsError(
                f"must hold tensors alone; it names {module}.{name}, which is not built here. Save "
                "`model.state_dict()`, or convert the file to safetensors."
            )
        return allowed[module, name]

    def persistent_load(self, record: Any) -> Storage:
        """Returns the storage for the record in a tensor."""
        _, kind, key, _, count = record[:5]
        if len(record) > 5 and record[5] is not None:
            raise WeightsError("must hold no views of storages, as PyTorch before 0.4 wrote them.")
        if not (isinstance(kind, Kind) and isinstance(key, str) and type(count) is int):
            raise WeightsError(f"must describe each storage by dtype, key and length; got {str(record)[:100]}.")
        self.storages[key] = Storage(kind, key, count)
        return self.storages[key]


def _unpickled(file: BinaryIO) -> Any:
    return Reader(file).load()


def _view(storage: Storage, offset: int, shape: tuple, strides: tuple, *_: Any) -> View:
    if not isinstance(storage, Storage):
        raise WeightsError("must build each tensor from a storage.")
    shape, strides = tuple(shape), tuple(strides)
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or not all(type(number) is int and number >= 0 for number in numbers):
        raise WeightsError(f"must hold tensors of whole offsets, sizes and strides; got {numbers}.")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if math.prod(shape) and (last >= storage.count or math.prod(shape) > storage.count):
        raise WeightsError(
            f"must hold tensors inside their storages; {shape} at {offset} leaves {storage.count} numbers."
        )
    return View(storage, offset, shape, strides)


def _first(value: Any, *_: Any) -> Any:
    return value


def _arrays(state: Any, bytes_of: Callable[[Storage], bytes]) -> dict[str, np.ndarray]:
    views = _only_network(state)
    storages: dict[str, np.ndarray] = {}
    arrays = {}
    for name, view in views.items():
        storage = view.storage
        dtype = np.dtype(_dtype(storage.kind))
        if storage.key not in storages:
            content = bytes_of(storage)
            if len(content) != storage.count * dtype.itemsize:
                raise WeightsError(f"must hold {storage.count} numbers for {name!r}; its bytes end early.")
            storages[storage.key] = np.frombuffer(content, dtype)
        steps = tuple(stride * dtype.itemsize for stride in view.strides)
        numbers = storages[storage.key][view.offset :]
        array = np.lib.stride_tricks.as_strided(numbers, view.shape, steps) if view.shape else numbers[0]
        arrays[name] = _floats(np.array(array), storage.kind)
    return arrays


def _only_network(state: Any) -> dict[str, View]:
    networks = _networks(state)
    if len(networks) != 1:
        raise WeightsError(
            f"must hold the tensors of one network; it holds {len(networks)}. Save its `state_dict()` by itself."
        )
    return networks[0]


def _networks(state: Any, depth: int = 0) -> list[dict[str, View]]:
    """Returns the outermost mappings of names to tensors in a record."""
    if not isinstance(state, Mapping) or depth > MAX_DEPTH:
        return []
    views = {name: value for name, value in state.items() if isinstance(value, View) and isinstance(name, str)}
    if views:
        return [views]
    return [network for value in state.values() for network in _networks(value, depth + 1)]


def _dtype(kind: Kind) -> str:
    return DTYPES[kind.name]


def _floats(array: np.ndarray, kind: Kind) -> np.ndarray:
    if kind.name == "BFloat16Storage":  # the upper half of a float32
        return (array.astype("<u4") << 16).view("<f4")
    return array.astype("float32") if array.dtype.kind == "f" else array
