"""Gradient checking: a gradient by hand against differences of the function itself.

The slope between two points at a distance of h on both sides differs from the derivative by h^2 f''' / 6, and rounding
adds eps |f| / h. Both are small at h near eps^(1/3), 6e-6 in float64.
"""

from collections.abc import Callable, Mapping

import numpy as np

STEP = float(np.finfo(float).eps ** (1 / 3))


def numerical_gradient(function: Callable[[np.ndarray], float], point: np.ndarray, step: float = STEP) -> np.ndarray:
    """Returns the gradient of a function at a point by central differences, two calls for each entry.

    Args:
        function: from an array of the shape of `point` to a number.
        point: of any shape.
        step: distance to both sides, times the size of the entry where that is above 1.

    Example:
        >>> numerical_gradient(lambda x: float((x**2).sum()), np.array([1.0, 2.0])).round(6)
        array([2., 4.])
    """
    point = np.array(point, float)
    gradient = np.zeros_like(point)
    for place in np.ndindex(point.shape):
        kept = point[place]
        reach = step * max(1.0, abs(kept))
        point[place] = kept + reach
        above = function(point.copy())
        point[place] = kept - reach
        gradient[place] = (above - function(point.copy())) / (2 * reach)
        point[place] = kept
    return gradient


def gradient_check(
    function: Callable[[Mapping[str, np.ndarray]], float],
    gradients: Mapping[str, np.ndarray],
    weights: Mapping[str, np.ndarray],
    *,
    tolerance: float = 1e-5,
) -> dict[str, float]:
    """Compares gradients by hand with differences of the function, weight by weight.

    Args:
        function: from weights by name to the loss, without randomness.
        gradients: by name, as computed by hand.
        weights: the point, by name.
        tolerance: largest difference of an entry, as a share of the larger gradient or of 1.

    Returns:
        The largest difference of each weight, in these shares.

    Raises:
        ValueError: names or shapes differ, or a gradient is wrong: its name, place and both values.

    Example:
        >>> weights = {"w": np.array([3.0])}
        >>> gradient_check(lambda w: float((w["w"] ** 2).sum()), {"w": np.array([6.0])}, weights)["w"] < 1e-9
        True
    """
    if set(gradients) != set(weights):
        raise ValueError(f"gradients must name the weights {sorted(weights)}; got {sorted(gradients)}.")
    worst = {}
    for name, value in weights.items():
        given = np.asarray(gradients[name], float)
        if given.shape != np.shape(value):
            raise ValueError(f"the gradient of {name!r} must have its shape {np.shape(value)}; got {given.shape}.")
        measured = numerical_gradient(lambda point, name=name: function({**weights, name: point}), value)
        apart = np.abs(given - measured) / np.maximum(1.0, np.maximum(np.abs(given), np.abs(measured)))
        apart = np.where(np.isfinite(apart), apart, np.inf)
        worst[name] = float(apart.max(initial=0.0))
        if worst[name] > tolerance:
            place = tuple(int(each) for each in np.unravel_index(apart.argmax(), apart.shape))
            text = f"the gradient of {name!r} is wrong at {place}: by hand {given[place]:.6g}"
            raise ValueError(f"{text}, by differences {measured[place]:.6g} (difference {worst[name]:.2g}).")
    return worst
