"""Runs what an export wrote, in its own runtime."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.core import checks

from .export import saved_model
from .onnx import runtime as onnx_runtime
from .tflite import runtime as tflite_runtime

RUNTIMES = {".tflite": tflite_runtime, ".onnx": onnx_runtime, "": saved_model}


def run_exported(path: str | os.PathLike, inputs: Any) -> dict[str, np.ndarray]:
    """Runs a .tflite file in LiteRT, an .onnx file in onnxruntime or a SavedModel folder in TensorFlow.

    Args:
        path: what an export wrote.
        inputs: an array (B, ...) for a model of one input, or a dict of arrays by input name.

    Returns:
        The outputs (B, ...) by name.

    Raises:
        ArgumentError: there is no such file, or its inputs have other names.

    Example:
        >>> report = export_tflite(model, "model.tflite")
        >>> run_exported("model.tflite", images)["head"].shape
        (8, 4)
    """
    path = Path(path)
    if not path.exists():
        checks.refuse("path must be a file or a folder that an export wrote", str(path))
    runtime = RUNTIMES[checks.one_of("the suffix of path", "" if path.is_dir() else path.suffix, RUNTIMES)]
    names = runtime.input_names(path)
    arrays = dict(inputs) if isinstance(inputs, Mapping) else dict.fromkeys(names[:1], np.asarray(inputs))
    if set(arrays) != set(names):
        checks.refuse(f"{path.name} takes the inputs {tuple(names)}", tuple(arrays), "Pass a dict of arrays by name.")
    return runtime.run_file(path, arrays)
