"""Runtime of TFLite files: LiteRT, with inputs and outputs by name."""

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from ..export.tracing import in_batches, silenced

SIGNATURE = "serve"

Arrays = dict[str, np.ndarray]


def opened(path: Path, threads: int = 1) -> Interpreter:
    """Returns a TFLite file opened in LiteRT."""
    return Interpreter(model_path=str(path), num_threads=threads)


def serving(interpreter: Interpreter, signature: str | None = None) -> Any:
    """Returns the runner of a signature; None is `serve`, or `serving_default` in files of other exporters."""
    names = list(interpreter.get_signature_list())
    usual = next((name for name in (SIGNATURE, "serving_default") if name in names), None)
    return interpreter.get_signature_runner(signature or usual)


def signatures(path: Path) -> list[str]:
    """Returns the names of the signatures of a TFLite file."""
    with silenced():
        return list(opened(path).get_signature_list())


def input_names(path: Path, signature: str | None = None) -> list[str]:
    """Returns the names of the inputs of a TFLite file's signature."""
    with silenced():
        return list(serving(opened(path), signature).get_input_details())


def run_file(path: Path, arrays: Arrays, batch: int = 1, signature: str | None = None) -> Arrays:
    """Runs a TFLite file in LiteRT on one thread, example by example; returns its outputs by name.

    Where inputs or outputs of the file are quantised, they are converted from and to real numbers.
    """
    with silenced():
        serve = serving(opened(path), signature)
        inputs, outputs = serve.get_input_details(), serve.get_output_details()

        def run(part: Arrays) -> Arrays:
            values = serve(**{name: _quantized(array, inputs[name]) for name, array in part.items()})
            return {name: _dequantized(np.array(value), outputs[name]) for name, value in values.items()}

        return in_batches(batch, arrays, run)


def quantized_io(path: Path) -> list[str]:
    """Returns a sentence for each quantised input and output of a file: its dtype, scale and zero point."""
    with silenced():
        serve = serving(opened(path))
    details = {**serve.get_input_details(), **serve.get_output_details()}
    return [
        f"{name!r} holds {np.dtype(detail['dtype']).name}: value = {scale:.6g} * (integer - {zero})"
        for name, detail in details.items()
        for scale, zero in [detail["quantization"]]
        if scale
    ]


def _quantized(array: np.ndarray, detail: dict) -> np.ndarray:
    scale, zero = detail["quantization"]
    if not scale or array.dtype == detail["dtype"]:
        return array
    bounds = np.iinfo(detail["dtype"])
    return np.clip(np.round(array / scale) + zero, bounds.min, bounds.max).astype(detail["dtype"])


def _dequantized(array: np.ndarray, detail: dict) -> np.ndarray:
    scale, zero = detail["quantization"]
    return ((array.astype("float32") - zero) * np.float32(scale)) if scale else array
