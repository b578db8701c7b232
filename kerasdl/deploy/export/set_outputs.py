"""Outputs that are sets, such as the boxes that suppression keeps: compared with those of a file in one order.

A layer of such outputs has a method `in_order_of(expected, actual)`, which takes two dicts of arrays (B, ...) by the
names of its outputs and returns the second with the entries of each example in the order of the first.
"""

from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


class SetOutputs:
    """Order of the outputs of a model, where they are sets."""

    def __init__(self, model: Any):
        layers = [each for each in getattr(model, "layers", ()) if hasattr(each, "in_order_of")]
        self.layer = layers[0] if layers else None

    def aligned(self, expected: Arrays, actual: Arrays) -> Arrays:
        """Returns outputs in the order of others; of another model, or of other shapes, as they are."""
        shapes = {name: array.shape for name, array in expected.items()}
        if self.layer is None or shapes != {name: array.shape for name, array in actual.items()}:
            return actual
        return self.layer.in_order_of(expected, actual)

    def spread(self, expected: Arrays, gaps: Arrays) -> Arrays:
        """Returns by how much a model differs from itself: one entry of a set that does takes the whole example along.

        Suppression drops other boxes where two scores change places.

        Args:
            expected: the model's outputs.
            gaps: the largest difference of each entry.
        """
        if self.layer is None:
            return gaps
        sizes = {name: _sizes(value) for name, value in expected.items()}
        worst = np.max([_of_example(gaps[name] / sizes[name]) for name in gaps], axis=0)  # (B,)
        return {
            name: np.broadcast_to((worst.reshape(-1, *[1] * (gap.ndim - 1)) * sizes[name]), gap.shape)
            for name, gap in gaps.items()
        }


def _sizes(value: np.ndarray) -> np.ndarray:
    """Returns the largest absolute number of each example, at least 1, in a shape that broadcasts."""
    finite = np.where(np.isfinite(value), np.abs(value.astype("float64")), 0.0)
    return np.maximum(_of_example(finite), 1.0).reshape(-1, *[1] * (value.ndim - 1))


def _of_example(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).max(axis=1)
