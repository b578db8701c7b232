"""Smallest images that a net takes, from the shapes of its layers."""

from typing import Any

import keras

from ..keras_graph import replay
from .models import EMPTY_OUTPUT


class _EmptyOutputError(Exception):
    """A layer's output would be empty."""


def smallest_side(model: keras.Model) -> int:
    """Returns the side of the smallest square images for which no layer of a model has an empty output.

    Args:
        model: a functional model of one input (B, H, W, C), built for images that are large enough.

    Example:
        >>> smallest_side(kerasdl.build("alexnet", image_shape=(96, 96, 3)))
        63
    """
    low, high = 0, model.inputs[0].shape[1] or 1024
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _runs(model, middle) else (middle, high)
    return high


def _runs(model: keras.Model, side: int) -> bool:
    def shaped(operation: keras.Operation) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            try:
                return operation.compute_output_spec(*args, **kwargs)
            except ValueError as error:
                if EMPTY_OUTPUT in str(error):
                    raise _EmptyOutputError from None
                raise

        return run

    try:
        replay(model, [keras.KerasTensor((None, side, side, model.inputs[0].shape[3]))], shaped)
    except _EmptyOutputError:
        return False
    except ValueError:  # a head for the first size alone
        return True
    return True
