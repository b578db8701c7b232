"""Runtime of ONNX files: onnxruntime, with inputs and outputs by name."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from ..export.file_tensors import FileTensor
from ..export.metadata import of_texts
from ..export.tracing import in_batches, silenced

DTYPES = {"float": "float32", "double": "float64"}  # dtypes whose ONNX names differ from NumPy's


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Returns an ONNX file opened on the CPU with some number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def input_names(path: Path) -> list[str]:
    """Returns the names of the inputs of an ONNX file."""
    return [each.name for each in session(path, threads=1).get_inputs()]


def stored_metadata(path: Path) -> dict[str, Any]:
    """Returns the values in the metadata_props of an ONNX file."""
    with silenced():
        return of_texts(session(path, threads=1).get_modelmeta().custom_metadata_map)


def run_file(path: Path, arrays: dict[str, np.ndarray], batch: int | None = None) -> dict[str, np.ndarray]:
    """Runs an ONNX file in onnxruntime on one thread, all examples at once or `batch` of them; returns its outputs."""
    with silenced():
        loaded = session(path, threads=1)
        names = [output.name for output in loaded.get_outputs()]
        size = loaded.get_inputs()[0].shape[0]

        def run(part: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return dict(zip(names, loaded.run(names, part), strict=True))

        return in_batches(size if isinstance(size, int) else batch, arrays, run)


def file_tensors(path: Path) -> tuple[tuple[FileTensor, ...], tuple[FileTensor, ...]]:
    """Returns the inputs and the outputs of an ONNX file."""
    with silenced():
        loaded = session(path, threads=1)
    return tuple(
        tuple(
            FileTensor(
                index,
                each.name,
                tuple(size if isinstance(size, int) else None for size in each.shape),
                DTYPES.get(dtype := each.type.removeprefix("tensor(").removesuffix(")"), dtype),
            )
            for index, each in enumerate(tensors)
        )
        for tensors in (loaded.get_inputs(), loaded.get_outputs())
    )
