"""Spaces of Gymnasium as spaces of kerasdl."""

from typing import Any

import numpy as np

from kerasdl.core import checks

from ..spaces import Box, Discrete, MultiDiscrete, Space


def space_of(space: Any, purpose: str) -> Space:
    """Returns the space that equals one of Gymnasium.

    Args:
        space: a `Box` of real numbers or bytes, a `Discrete` or `MultiDiscrete` that starts at 0, a `MultiBinary`.
        purpose: word for errors, such as `observation`.

    Returns:
        The space; a box of float64 becomes one of float32.

    Raises:
        ArgumentError: the space is of another kind, or starts elsewhere.
    """
    kind = type(space).__name__
    if kind in ("Discrete", "MultiDiscrete") and np.any(np.asarray(space.start) != 0):
        checks.refuse(f"the {purpose} space must start at 0", space, "Shift it by a wrapper of Gymnasium.")
    if kind == "Discrete":
        return Discrete(int(space.n))
    if kind == "MultiDiscrete" and space.nvec.ndim == 1:
        return MultiDiscrete(tuple(map(int, space.nvec)))
    if kind == "MultiBinary" and len(space.shape) == 1:
        return MultiDiscrete((2,) * space.shape[0])
    if kind == "Box" and (space.dtype.kind == "f" or space.dtype == np.uint8):
        return Box(
            _short(space.low), _short(space.high), space.shape, "uint8" if space.dtype == np.uint8 else "float32"
        )
    checks.refuse(
        f"the {purpose} space must be a Box of floats or bytes, Discrete, MultiDiscrete or MultiBinary",
        space,
        "flatten=True makes one vector of a Dict or Tuple of observations." if purpose == "observation" else "",
    )


def _short(bound: np.ndarray) -> Any:
    """Returns a bound as one number where all its entries are equal."""
    equal = bound.size > 0 and np.all(bound == bound.flat[0])
    return float(bound.flat[0]) if equal else bound.astype(float).tolist()
