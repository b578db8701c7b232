"""TFLite files in LiteRT: opened, fed by name, run."""

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from ..export.tracing import in_batches, silenced

SIGNATURE = "serve"

Arrays = dict[str, np.ndarray]


def opened(path: Path, threads: int = 1) -> Interpreter:
    """Opens a TFLite file in LiteRT."""
    return Interpreter(model_path=str(path), num_threads=threads)


def serving(interpreter: Interpreter) -> Any:
    """Returns the runner of the signature that infers; files of other makers call it `serving_default`."""
    names = list(interpreter.get_signature_list())
    return interpreter.get_signature_runner(
        next((name for name in (SIGNATURE, "serving_default") if name in names), None)
    )


def input_names(path: Path) -> list[str]:
    """Returns the names of the inputs of a TFLite file."""
    with silenced():
        return list(serving(opened(path)).get_input_details())


def run_file(path: Path, arrays: Arrays, batch: int = 1) -> Arrays:
    """Runs a TFLite file in LiteRT on one thread, example by example; returns its outputs by name.

    Where the file takes or gives integers that stand for real numbers, real numbers are put on its grid and taken off.
    """
    with silenced():
        serve = serving(opened(path))
        takes, gives = serve.get_input_details(), serve.get_output_details()

        def run(part: Arrays) -> Arrays:
            outputs = serve(**{name: _on_grid(array, takes[name]) for name, array in part.items()})
            return {name: _off_grid(np.array(value), gives[name]) for name, value in outputs.items()}

        return in_batches(batch, arrays, run)


def quantized_io(path: Path) -> list[str]:
    """Says of each input and output that holds integers for real numbers, how they stand for them."""
    with silenced():
        serve = serving(opened(path))
    ends = {**serve.get_input_details(), **serve.get_output_details()}
    return [
        f"{name!r} holds {np.dtype(detail['dtype']).name}: value = {scale:.6g} * (integer - {zero})"
        for name, detail in ends.items()
        for scale, zero in [detail["quantization"]]
        if scale
    ]


def _on_grid(array: np.ndarray, detail: dict) -> np.ndarray:
    scale, zero = detail["quantization"]
    if not scale or array.dtype == detail["dtype"]:
        return array
    bounds = np.iinfo(detail["dtype"])
    return np.clip(np.round(array / scale) + zero, bounds.min, bounds.max).astype(detail["dtype"])


def _off_grid(array: np.ndarray, detail: dict) -> np.ndarray:
    scale, zero = detail["quantization"]
    return ((array.astype("float32") - zero) * np.float32(scale)) if scale else array
