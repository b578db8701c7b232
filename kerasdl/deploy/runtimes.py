"""Running of exported files, each in its own runtime, and reading of their metadata."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.core import checks, files

from .export import saved_model
from .export.file_tensors import FileTensor
from .export.signatures import DEFAULTS, chosen_signature
from .onnx import runtime as onnx_runtime
from .samples.model_inputs import normalized_name
from .tflite import flatbuffer
from .tflite import runtime as tflite_runtime

RUNTIMES = {".tflite": tflite_runtime, ".onnx": onnx_runtime, "": saved_model}
TENSOR_READERS = {**RUNTIMES, ".tflite": flatbuffer}  # of tensors and metadata


def run_exported(path: str | os.PathLike, inputs: Any, *, signature: str | None = None) -> dict[str, np.ndarray]:
    """Runs a .tflite file in LiteRT, an .onnx file in onnxruntime or a SavedModel folder in TensorFlow.

    Args:
        path: the file or folder that an export wrote.
        inputs: an array (B, ...) for a model of one input, or a dict of arrays by input name, the file's or Keras's.
            Whole numbers are taken for real ones, and 64 bits for 32.
        signature: which of the signatures of a file to run; None runs `serve`, or the only one.

    Returns:
        The outputs (B, ...) by name.

    Raises:
        ArgumentError: there is no such file, its inputs have other names, shapes or dtypes, or it has several
            signatures and none is named.

    Example:
        >>> report = export_tflite(model, "model.tflite")
        >>> run_exported("model.tflite", images)["head"].shape
        (8, 4)
        >>> report = export_tflite({"encode": model, "again": model}, "two.tflite")
        >>> run_exported("two.tflite", images, signature="encode")["head"].shape
        (8, 4)
    """
    path = Path(path)
    if not path.exists():
        checks.refuse("path must be a file or a folder that an export wrote", str(path))
    suffix = checks.one_of("the suffix of path", "" if path.is_dir() else path.suffix, RUNTIMES)
    runtime = RUNTIMES[suffix]
    options = _signature_of(path, signature)
    names = runtime.input_names(path, **options)
    by_name = inputs if isinstance(inputs, Mapping) else dict.fromkeys(names[:1], np.asarray(inputs))
    arrays = {name if name in names else normalized_name(name): array for name, array in by_name.items()}
    if set(arrays) != set(names):
        checks.refuse(f"{path.name} takes the inputs {tuple(names)}", tuple(arrays), "Pass a dict of arrays by name.")
    tensors, _ = TENSOR_READERS[suffix].file_tensors(path, **options)
    if signature is not None and not all(not each.shape or each.shape[0] in (None, 1) for each in tensors):
        rule = f"a signature to run must take examples one by one ({signature!r} of {path.name})"
        checks.refuse(rule, [each.shape for each in tensors], "Call it through the file's own runtime.")
    return runtime.run_file(path, {each.name: _fitting(arrays[each.name], each, path) for each in tensors}, **options)


def read_metadata(path: str | os.PathLike) -> dict[str, Any]:
    """Returns the values that an export stored in a file, such as labels, and the file's inputs and outputs.

    The values are JSON in the metadata buffer "kerasdl" of a TFLite file, in the metadata_props of an ONNX file and in
    assets.extra/kerasdl.json of a SavedModel, which other readers can read too. `inputs` and `outputs` are read from
    the file itself, unless a value of that name was stored: a dict for each, in the file's order, of index, name, shape
    (None for a free size), dtype, scale and zero_point. A file written from several models has `signatures` instead,
    with inputs and outputs by the name of each.

    Args:
        path: a .tflite or .onnx file, or a SavedModel folder.

    Returns:
        The stored values by name; `inputs` and `outputs`, or `signatures`.

    Raises:
        ArgumentError: there is no such file, or it is of another kind.

    Example:
        >>> report = export_tflite(model, "model.tflite", metadata={"labels": ["cat", "dog", "cow", "hen"]})
        >>> read_metadata("model.tflite")["labels"][1]
        'dog'
        >>> read_metadata("model.tflite")["inputs"][0]["shape"]
        [1, 32, 32, 3]
    """
    path = Path(path)
    kinds = {".tflite": files.is_tflite(path), ".onnx": path.suffix == ".onnx" and path.is_file()}
    kinds[""] = (path / "saved_model.pb").is_file()
    suffix = next((suffix for suffix, fits in kinds.items() if fits), None)
    if suffix is None:
        hint = "" if path.exists() else "Nothing stands there: check the path."
        checks.refuse("path must be a TFLite file, an .onnx file or a SavedModel folder", str(path), hint)
    names = signatures_of(path) if suffix != ".tflite" else tflite_runtime.signatures(path)
    several = len(names) > 1 and not set(DEFAULTS) & set(names)
    described = {name: _described_tensors(path, suffix, name) for name in names} if several else {}
    stored = TENSOR_READERS[suffix].stored_metadata(path)
    if several:
        return {"signatures": described, **stored}
    return {**_described_tensors(path, suffix, names[0] if len(names) == 1 else None), **stored}


def _described_tensors(path: Path, suffix: str, signature: str | None) -> dict[str, list[dict[str, Any]]]:
    tensors = TENSOR_READERS[suffix].file_tensors(path, **({"signature": signature} if signature else {}))
    sides = zip(("inputs", "outputs"), tensors, strict=True)
    return {side: [{**vars(each), "shape": list(each.shape)} for each in tensors] for side, tensors in sides}


def signatures_of(path: Path) -> list[str]:
    """Returns the names of the signatures of a TFLite file or a SavedModel folder; an ONNX file has none."""
    runtime = RUNTIMES["" if path.is_dir() else path.suffix]
    return [] if runtime is onnx_runtime else runtime.signatures(path)


def _signature_of(path: Path, asked: str | None) -> dict[str, str]:
    name = chosen_signature(path.name, signatures_of(path), asked)
    return {"signature": name} if name else {}


def _fitting(values: Any, tensor: FileTensor, path: Path) -> np.ndarray:
    """Returns an array in the dtype of a file's input; refuses one of another shape, since LiteRT would resize."""
    array = np.asarray(values)
    pairs = zip(array.shape[1:], tensor.shape[1:], strict=False)
    fits = array.ndim == len(tensor.shape) and all(size is None or own == size for own, size in pairs)
    fits = fits or not tensor.shape  # the file does not say
    is_quantized = tensor.scale is not None and array.dtype.kind in "iuf"
    stays_as_it_is = is_quantized or tensor.dtype not in np.sctypeDict  # such as texts
    if not fits or not (stays_as_it_is or np.can_cast(array.dtype, tensor.dtype, "same_kind")):
        rule = f"input {tensor.name!r} of {path.name} must be {tensor.dtype} of shape (B, {str(tensor.shape[1:])[1:]}"
        checks.refuse(rule, f"{array.dtype} {array.shape}", "Prepare it as the model was trained.")
    return array if stays_as_it_is else array.astype(tensor.dtype)
