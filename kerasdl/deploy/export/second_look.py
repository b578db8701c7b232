"""Second look at a file that drifts on ordinary input: held against `predict`, the model's own rounding taken off.

Keras computes some models otherwise when they are called than in `predict`, such as those that resize images of bytes:
called, they round the result to bytes. A step, as of Discretization, makes a whole number of a float's last place.
"""

import numpy as np

from .hostile_judgement import SHARE, HostileExamples
from .parity import drifts_of, worst
from .tracing import stateful_layers

Arrays = dict[str, np.ndarray]


def second_look(
    model: HostileExamples, kind: str, arrays: Arrays, expected: Arrays, given: Arrays, bound: float, measure: str
) -> tuple[Arrays, list[str]]:
    """Returns what a file's outputs are to be held against, and notes of what changed.

    Args:
        model: the model.
        kind: "real" or "random", for the notes.
        arrays: the examples.
        expected: what the model gave when it was called.
        given: what the file gives.
        bound: of the judgement.
        measure: of the judgement, as in `Drift`.
    """
    notes = []
    if stateful_layers(model.program.model):
        return expected, notes
    compiled = model.compiled(arrays)
    again = model.compiled(arrays)
    if any(not np.array_equal(value, again[name], equal_nan=True) for name, value in compiled.items()):
        return expected, notes  # a model that draws at random is off from itself everywhere
    if (gap := worst(drifts_of(kind, compiled, expected), measure)) > bound:
        notes.append(f"the model computes otherwise when called than in predict (by {gap:.2g}): predict is what counts")
        expected = compiled
    if measure != "relative" or worst(drifts_of(kind, expected, given), measure) <= bound:
        return expected, notes
    own = model.own_gaps(arrays, expected)
    return {
        name: _spared(value, given[name], own[name], bound, f"{name!r} on {kind} inputs", notes)
        for name, value in expected.items()
    }, notes


def _spared(
    expected: np.ndarray, given: np.ndarray, own: np.ndarray, bound: float, where: str, notes: list[str]
) -> np.ndarray:
    """Takes what the file gives where that is as near to the model as the model is to itself."""
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(given.astype("float64") - expected.astype("float64"))
    finite = np.where(np.isfinite(expected), np.abs(expected), 0.0)
    size = np.maximum(finite.max(axis=tuple(range(1, expected.ndim)), keepdims=True), 1.0)
    spared = (gap > bound * size) & (gap * SHARE <= own)
    if spared.any():
        notes.append(
            f"{spared.sum()} of {spared.size} numbers of {where} are not held against the file: there the model itself "
            f"is off by up to {own[spared].max():.2g} in 64 bits or where the last place moves"
        )
    return np.where(spared, given, expected)
