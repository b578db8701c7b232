"""Second comparison of a file that drifts on ordinary input: with `predict`, and apart from the model's own rounding.

Some models compute in a call otherwise than in `predict`, such as those that resize images of bytes: a call rounds the
result to bytes. A step function, as in Discretization, makes 1 of a difference in the last place of a float.
"""

import numpy as np

from .hostile_judgement import SHARE, HostileExamples
from .parity import drifts_of, worst
from .tracing import stateful_layers

Arrays = dict[str, np.ndarray]


def second_look(
    model: HostileExamples, kind: str, arrays: Arrays, expected: Arrays, actual: Arrays, bound: float, measure: str
) -> tuple[Arrays, list[str]]:
    """Returns the outputs that a file is to be compared with, and notes on their changes.

    Args:
        model: the model.
        kind: "real" or "random", for the notes.
        arrays: the examples.
        expected: the model's outputs when it was called.
        actual: the file's outputs.
        bound: the bound on the measure.
        measure: the name of the measure, as in `Drift`.
    """
    notes = []
    if stateful_layers(model.program.model):
        return expected, notes
    compiled = model.compiled(arrays)
    again = model.compiled(arrays)
    if any(not np.array_equal(value, again[name], equal_nan=True) for name, value in compiled.items()):
        return expected, notes  # a model that draws at random is off from itself everywhere
    if (gap := worst(drifts_of(kind, compiled, expected), measure)) > bound:
        notes.append(
            f"model(x) and model.predict(x) differ by {gap:.2g} on {kind} inputs; the file is compared with predict"
        )
        expected = compiled
    if measure != "relative" or worst(drifts_of(kind, expected, actual), measure) <= bound:
        return expected, notes
    own = model.own_gaps(arrays, expected)
    return {
        name: _without_own_gaps(value, actual[name], own[name], bound, f"{name!r} on {kind} inputs", notes)
        for name, value in expected.items()
    }, notes


def _without_own_gaps(
    expected: np.ndarray, actual: np.ndarray, own: np.ndarray, bound: float, where: str, notes: list[str]
) -> np.ndarray:
    """Returns the model's outputs, with the file's where the model differs from itself as much as the file does."""
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(actual.astype("float64") - expected.astype("float64"))
    finite = np.where(np.isfinite(expected), np.abs(expected), 0.0)
    size = np.maximum(finite.max(axis=tuple(range(1, expected.ndim)), keepdims=True), 1.0)
    ill_conditioned = (gap > bound * size) & (gap * SHARE <= own)
    if ill_conditioned.any():
        notes.append(
            f"{ill_conditioned.sum()} of {ill_conditioned.size} numbers of {where} are left out of the comparison: "
            f"there the model itself is off by up to {own[ill_conditioned].max():.2g} in 64 bits or "
            "where the last place moves"
        )
    return np.where(ill_conditioned, actual, expected)
