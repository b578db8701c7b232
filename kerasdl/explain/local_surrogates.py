"""LIME: a linear model of the parts of one example that imitates a net around it (https://arxiv.org/abs/1602.04938).

It is computed here, not by the package lime. Deviations: nearness is by the share of hidden parts, for images, texts
and rows alike; all parts stay in the model, whose
weights have no penalty.
"""

from typing import Any

import numpy as np

from kerasdl.core import checks

from .coalitions import PartValues, games_of
from .targets import Target


def lime(
    model: Any,
    inputs: Any,
    target: Target = None,
    *,
    groups: Any = None,
    background: Any = 0.0,
    samples: int = 1000,
    nearness: float = 0.25,
    seed: int = 0,
) -> PartValues:
    """Returns the weights of a linear model of shown and hidden parts that imitates a score near each example.

    Each part is hidden in half of the samples; samples weigh exp(-d^2 / nearness^2), with d the share of hidden parts.

    Source: https://arxiv.org/abs/1602.04938, section 3.4, algorithm 1.

    Args:
        model: as in `shap`, like `inputs`, `target`, `groups` and `background`.
        inputs: (B, ...).
        target: class or function.
        groups: the part of each number.
        background: what stands in hidden places.
        samples: coalitions that are scored for an example, at least 5 a part.
        nearness: how far a sample may be, as a share of hidden parts; small values look at few hidden parts alone.
        seed: seed of the samples.

    Returns:
        Weights (B, M), the intercept as `base`, and the standard errors of the weights by least squares.

    Raises:
        ArgumentError: arguments do not fit, examples have several numbers of parts, or there are too few samples.

    Example:
        >>> rows = np.array([[1.0, 2.0, 3.0]], "float32")
        >>> column = keras.Input((3,))
        >>> linear = keras.Model(column, keras.layers.Dense(1, kernel_initializer="ones")(column))
        >>> lime(linear, rows, 0).values.round(3)
        array([[1., 2., 3.]])
    """
    checks.within("nearness", nearness, 1e-3, 1e3)
    checks.at_least("seed", seed, 0)
    games, groups = games_of(model, inputs, target, groups, background)
    parts = games[0].parts
    checks.at_least("samples", samples, 5 * (parts + 1), f"An example has {parts} parts.")
    rng, found = np.random.default_rng(seed), []
    for game in games:
        shown = rng.random((samples, parts)) < 0.5
        shown[0] = True
        weights = np.exp(-(((~shown).mean(axis=1) / nearness) ** 2))
        found.append(_fitted(shown, game.score(shown), weights))
    values, base, errors = (np.stack(each) for each in zip(*found, strict=True))
    return PartValues(values, base, errors, groups)


def _fitted(shown: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple:
    """Returns the weights (M,), the intercept and the errors (M,) of a weighted regression."""
    weights = weights / weights.sum()
    means, mean = weights @ shown, weights @ scores
    centred, wanted = shown - means, scores - mean
    spread = centred.T * weights @ centred
    values = np.linalg.lstsq(spread, centred.T * weights @ wanted, rcond=None)[0]
    left = wanted - centred @ values
    inverse = np.linalg.pinv(spread)
    noise = centred.T * (weights * left) ** 2 @ centred  # the weights differ: White's form
    return values, mean - means @ values, np.sqrt(np.diag(inverse @ noise @ inverse).clip(0))
