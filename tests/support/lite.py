"""Runs TFLite files without the library under test."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def run_lite(path, arrays):
    """Runs the signature `serve` of a file, example by example; returns outputs by name."""
    serve = Interpreter(model_path=str(path)).get_signature_runner("serve")
    rows = range(len(next(iter(arrays.values()))))
    parts = [serve(**{name: array[row : row + 1] for name, array in arrays.items()}) for row in rows]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def relative_rmse(expected, given):
    """Root mean squared difference over root mean square."""
    expected, given = np.asarray(expected, "float64"), np.asarray(given, "float64")
    return float(np.sqrt(np.mean((expected - given) ** 2) / np.mean(expected**2)))
